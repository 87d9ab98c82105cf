"""Cached graphs: never loaded for other data, never damaged, never in the way."""

import numpy as np
import pytest

from medley import graphs
from medley.graphs import cache
from medley.types import Features, Interactions


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of kept graphs; all are kept, however quickly they were built."""
    monkeypatch.setenv("MEDLEY_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "MIN_SECONDS", 0)
    return tmp_path / "graphs"


@pytest.fixture
def built(monkeypatch):
    """Grows by one with each graph that is built and not loaded."""
    calls = []
    original = graphs.knn._nearest
    monkeypatch.setattr(graphs.knn, "_nearest", lambda *args: calls.append(1) or original(*args))
    return calls


def some_features(seed: int = 0) -> Features:
    return Features(np.random.default_rng(seed).normal(size=(30, 4)).astype(np.float32), np.ones(30, dtype=bool))


def assert_same(one, other):
    assert one.shape == other.shape
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_second_call_loads_the_graph_of_the_first(kept, built):
    first = graphs.item_knn(some_features(), 3)
    second = graphs.item_knn(some_features(), 3)
    assert len(built) == 1
    assert_same(first, second)


def test_new_features_never_load_an_old_graph(kept, built):
    features = some_features()
    graphs.item_knn(features, 3)
    features.values[17, 2] += 1e-3
    assert_same(graphs.item_knn(features, 3), graphs.item_knn(features, 3, cache=False))
    features.present[5] = False
    assert_same(graphs.item_knn(features, 3), graphs.item_knn(features, 3, cache=False))
    assert len(list(kept.iterdir())) == 3


def test_other_parameters_are_another_graph(kept, built):
    for k in (3, 4):
        for include_self in (True, False):
            graphs.item_knn(some_features(), k, include_self=include_self)
    assert len(built) == len(list(kept.iterdir())) == 4


def test_other_interactions_thresholds_and_sides_are_other_graphs(kept):
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]], dtype=np.int32)
    train = Interactions(*pairs.T, num_users=3, num_items=3)
    again = Interactions(*pairs[::-1].T, num_users=3, num_items=3)  # the same, in another order
    fewer = Interactions(*pairs[1:].T, num_users=3, num_items=3)
    graphs.item_cointeraction(train, threshold=1)
    graphs.item_cointeraction(again, threshold=1)
    assert len(list(kept.iterdir())) == 1
    assert graphs.item_cointeraction(fewer, threshold=1)[0, 1] == 1
    assert graphs.item_cointeraction(train, threshold=2)[0, 1] == 2
    assert graphs.item_cointeraction(train, threshold=3).nnz == 0
    assert len(list(kept.iterdir())) == 4


def test_other_code_builds_anew(kept, built, monkeypatch):
    graphs.item_knn(some_features(), 3)
    monkeypatch.setattr(cache, "_hash_of_code", lambda: "changed")
    graphs.item_knn(some_features(), 3)
    assert len(built) == 2


def test_the_code_that_counts_is_that_of_graphs_and_of_the_loops_they_run(tmp_path, monkeypatch):
    for room in ("engine", "graphs", "scoring", "nn"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.py").write_text("1")
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "graphs" / "cache.py"))

    def hashed() -> str:
        cache._hash_of_code.cache_clear()
        return cache._hash_of_code()

    before = hashed()
    (tmp_path / "nn" / "a.py").write_text("2")
    assert hashed() == before
    for room in ("engine", "graphs", "scoring"):
        (tmp_path / room / "a.py").write_text("2")
        assert hashed() != before
        (tmp_path / room / "a.py").write_text("1")
    cache._hash_of_code.cache_clear()


@pytest.mark.parametrize("damage", ["cut short", "a flipped bit", "emptied", "no graph at all"])
def test_a_damaged_file_is_built_and_written_again(kept, built, damage):
    good = graphs.item_knn(some_features(), 3)
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    path.write_bytes(
        {"cut short": whole[:-7], "a flipped bit": flipped, "emptied": b""}.get(damage, b"not a graph" * 9)
    )
    assert_same(graphs.item_knn(some_features(), 3), good)
    assert len(built) == 2
    assert_same(graphs.item_knn(some_features(), 3), good)
    assert len(built) == 2  # the third call loads what the second one wrote
    assert list(kept.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_costs_a_warning_and_nothing_else(kept, monkeypatch):
    kept.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be cached"):
        graph = graphs.item_knn(some_features(), 3)
    assert graph.nnz == 90


def test_graphs_that_are_built_quickly_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLEY_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "MIN_SECONDS", 1e9)
    graphs.item_knn(some_features(), 3)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_when_the_cache_is_off(kept, monkeypatch):
    graphs.item_knn(some_features(), 3, cache=False)
    assert not kept.exists()
    monkeypatch.setenv("MEDLEY_CACHE", "off")
    graphs.item_knn(some_features(), 3)
    assert cache.folder() is None
    assert not kept.exists()


def test_the_folder_is_the_users_cache_unless_one_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("MEDLEY_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "medley"
