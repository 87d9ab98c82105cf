"""The k nearest items, against the definition with the whole similarity matrix."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medley.errors import InputError, MissingExtraError
from medley.graphs import item_knn, item_knn_faiss, knn
from medley.types import Features

# Small whole numbers: many vectors are equal, parallel, orthogonal, opposite or zero.
shapes = st.tuples(st.integers(1, 12), st.integers(1, 4))
values = shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.integers(-2, 2)))


def all_present(values: np.ndarray) -> Features:
    return Features(values, np.ones(len(values), dtype=bool))


def neighbours_by_definition(features: Features, k: int, include_self: bool) -> np.ndarray:
    """Returns (I, I), NaN without an edge."""
    num_items = len(features.values)
    exact = features.values.astype(np.float64)
    norm = np.linalg.norm(exact, axis=1)
    unit = (exact / np.where(norm > 0, norm, 1)[:, None]).astype(np.float32).astype(np.float64)
    similarity = (unit @ unit.T).astype(np.float32)
    exists = features.present & (norm > 0)
    graph = np.full((num_items, num_items), np.nan, dtype=np.float32)
    for item in np.flatnonzero(exists):
        others = [other for other in np.flatnonzero(exists) if other != item]
        others.sort(key=lambda other: (-similarity[item, other], other))
        for other in others[: k - include_self]:
            graph[item, other] = similarity[item, other]
        if include_self:
            graph[item, item] = 1
    return graph


def with_gaps(graph) -> np.ndarray:
    """Returns (I, I), NaN without an edge."""
    dense = np.full(graph.shape, np.nan, dtype=np.float32)
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    dense[row, graph.indices] = graph.data
    return dense


@settings(deadline=None)
@given(values, st.integers(1, 14), st.booleans(), st.data())
def test_neighbours_are_those_of_the_definition(values, k, include_self, data):
    present = data.draw(hnp.arrays(np.bool_, len(values)))
    features = Features(values, present)
    graph = item_knn(features, k, include_self=include_self, cache=False)
    np.testing.assert_array_equal(with_gaps(graph), neighbours_by_definition(features, k, include_self))


def test_the_length_of_a_vector_does_not_matter_however_extreme():
    values = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    lengths = np.array([1e-30, 1, 1e38], dtype=np.float32)[:, None]
    graph = item_knn(all_present(values * lengths), 3, cache=False)
    np.testing.assert_allclose(graph.toarray(), values @ values.T, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_many_blocks_of_close_and_equal_vectors_give_the_definition(dtype, monkeypatch):
    monkeypatch.setattr(knn, "COLUMNS", 70)  # an odd number of stripes, and a short last block
    monkeypatch.setattr(knn, "MAX_ROWS", 150)
    rng = np.random.default_rng(0)
    near = rng.normal(size=(6, 33))[rng.integers(6, size=900)] + 1e-3 * rng.normal(size=(900, 33))
    near[::9] = near[4]
    features = Features(near.astype(dtype), rng.random(900) < 0.9)
    graph = item_knn(features, 8, cache=False)
    np.testing.assert_array_equal(with_gaps(graph), neighbours_by_definition(features, 8, include_self=True))


def test_budget_and_screen_change_no_bit(monkeypatch):
    rng = np.random.default_rng(1)
    features = all_present(rng.normal(size=(1500, 40)).astype(np.float32))
    graph = item_knn(features, 10, cache=False)
    monkeypatch.setattr(knn, "_HAS_FAST_BFLOAT16", not knn._HAS_FAST_BFLOAT16)
    other = item_knn(features, 10, memory_mb=1, cache=False)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(graph, name), getattr(other, name))


@given(st.integers(1, 400_000), st.integers(1, 4096), st.integers(1, 8192))
def test_blocks_stay_within_the_budget(n, dim, memory_mb):
    try:
        rows, columns = knn._block_shape(n, dim, memory_mb)
    except InputError:
        columns = min(n, knn.STRIPE)
        assert columns * (20 * dim + 6 * columns) > memory_mb * 2**20
        return
    assert 10 * (rows + columns) * dim + 6 * rows * columns <= memory_mb * 2**20
    assert rows % columns == 0
    assert rows <= max(knn.MAX_ROWS, columns)


def test_memory_beyond_features_and_graph_stays_within_the_budget():
    script = """
import resource, numpy as np
from medley.graphs import item_knn
from medley.types import Features
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rng = np.random.default_rng(0)
make = lambda n: Features(rng.random((n, 256), dtype=np.float32), np.ones(n, dtype=bool))
item_knn(make(300), 10, memory_mb=16, cache=False)
features = make(8_000)
before = peak()
item_knn(features, 10, memory_mb=16, cache=False)
print(peak() - before)
"""
    grown_mb = float(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)
    assert grown_mb < 64  # 16 for blocks, the rest for results and the allocators; n^2 would be 244


def test_an_item_with_a_broken_vector_is_named():
    values = np.ones((5, 3), dtype=np.float32)
    values[3, 1] = np.nan
    present = np.array([True, False, True, True, True])
    with pytest.raises(InputError, match="row 3: features: expected finite numbers"):
        item_knn(Features(values, present), 2, cache=False)
    present[3] = False
    assert item_knn(Features(values, present), 2, cache=False).nnz == 6


def test_options_out_of_range_are_refused():
    features = all_present(np.ones((5, 300_000), dtype=np.float32))
    with pytest.raises(InputError, match="number of neighbours: expected 1 or more, got 0"):
        item_knn(features, 0)
    with pytest.raises(InputError, match="memory_mb: expected 29 or more for 300,000 dimensions, got 1"):
        item_knn(features, 2, memory_mb=1, cache=False)
    with pytest.raises(InputError, match="one per item"):
        item_knn(Features(features.values, features.present[:3]), 2)


def test_real_features_give_a_graph_without_gaps(data_folder):
    values = np.load(data_folder / "tiktok" / "visual.npy")
    graph = item_knn(all_present(values), 10, cache=False)
    assert (np.diff(graph.indptr) == 10).all()
    assert (graph.diagonal() == 1).all()
    sample = np.random.default_rng(0).choice(len(values), 50)
    unit = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    expected = np.sort(unit[sample] @ unit.T, axis=1)[:, -10:]
    got = np.sort(graph.data.reshape(-1, 10)[sample], axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_without_faiss_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medley-rec\[faiss\]'"):
        item_knn_faiss(all_present(np.ones((5, 3), dtype=np.float32)), 2, num_cells=1, num_probes=1)


def test_faiss_with_all_cells_probed_finds_the_exact_graph():
    pytest.importorskip("faiss", reason="the extra 'faiss' is not installed")
    rng = np.random.default_rng(0)
    features = Features(rng.normal(size=(500, 16)).astype(np.float32), rng.random(500) < 0.9)
    for include_self in (True, False):
        exact = item_knn(features, 5, include_self=include_self, cache=False)
        found = item_knn_faiss(features, 5, num_cells=4, num_probes=4, include_self=include_self, cache=False)
        np.testing.assert_array_equal(found.indices, exact.indices)
        np.testing.assert_allclose(found.data, exact.data, rtol=1e-6)
    few = item_knn_faiss(features, 5, num_cells=40, num_probes=1, cache=False)
    assert set(np.flatnonzero(np.diff(few.indptr))) == set(np.flatnonzero(features.present))
