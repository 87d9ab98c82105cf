"""What moves between the rooms is checked when it is made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.errors import InputError
from medley.types import Interactions

PAIRS = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 5)), max_size=12)


def of(user, item, num_users=3, num_items=4, dtype="i4"):
    return Interactions(np.array(user, dtype), np.array(item, dtype), num_users, num_items)


@given(PAIRS)
def test_interactions_are_accepted_if_and_only_if_pairs_are_distinct_and_in_range(pairs):
    user, item = [u for u, _ in pairs], [i for _, i in pairs]
    if len(set(pairs)) == len(pairs) and all(0 <= u < 3 and 0 <= i < 4 for u, i in pairs):
        assert of(user, item).csr().sum() == len(pairs)
    else:
        with pytest.raises(InputError):
            of(user, item)


@pytest.mark.parametrize(
    ("user", "item", "message"),
    [
        (
            [2, 0, 2],
            [1, 1, 1],
            "distinct pairs of user and item, got 1 duplicates among 3, the first of user 2",
        ),
        ([0, 1], [0, 4], "items of interactions: expected rows from 0 to 3, got 1 of 2 out of range, the first 4"),
        ([0, 3], [0, 1], "users of interactions: expected rows from 0 to 2, got 1 of 2 out of range, the first 3"),
        ([0, -1], [0, 1], "users of interactions: expected rows from 0 to 2, got 1 of 2 out of range, the first -1"),
        ([0, 1], [-1, -7], "items of interactions: expected rows from 0 to 3, got 2 of 2 out of range, the first -1"),
        ([0, 1], [0], "expected one user and one item each, got 2 users and 1 items"),
    ],
)
def test_what_is_wrong_with_interactions_is_said_with_a_remedy(user, item, message):
    with pytest.raises(InputError, match=message):
        of(user, item)


def test_the_remedy_of_wrong_interactions_is_a_data_set():
    with pytest.raises(InputError, match=r"Remedy: medley\.Dataset\.from_frames numbers users and items and drops dup"):
        of([0, 0], [1, 1])


def test_without_items_no_interaction_is_possible():
    with pytest.raises(InputError, match="expected none, for there are no items, got 1 of 1 out of range"):
        of([0], [0], num_items=0)
    assert len(of([], [], num_users=0, num_items=0)) == 0


@pytest.mark.parametrize("user", [np.array([0.0, 1.0]), np.array([[0, 1]]), [0, 1], np.array([True, False])], ids=repr)
def test_rows_other_than_an_array_of_whole_numbers_are_refused(user):
    with pytest.raises(InputError, match=r"users of interactions: expected an array \(n,\) of whole numbers, got"):
        Interactions(user, np.array([0, 1]), 3, 4)


def test_checking_leaves_the_arrays_and_their_order_as_they_are():
    user, item = np.array([2, 0, 1], "i8"), np.array([3, 2, 0], "u4")
    made = Interactions(user, item, 3, 4)
    assert made.user is user and made.item is item
    assert user.tolist() == [2, 0, 1] and item.tolist() == [3, 2, 0]


def test_codes_of_pairs_are_wide_enough_for_large_catalogues():
    of([70_000, 70_000], [60_000, 60_001], num_users=100_000, num_items=100_000)
    with pytest.raises(InputError, match="user 70000 with item 60000"):
        of([70_000, 70_000], [60_000, 60_000], num_users=100_000, num_items=100_000)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), max_size=12))
def test_the_age_of_an_interaction_counts_the_strictly_later_ones_of_its_user(rows):
    rows = list({(user, item): (user, item, time) for user, item, time in rows}.values())
    user, item, time = (np.array(column, dtype="i4") for column in (zip(*rows, strict=True) if rows else ([], [], [])))
    ages = Interactions(user, item, num_users=3, num_items=4, time=time).ages()
    assert ages.tolist() == [sum(u == mine and t > now for u, _, t in rows) for mine, _, now in rows]


def test_ages_without_times_are_refused_and_times_have_the_length_of_the_pairs():
    pairs = np.array([0, 1], "i4"), np.array([2, 2], "i4")
    with pytest.raises(InputError, match="recency=1"):
        Interactions(*pairs, num_users=2, num_items=3).ages()
    with pytest.raises(InputError, match="one per interaction"):
        Interactions(*pairs, num_users=2, num_items=3, time=np.array([1.0]))
