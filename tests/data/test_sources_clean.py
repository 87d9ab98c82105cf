"""Dropping is exact: the k-core is the fixed point, and one of each pair stays."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from medley.data.sources.clean import k_core, keep_core, keep_first

edges = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=60, unique=True)


def slow_core(log: set[tuple[int, int]], k: int) -> set[tuple[int, int]]:
    """Removes one user or item with too few interactions at a time."""
    while True:
        for side in (0, 1):
            for node in {pair[side] for pair in log}:
                mine = {pair for pair in log if pair[side] == node}
                if len(mine) < k:
                    log = log - mine
                    break
            else:
                continue
            break
        else:
            return log


@given(edges, st.integers(1, 4))
def test_the_k_core_equals_removal_one_by_one(log, k):
    pairs = np.array(log, dtype=np.int64).reshape(-1, 2)
    kept = pairs[k_core(pairs[:, 0], pairs[:, 1], k)]
    assert {tuple(pair) for pair in kept.tolist()} == slow_core(set(log), k)


@given(edges, st.integers(1, 4))
def test_the_k_core_is_a_fixed_point(log, k):
    frame = pl.DataFrame(log, schema=["user_id", "item_id"], orient="row").cast(pl.String)
    core = keep_core(frame, k)
    assert keep_core(core, k).equals(core)
    for column in core.columns:
        assert (core[column].value_counts()["count"] >= k).all()


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["train", "valid", "test"]), st.integers(0, 5))
    )
)
def test_of_each_pair_the_earliest_split_and_then_the_earliest_time_stays(rows):
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "split", "timestamp"], orient="row")
    log = log.cast({"split": pl.String})
    expected: dict[tuple[int, int], tuple[int, int]] = {}
    for user, item, split, time in rows:
        rank = (("train", "valid", "test").index(split), time)
        expected[user, item] = min(expected.get((user, item), rank), rank)
    names = ("train", "valid", "test")
    found = {(u, i): (names.index(split), time) for u, i, split, time in keep_first(log).rows()}
    assert found == expected
