"""One set of tests for all indexes, compared with a plain loop."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.errors import InputError, MissingExtraError
from medley.serving.index import EXACT_UP_TO, ExactIndex, FaissIndex, QdrantIndex, build_index, choose_index
from medley.serving.index import exact as exact_module
from medley.serving.index import faiss as faiss_module
from medley.serving.index import table as table_module

KINDS = ("exact", "hnsw", "ivf", "qdrant")
K = 20


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    if request.param != "exact":
        name = {"qdrant": "qdrant_client"}.get(request.param, "faiss")
        pytest.importorskip(name, reason="the extra 'serve' is not installed")
    return request.param


def plain_search(items, queries, k, allowed=None, hidden=None):
    """The loop: items is row -> vector."""
    rows, scores = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
    for number, query in enumerate(queries):
        scored = []
        for row, vector in items.items():
            passes = allowed is None or (row < len(allowed) and allowed[row])
            if passes and not (hidden is not None and hidden[number] is not None and row in hidden[number]):
                score = np.float32((query.astype(np.float64) * vector.astype(np.float64)).sum())
                scored.append((-score, row))
        for place, (score, row) in enumerate(sorted(scored)[:k]):
            rows[number, place], scores[number, place] = row, -score
    return rows, scores


def assert_found(found, expected):
    np.testing.assert_array_equal(found.rows, expected[0])
    np.testing.assert_array_equal(found.scores, expected[1])
    assert found.rows.dtype == np.int64
    assert found.scores.dtype == np.float32


def catalogue(n, dim=16, seed=0, num_tastes=32):
    """Vectors as training leaves them: tastes in common, norms that vary."""
    rng = np.random.default_rng(seed)
    tastes = 0.7 * rng.normal(size=(num_tastes, dim))
    items = tastes[rng.integers(num_tastes, size=n)] + rng.normal(size=(n, dim))
    queries = tastes[rng.integers(num_tastes, size=50)] + rng.normal(size=(50, dim))
    return (items * rng.lognormal(-0.5, 0.4, (n, 1))).astype(np.float32), queries.astype(np.float32)


def recall(found, expected):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.rows, expected.rows, strict=True)])


def test_a_search_gives_what_a_plain_loop_gives_with_filters_and_hidden_items(kind):
    vectors, queries = catalogue(300)
    vectors[40:60] = vectors[40]  # equal scores
    queries = queries[:5]
    queries[0] = 0  # all scores are equal
    allowed = np.random.default_rng(1).random(300) < 0.05  # few: an approximate index is exact, too
    hidden = [None, np.flatnonzero(allowed)[:4], np.array([5000]), np.arange(300), np.zeros(0, int)]
    index, items = build_index(vectors, kind=kind), dict(enumerate(vectors))
    assert_found(
        index.search(queries, 7, allowed=allowed, hidden=hidden), plain_search(items, queries, 7, allowed, hidden)
    )
    if index.is_exact:
        for options in ({}, {"hidden": hidden}, {"allowed": ~allowed}, {"allowed": ~allowed, "hidden": hidden}):
            assert_found(index.search(queries, 25, **options), plain_search(items, queries, 25, **options))


def test_rows_need_neither_start_at_zero_nor_ascend(kind):
    vectors, queries = catalogue(60)
    rows = np.random.default_rng(2).permutation(500)[:60]
    index, items = build_index(vectors, rows, kind=kind), dict(zip(rows.tolist(), vectors, strict=True))
    allowed, hidden = np.arange(450) % 3 == 0, [rows[:30]] * 50
    expected = plain_search(items, queries, 60, allowed, hidden)
    assert_found(index.search(queries, 60, allowed=allowed, hidden=hidden), expected)


def test_results_are_padded_where_fewer_than_k_items_pass(kind):
    vectors, queries = catalogue(8)
    index = build_index(vectors, kind=kind)
    found = index.search(queries[:2], 10)
    assert (np.sort(found.rows[:, :8]) == np.arange(8)).all()
    assert (found.rows[:, 8:] == -1).all()
    assert np.isneginf(found.scores[:, 8:]).all()
    for nobody in ({"allowed": np.zeros(8, bool)}, {"allowed": np.zeros(0, bool)}, {"hidden": [np.arange(8)] * 2}):
        found = index.search(queries[:2], 3, **nobody)
        assert (found.rows == -1).all()
        assert np.isneginf(found.scores).all()


def test_an_empty_index_finds_nothing_and_can_be_filled(kind):
    index = build_index(np.zeros((0, 4), np.float32), kind=kind)
    assert len(index) == 0
    assert (index.search(np.ones((2, 4)), 3).rows == -1).all()
    index.add(np.array([7]), np.ones((1, 4)))
    assert index.search(np.ones((2, 4)), 3).rows.tolist() == [[7, -1, -1]] * 2
    assert index.search(np.ones((0, 4)), 3).rows.shape == (0, 3)


def test_additions_removals_and_replacements_count_at_once(kind):
    rng = np.random.default_rng(3)
    vectors, queries = catalogue(40, dim=8)
    index, items = build_index(vectors, kind=kind), dict(enumerate(vectors))
    for step in range(60):
        act = rng.choice(["add", "remove", "replace"])
        held = np.array(sorted(items))
        rows = rng.choice(held, 3, replace=False) if act != "add" else 100 + 3 * step + rng.permutation(3)
        new = rng.normal(size=(3, 8)).astype(np.float32)
        if act == "remove":
            index.remove(rows)
            for row in rows.tolist():
                del items[row]
        else:
            getattr(index, act)(rows, new)
            items |= dict(zip(rows.tolist(), new, strict=True))
        if step % 20 == 19 and hasattr(index, "compact"):
            assert index.compact()
        assert len(index) == len(items)
        hidden = [rng.choice(held, 5, replace=False) for _ in range(3)]
        assert_found(index.search(queries[:3], 300, hidden=hidden), plain_search(items, queries[:3], 300, None, hidden))


def test_a_change_that_is_refused_changes_nothing(kind):
    vectors, queries = catalogue(10, dim=4)
    index = build_index(vectors, kind=kind)
    new = np.ones((2, 4), np.float32)
    before = index.search(queries[:, :4], 20)
    for change, message in (
        (lambda: index.add(np.array([10, 3]), new), "row 3 is in the index already"),
        (lambda: index.add(np.array([10, 10]), new), "row 10 twice"),
        (lambda: index.remove(np.array([3, 12])), "row 12 is not in the index"),
        (lambda: index.replace(np.array([3, 12]), new), "row 12 is not in the index"),
        (lambda: index.add(np.array([-1, 12]), new), "expected 0 or more"),
        (lambda: index.add(np.array([1.5, 12]), new), "whole numbers"),
        (lambda: index.add(np.array([11, 12]), new * np.nan), "finite"),
        (lambda: index.replace(np.array([1, 2]), new[:, :3]), "dim of vectors of items: expected 4, got 3"),
        (lambda: index.replace(np.array([1, 2]), new[:1]), "rows of vectors of items: expected 2, got 1"),
    ):
        with pytest.raises(InputError, match=message):
            change()
    assert_found(index.search(queries[:, :4], 20), before)


def test_bad_searches_are_refused(kind):
    index = build_index(np.ones((5, 4), np.float32), kind=kind)
    query = np.ones((1, 4), np.float32)
    for search, message in (
        (lambda: index.search(query * np.inf, 1), "finite"),
        (lambda: index.search(query * np.nan, 1), "finite"),
        (lambda: index.search(query * 1e38, 1), "scores that fit into float32"),
        (lambda: index.search(query[:, :3], 1), "dim of queries: expected 4, got 3"),
        (lambda: index.search(query[0], 1), "queries"),
        (lambda: index.search(query, 0), "at least 1"),
        (lambda: index.search(query, True), "at least 1"),
        (lambda: index.search(query, 1, allowed=np.ones(5)), "a mask"),
        (lambda: index.search(query, 1, allowed=[True] * 5), "a mask"),
        (lambda: index.search(query, 1, hidden=[]), "one array for each of 1 queries"),
        (lambda: index.search(query, 1, hidden=[np.array([-1])]), "rows from 0"),
        (lambda: index.search(query, 1, hidden=[np.array([0.5])]), "rows from 0"),
    ):
        with pytest.raises(InputError, match=message):
            search()


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5, 40]), st.sampled_from([1, 7, 64]))
def test_exact_search_is_exact_for_any_block_size_batch_and_mass_of_equal_scores(seed, k, size):
    rng = np.random.default_rng(seed)
    n, dim, num_queries = rng.integers(1, 120), rng.integers(1, 12), rng.integers(1, 6)
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32) * rng.choice([1, 1e-4, 1e15])
    vectors = (vectors + rng.normal(size=vectors.shape) * rng.integers(2)).astype(np.float32)
    queries = (rng.normal(size=(num_queries, dim)) * rng.integers(0, 2, (num_queries, 1))).astype(np.float32)
    hidden = [rng.integers(0, n, rng.integers(0, 20)) for _ in queries]
    allowed = rng.random(n) < rng.random() if seed % 2 else None
    index = ExactIndex(vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_module, "MAX_SCORES", size)
        patch.setattr(exact_module, "MIN_BLOCK", size)
        patch.setattr(exact_module, "QUERIES", 1 + seed % 4)
        patch.setattr(exact_module, "MAX_CANDIDATES", size)
        patch.setattr(exact_module, "MAX_VALUES", size)
        found = index.search(queries, k, allowed=allowed, hidden=hidden)
    assert_found(found, plain_search(dict(enumerate(vectors)), queries, k, allowed, hidden))
    alone = [index.search(queries[[b]], k, allowed=allowed, hidden=[hidden[b]]) for b in range(num_queries)]
    assert_found(found, tuple(np.concatenate(part) for part in zip(*alone, strict=True)))


@pytest.mark.parametrize("name", ["hnsw", "ivf"])
def test_the_recall_of_an_approximate_index_is_bounded_with_and_without_filters(name):
    pytest.importorskip("faiss", reason="the extra 'serve' is not installed")
    vectors, queries = catalogue(8000, dim=32)
    rng = np.random.default_rng(4)
    index, exact = FaissIndex(vectors, kind=name), ExactIndex(vectors)
    lowest = {"hnsw": 0.97, "ivf": 0.8}[name]
    seen = [rng.choice(8000, 30, replace=False) for _ in queries]
    best = [rows[:15] for rows in exact.search(queries, 15).rows]  # users have seen what fits them best
    for options in (
        {},
        {"hidden": seen},
        {"hidden": best},
        {"allowed": rng.random(8000) < 0.5},
        {"allowed": rng.random(8000) < 0.12, "hidden": best},
        {"allowed": vectors[:, 0] > 0.5},  # items that lie together
    ):
        found, expected = index.search(queries, K, **options), exact.search(queries, K, **options)
        assert (found.rows >= 0).all()
        assert recall(found, expected) > lowest, options.keys()
        same = found.rows == expected.rows
        np.testing.assert_array_equal(found.scores[same], expected.scores[same])
        assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("name", ["hnsw", "ivf"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.0999, 0.11, 0.5])
def test_an_approximate_index_is_exact_where_few_items_pass_and_always_returns_k(name, share):
    pytest.importorskip("faiss", reason="the extra 'serve' is not installed")
    vectors, queries = catalogue(3000)
    index = FaissIndex(vectors, kind=name)
    allowed = np.zeros(3000, dtype=bool)
    allowed[np.argsort(vectors @ queries[0])[: int(3000 * share)]] = True  # the items farthest from the first query
    passing = np.flatnonzero(allowed)
    hidden = [passing[: len(passing) - left] if left < len(passing) else None for left in range(len(queries))]
    found = index.search(queries, K, allowed=allowed, hidden=hidden)
    left = [len(passing) - (0 if rows is None else len(rows)) for rows in hidden]
    assert ((found.rows >= 0).sum(axis=1) == np.minimum(left, K)).all()
    if share < faiss_module.EXACT_SHARE:
        assert_found(found, ExactIndex(vectors).search(queries, K, allowed=allowed, hidden=hidden))


def test_additions_to_an_approximate_index_are_found_without_a_rebuild_and_after_it():
    pytest.importorskip("faiss", reason="the extra 'serve' is not installed")
    vectors, queries = catalogue(2000)
    index = FaissIndex(vectors)
    new = queries * 10  # each the best item of its query
    index.add(2000 + np.arange(50), new)
    assert len(index._table.snapshot.buffer) == 50
    before = index.search(queries, 1)
    assert (
        before.rows[:, 0].tolist() == ExactIndex(np.concatenate([vectors, new])).search(queries, 1).rows[:, 0].tolist()
    )
    size = index.nbytes
    assert index.compact()
    assert len(index._table.snapshot.buffer) == 0
    assert index.nbytes > size
    assert recall(index.search(queries, 1), before) > 0.9
    index.remove(before.rows[:, 0][:1])
    assert index.search(queries[:1], 1).rows[0, 0] != before.rows[0, 0]


def test_readers_see_all_of_a_change_or_nothing_while_one_thread_writes_and_another_compacts(kind):
    """All vectors of a version have one score: a result that mixes versions, or misses items, shows a torn read."""
    num, rounds = 30, 40
    index = build_index(np.full((num, 2), 1, np.float32), kind=kind)
    stop, torn, searches = threading.Event(), [], [0]

    def read() -> None:
        while not stop.is_set():
            found = index.search(np.ones((2, 2), np.float32), num + 5, hidden=[None, np.array([3])])
            if len(set(found.scores[0, :num].tolist())) != 1 or found.rows[0].tolist() != [*range(num), *[-1] * 5]:
                torn.append(found)
            if 3 in found.rows[1]:
                torn.append(found)
            searches[0] += 1

    def compact() -> None:
        while not stop.is_set():
            index.compact()

    jobs = [read, read, *([compact] if hasattr(index, "compact") else [])]
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for version in range(2, rounds):
        index.replace(np.random.default_rng(version).permutation(num), np.full((num, 2), version, np.float32))
    stop.set()
    for thread in threads:
        thread.join()
    assert not torn
    assert searches[0] > 2
    assert index.search(np.ones((1, 2), np.float32), 1).scores[0, 0] == 2 * (rounds - 1)


def test_changes_that_come_during_a_compaction_are_kept():
    vectors, queries = catalogue(100)
    index, items = ExactIndex(vectors), dict(enumerate(vectors))
    table = index._table
    index.add(np.array([200, 201]), vectors[:2] * 2)
    items |= {200: vectors[0] * 2, 201: vectors[1] * 2}

    def meanwhile(_):
        index.remove(np.array([5, 201]))
        index.add(np.array([300, 301]), vectors[2:4] * 3)
        index.remove(np.array([301]))
        index.replace(np.array([6, 200]), vectors[4:6] * 2)
        assert not index.compact()  # one at a time

    table._prepare = meanwhile
    assert index.compact()
    del items[5], items[201]
    items |= {300: vectors[2] * 3, 6: vectors[4] * 2, 200: vectors[5] * 2}
    assert len(index) == len(items)
    assert_found(index.search(queries, 200), plain_search(items, queries, 200))


def test_an_exact_index_compacts_by_itself_so_removed_and_replaced_items_take_no_memory_for_long(monkeypatch):
    monkeypatch.setattr(table_module, "MIN_BUFFER", 64)
    index = ExactIndex(np.ones((100, 4), np.float32))
    for version in range(200):
        index.replace(np.arange(10), np.full((10, 4), version, np.float32))
    assert len(index) == 100
    assert index.nbytes < 4 * ExactIndex(np.ones((200, 4), np.float32)).nbytes


@pytest.mark.parametrize("name", ["hnsw", "ivf"])
def test_an_approximate_index_compacts_in_a_thread_and_stays_right_meanwhile(monkeypatch, name):
    pytest.importorskip("faiss", reason="the extra 'serve' is not installed")
    monkeypatch.setattr(table_module, "MIN_BUFFER", 64)
    vectors, queries = catalogue(300)
    index, items = FaissIndex(vectors, kind=name, probe_share=1.0), dict(enumerate(vectors))
    build, building, finish = index._build, threading.Event(), threading.Event()
    monkeypatch.setattr(index._table, "_prepare", lambda these: building.set() or (finish.wait(20) and build(these)))
    for row in range(100):
        index.replace(np.array([row]), vectors[[row]] * 2)
        items[row] = vectors[row] * 2
    assert building.wait(20)
    index.remove(np.array([7]))
    index.add(np.array([400]), vectors[[8]] * 3)
    del items[7]
    items[400] = vectors[8] * 3
    expected = plain_search(items, queries, K)
    assert np.mean(index.search(queries, K).rows == expected[0]) > 0.95
    finish.set()
    index._compaction.join(20)
    assert len(index) == 300 and len(index._table.snapshot.buffer) < 64
    found = index.search(queries, K)
    assert np.mean(found.rows == expected[0]) > 0.95 and 7 not in found.rows and 400 in found.rows


def test_a_memory_mapped_table_is_not_copied(tmp_path):
    np.save(tmp_path / "items.npy", np.ones((50, 4), np.float32))
    vectors = np.load(tmp_path / "items.npy", mmap_mode="r")
    index = ExactIndex(vectors)
    assert np.shares_memory(index._table.snapshot.base.vectors, vectors)
    assert index.search(np.ones((1, 4)), 2).rows.tolist() == [[0, 1]]


def test_the_kind_of_index_follows_the_size_of_the_catalogue():
    assert choose_index(EXACT_UP_TO) == "exact"
    assert choose_index(EXACT_UP_TO + 1) == "hnsw"
    assert isinstance(build_index(np.ones((3, 2))), ExactIndex)
    with pytest.raises(InputError, match="exact, hnsw, ivf or qdrant"):
        build_index(np.ones((3, 2)), kind="annoy")


def test_options_of_the_approximate_index_are_checked_and_have_an_effect():
    pytest.importorskip("faiss", reason="the extra 'serve' is not installed")
    vectors, queries = catalogue(4000, dim=32)
    expected = ExactIndex(vectors).search(queries, K)
    for options in ({"kind": "flat"}, {"width": 0}, {"probe_share": 0.0}, {"probe_share": 1.5}):
        with pytest.raises(InputError):
            FaissIndex(vectors[:50], **options)
    assert recall(FaissIndex(vectors, kind="ivf", probe_share=1.0).search(queries, K), expected) == 1
    assert recall(FaissIndex(vectors, width=20).search(queries, K), expected) < recall(
        FaissIndex(vectors, width=400).search(queries, K), expected
    )


def test_qdrant_refuses_a_collection_that_exists_and_takes_a_client():
    client_module = pytest.importorskip("qdrant_client", reason="the extra 'serve' is not installed")
    client = client_module.QdrantClient(":memory:")
    QdrantIndex(np.ones((2, 3)), client=client, collection="shop")
    assert client.count("shop").count == 2
    with pytest.raises(InputError, match="exists already"):
        QdrantIndex(np.ones((2, 3)), client=client, collection="shop")


@pytest.mark.parametrize(("name", "module"), [("hnsw", "faiss"), ("qdrant", "qdrant_client")])
def test_without_a_package_the_command_that_installs_it_is_named(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medley-rec\[serve\]'"):
        build_index(np.ones((3, 2)), kind=name)
