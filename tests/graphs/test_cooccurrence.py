"""Common users and common items, against the dense product."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medley.errors import InputError
from medley.graphs import item_cointeraction, user_cooccurrence
from medley.types import Interactions

# Few and dense, so that counts tie; empty users and items occur.
seen = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def interactions(dense: np.ndarray) -> Interactions:
    user, item = (row.astype(np.int32) for row in np.nonzero(dense))
    return Interactions(user, item, *dense.shape)


def counts_by_definition(dense: np.ndarray, threshold: int, k: int | None) -> np.ndarray:
    """Rows joined by columns; the k most frequent, equal ones by lower row."""
    counts = dense.astype(np.float32) @ dense.astype(np.float32).T
    np.fill_diagonal(counts, 0)
    counts[counts < threshold] = 0
    if k is not None:
        for row in counts:
            row[np.argsort(-row, kind="stable")[k:]] = 0
    return counts


@given(seen, st.integers(1, 4), st.none() | st.integers(1, 10))
def test_items_are_joined_by_their_common_users(dense, threshold, top_k):
    graph = item_cointeraction(interactions(dense), threshold=threshold, top_k=top_k, cache=False)
    np.testing.assert_array_equal(graph.toarray(), counts_by_definition(dense.T, threshold, top_k))
    assert graph.has_sorted_indices
    assert (graph.data > 0).all()


@given(seen, st.integers(1, 10))
def test_users_are_joined_to_those_who_share_most(dense, k):
    graph = user_cooccurrence(interactions(dense), k, cache=False)
    np.testing.assert_array_equal(graph.toarray(), counts_by_definition(dense, 1, k))


def test_five_common_users_join_two_items_and_four_do_not():
    dense = np.zeros((9, 4), dtype=bool)
    dense[:5, :2] = True  # items 0 and 1: five users
    dense[5:, 2:] = True  # items 2 and 3: four
    graph = item_cointeraction(interactions(dense), cache=False)
    np.testing.assert_array_equal(np.argwhere(graph.toarray()), [[0, 1], [1, 0]])


def test_many_rows_of_unequal_work_agree_with_scipy():
    rng = np.random.default_rng(0)
    dense = rng.random((700, 400)) < rng.random(400) ** 6  # a few items that nearly all users have seen
    train = interactions(dense)
    np.testing.assert_array_equal(
        item_cointeraction(train, threshold=3, cache=False).toarray(), counts_by_definition(dense.T, 3, None)
    )
    np.testing.assert_array_equal(user_cooccurrence(train, 7, cache=False).toarray(), counts_by_definition(dense, 1, 7))


def test_a_graph_beyond_the_memory_budget_is_refused_before_it_is_built():
    train = interactions(np.ones((5, 500), dtype=bool))  # 249,500 edges of 8 bytes: 1.9 MiB
    assert item_cointeraction(train, memory_mb=2, cache=False).nnz == 249_500
    with pytest.raises(InputError, match=r"249,500 edges: expected at most 1 MiB.*top_k"):
        item_cointeraction(train, memory_mb=1, cache=False)
    assert item_cointeraction(train, top_k=10, memory_mb=1, cache=False).nnz == 5_000


@pytest.mark.parametrize("options", [{"threshold": 0}, {"top_k": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="expected 1 or more"):
        item_cointeraction(interactions(np.eye(3, dtype=bool)), **options)
