import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graphs_at_random import matrices
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.engine import kernels
from medley.errors import InputError
from medley.nn import sparse
from medley.nn.sparse import Addend, SparseMatrix, add_at, from_columns, multiply, product_rows


def by_hand(matrix: sp.csr_array, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(matrix.shape[0], x.shape[1], dtype=torch.float64)
    for r, c, value in zip(*matrix.nonzero(), matrix.data, strict=True):
        out[r] += float(value) * x[c].double()
    return out


@settings(max_examples=30, deadline=None)
@given(matrices(), st.sampled_from([1, 3, 16, 21, 64, 80, 128, 213]), st.sampled_from([torch.float32, torch.float64]))
def test_products_in_both_directions_equal_a_loop_over_the_entries(matrix, dim, dtype):
    x, y = torch.randn(matrix.shape[1], dim, dtype=dtype), torch.randn(matrix.shape[0], dim, dtype=dtype)
    graph = SparseMatrix(matrix)
    torch.testing.assert_close((graph @ x).double(), by_hand(matrix, x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((graph.T @ y).double(), by_hand(sp.csr_array(matrix.T), y), rtol=1e-5, atol=1e-5)
    assert (graph @ x).dtype == dtype


@settings(max_examples=20, deadline=None)
@given(matrices(), st.booleans(), st.booleans(), st.integers(0, 99))
def test_scale_addend_and_chosen_rows_enter_the_same_pass(matrix, compiled, chosen, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(matrix.shape[1], 20, generator=rng)
    rows = torch.randint(matrix.shape[0], (3,), generator=rng) if chosen and matrix.shape[0] else None
    base = torch.randn(matrix.shape[0] if rows is None else 3, 20, generator=rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "is_compiled", lambda _: compiled)
        got = multiply(SparseMatrix(matrix).by_row.arrays, x, scale=0.5, plus=Addend(2.0, base), rows=rows)
    expected = 0.5 * by_hand(matrix, x)
    expected = (expected if rows is None else expected[rows]) + 2.0 * base
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(matrices(), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99))
def test_leaving_out_the_columns_whose_vectors_are_zero_changes_no_bit(matrix, share, seed):
    rng = torch.Generator().manual_seed(seed)
    kept = torch.rand(matrix.shape[1], generator=rng) < share
    x = torch.randn(matrix.shape[1], 16, generator=rng) * kept[:, None]
    graph = SparseMatrix(matrix)
    arrays = graph.by_row.arrays
    selected = from_columns(arrays, graph.by_column.arrays, kept.nonzero()[:, 0])
    assert torch.equal(multiply(selected, x), multiply(arrays, x))
    count = int(kept[arrays.index.long()].sum())
    assert len(selected.index) == (count if count <= sparse.WORTH_SELECTING * len(arrays.index) else len(arrays.index))


@pytest.mark.parametrize("compiled", [True, False])
def test_rows_are_added_to_a_table_as_often_as_they_come(monkeypatch, compiled):
    monkeypatch.setattr(sparse, "is_compiled", lambda _: compiled)
    rows, x = torch.tensor([2, 0, 2]), torch.arange(6.0).reshape(3, 2)
    assert add_at(torch.ones(4, 2), rows, x).tolist() == [[3, 4], [1, 1], [5, 7], [1, 1]]
    many, values = torch.arange(40_000) % 7, torch.ones(40_000, 32)  # worth threads
    assert torch.equal(add_at(torch.zeros(9, 32), many, values)[:, 5], many.bincount(minlength=9).float())


@pytest.mark.parametrize("compiled", [True, False])
def test_the_gradient_is_that_of_finite_differences(compiled, monkeypatch):
    monkeypatch.setattr(sparse, "is_compiled", lambda _: compiled)
    graph = SparseMatrix(sp.random_array((5, 4), density=0.5, format="csr", rng=np.random.default_rng(0)))
    x, y = (torch.randn(size, 3, dtype=torch.float64, requires_grad=True) for size in (4, 5))
    assert torch.autograd.gradcheck(lambda x: graph @ x, x)
    assert torch.autograd.gradcheck(lambda y: graph.T @ y, y)


def test_duplicate_entries_are_summed_and_the_given_matrix_is_left_alone():
    matrix = sp.csr_array((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 3])), shape=(1, 2))
    assert (SparseMatrix(matrix) @ torch.tensor([[1.0], [10.0]])).item() == 34
    assert matrix.nnz == 3


def test_the_entries_of_a_row_are_its_columns_and_values():
    graph = SparseMatrix(sp.csr_array(np.array([[0.0, 2.0, 0.5], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])))
    rows = [[x.tolist() for x in graph.by_row.arrays.entries(row)] for row in range(3)]
    assert rows == [[[1, 2], [2.0, 0.5]], [[], []], [[0], [1.0]]]
    assert [x.tolist() for x in graph.by_column.arrays.entries(1)] == [[0], [2.0]]


def test_vectors_that_are_not_contiguous_or_of_half_precision_are_accepted():
    graph = SparseMatrix(sp.csr_array(np.array([[1.0, 2.0], [0.0, 3.0]])))
    x = torch.arange(6.0).reshape(3, 2).T  # (2, 3), column after column
    expected = torch.tensor([[2.0, 8.0, 14.0], [3.0, 9.0, 15.0]])
    assert torch.equal(graph @ x, expected)
    assert torch.equal(graph @ x.bfloat16(), expected.bfloat16())


def test_not_a_number_is_not_hidden():
    graph = SparseMatrix(sp.csr_array(np.array([[1.0, 1.0], [0.0, 1.0]])))
    out = graph @ torch.tensor([[float("nan")] * 17, [float("inf")] * 17])
    assert out[0].isnan().all() and out[1].isinf().all()


def test_a_product_of_the_wrong_size_says_what_it_expected():
    with pytest.raises(InputError, match=r"expected \(3, d\), got \(2, 5\)"):
        SparseMatrix(sp.csr_array((4, 3))) @ torch.zeros(2, 5)


THREADS = """
import numpy as np, scipy.sparse as sp, torch
from medley.nn.sparse import SparseMatrix
from medley.nn.edges import Pattern, edge_softmax
rng = np.random.default_rng(0)
matrix = sp.random_array((5000, 4000), density=0.01, format="csr", dtype="f4", rng=rng)
x = torch.from_numpy(rng.normal(size=(4000, 70)).astype("f4"))
share = edge_softmax(Pattern(matrix), torch.from_numpy(matrix.data))
print((SparseMatrix(matrix) @ x).numpy().tobytes().hex()[:4000], share.numpy().tobytes().hex())
"""


def test_results_are_the_same_bits_whatever_the_number_of_threads():
    def run(threads: int) -> str:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, check=True).stdout

    assert run(1) == run(2)


