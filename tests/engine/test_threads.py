import os

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from medley.engine import openmp, threads
from medley.engine.kernels import compiled
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Triplets

BIG = 2**24  # multiplications: worth threads


@compiled
def _square(begin, end, x, out):
    for row in range(begin, end):
        if x[row] < 0:
            raise ValueError("negative")
        out[row] += x[row] * x[row]


@pytest.fixture(params=["torch's threads", "our own"])
def whose(request, monkeypatch):
    if request.param == "our own":
        monkeypatch.setattr(openmp, "AVAILABLE", False)
    elif not openmp.AVAILABLE:
        pytest.skip("torch brings no GNU OpenMP here")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_rows", [0, 1, 2, 1000])
@pytest.mark.parametrize("work", [1, BIG])
def test_every_row_is_done_once(whose, num_rows, work):
    x, out = np.arange(float(num_rows)), np.zeros(num_rows)
    threads.run(_square, threads.pieces_of(num_rows), work, x, out)
    np.testing.assert_array_equal(out, x * x)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_pieces_may_be_numbers_of_any_size_and_empty(whose, dtype):
    x, out = np.arange(9.0), np.zeros(9)
    threads.run(_square, np.array([0, 4, 4, 9], dtype), BIG, x, out)
    np.testing.assert_array_equal(out, x * x)


def test_what_a_loop_raises_arrives(whose):
    x = np.ones(100)
    x[70] = -1
    with pytest.raises(ValueError, match="negative"):
        threads.run(_square, threads.pieces_of(100), BIG, x, np.zeros(100))


def test_pieces_of_equal_work_cover_all_rows_and_hold_about_as_many_edges():
    rng = np.random.default_rng(0)
    start = np.concatenate([[0], np.cumsum(rng.integers(0, 20, size=5000))])
    piece = threads.equal_pieces(start)
    assert piece[0] == 0 and piece[-1] == 5000 and (np.diff(piece) >= 0).all()
    work = np.diff(start[piece] + piece)
    assert work.max() < 1.2 * work.mean()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_was_forked_multiplies_too():
    rng = np.random.default_rng(0)
    matrix = SparseMatrix(sp.random_array((5000, 4000), density=0.01, format="csr", dtype="f4", rng=rng))
    x = torch.from_numpy(rng.normal(size=(4000, 64)).astype("f4"))
    expected = (matrix @ x).numpy()  # torch's threads are awake now
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal((matrix @ x).numpy(), expected) else 1)  # torch itself would wait for ever
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("loss", [bpr_loss, l2_of_batch])
@pytest.mark.parametrize(("user", "pos", "neg"), [(4, 0, 0), (0, 5, 0), (0, 0, -1)])
def test_rows_outside_of_the_tables_are_refused(loss, user, pos, neg):
    tables = Embeddings(torch.ones(4, 2), torch.ones(5, 2))
    with pytest.raises((IndexError, ValueError), match=r"outside of|must have no negative"):
        loss(tables, Triplets(*(torch.tensor([0, row]) for row in (user, pos, neg))))
