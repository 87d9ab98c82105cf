"""Dropping is exact: the k-core is the fixed point, and one of each pair stays."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.sources.clean import k_core, keep_core, keep_first
from medley.errors import InputError

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


RATED = [("a", "x", 5), ("a", "y", 1), ("b", "x", 2), ("b", "y", 4), ("b", "y", 1), ("c", "z", 1), ("d", "x", 4)]


@pytest.fixture
def rated(tmp_path):
    frame = pl.DataFrame(RATED, schema=["user_id", "item_id", "rating"], orient="row")
    frame.write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def test_dislikes_are_kept_apart_from_what_is_unknown(rated, tmp_path):
    data = import_dataset("csv", rated, tmp_path / "out", rating_threshold=4)
    pairs = zip(data.disliked.user, data.disliked.item, strict=True)
    found = {(data.users.raw_id(user), data.items.raw_id(item)) for user, item in pairs}
    assert found == {("a", "y"), ("b", "x")}  # b likes y elsewhere; c and z are not in the data set
    assert data.manifest.oddities["disliked_pairs"] == 2
    assert len(data.log) == 3 and Dataset(data.folder, verify=True).disliked.num_users == 3


def test_dislikes_and_left_out_ids_are_no_part_of_the_content_hash(rated, tmp_path):
    one = import_dataset("csv", rated, tmp_path / "one", rating_threshold=4)
    kept = pl.read_csv(rated).filter(pl.col("rating") >= 4)
    kept.write_csv(tmp_path / "kept.csv")
    two = import_dataset("csv", tmp_path / "kept.csv", tmp_path / "two", rating_threshold=4)
    assert one.manifest.content_hash == two.manifest.content_hash
    assert len(two.disliked) == 0 and not (two.folder / "disliked.parquet").exists()


def test_who_was_left_out_is_told_from_strangers(rated, tmp_path):
    data = import_dataset("csv", rated, tmp_path / "out", rating_threshold=4, kcore=1)
    with pytest.raises(InputError, match="user 'c' was left out by the import: got no positive interaction"):
        data.users.row("c")
    core = import_dataset("csv", rated, tmp_path / "core", kcore=2)
    with pytest.raises(InputError, match="item 'z' was left out by the import: got kcore=2"):
        core.items.row("z")
    with pytest.raises(InputError, match="unknown user id"):
        core.users.row("nobody")
    users = "user_id\na\nb\nc\n"
    (tmp_path / "users.csv").write_text(users)
    part = import_dataset("csv", rated, tmp_path / "part", users="users.csv", unknown_users="drop")
    with pytest.raises(InputError, match="user 'd' was left out by the import: got unknown to the user table"):
        part.users.row("d")


def test_options_of_files_are_refused_for_data_in_memory():
    with pytest.raises(InputError, match="options of files have no meaning for data in memory: got separator"):
        Dataset.from_frames({"user_id": [1], "item_id": [2]}, separator=";")