def test_where_no_cache_can_be_written_the_loops_are_compiled_without_one(monkeypatch):
    njit = numba.njit

    def refuse(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", refuse)
    assert kernels.compiled(lambda a, b: a + b)(1, 2) == 3


@pytest.mark.parametrize("rows", [[], [3], [4, 0, 2], list(range(40))])
def test_some_rows_of_a_product_and_their_gradient_are_those_of_the_whole_product(rows):
    rng = np.random.default_rng(0)
    matrix = SparseMatrix(sp.csr_array(rng.random((40, 7)) * (rng.random((40, 7)) < 0.3)))
    x = torch.from_numpy(rng.normal(size=(7, 3)).astype("f4")).requires_grad_()
    chosen, weight = (
        torch.tensor(rows, dtype=torch.int64),
        torch.from_numpy(rng.normal(size=(len(rows), 3)).astype("f4")),
    )
    results = []
    for some in (product_rows(matrix, x, chosen), (matrix @ x)[chosen]):
        x.grad = None
        (some * weight).sum().backward()
        results.append((some.detach(), x.grad.clone()))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_some_rows_of_a_product_with_too_few_vectors_are_refused():
    with pytest.raises(InputError, match="sparse product"):
        product_rows(SparseMatrix(sp.csr_array(np.eye(3))), torch.ones(2, 4), torch.tensor([0]))
