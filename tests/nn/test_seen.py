import numpy as np
import pytest
import torch

from medley.errors import InputError
from medley.nn.chosen import numbers_to_choose
from medley.nn.seen import SeenItems, total
from medley.scoring.blocks import sum_of_rows
from medley.types import Interactions, Neighbours

SEEN = {0: [0, 1], 1: [], 2: [2], 3: [0, 2, 3]}


@pytest.fixture
def seen_items() -> SeenItems:
    pairs = [(user, item) for user, items in SEEN.items() for item in reversed(items)]
    user, item = (np.array(column, dtype="i4") for column in zip(*pairs, strict=True))
    return SeenItems(Interactions(user, item, num_users=4, num_items=5))


@pytest.mark.parametrize("users", [[0, 1, 2, 3], [3, 1, 3], [1], [1, 1, 2], []])
def test_users_get_their_items_in_the_order_asked_for(seen_items, users):
    seen = seen_items(torch.tensor(users, dtype=torch.int64))
    assert seen.row.tolist() == [row for row, user in enumerate(users) for _ in SEEN[user]]
    assert seen.item.tolist() == [item for user in users for item in SEEN[user]]
    assert seen.start.tolist() == [sum(len(SEEN[user]) for user in users[:row]) for row in range(len(users))]


@pytest.mark.parametrize("users", [[3, 1, 0, 3], [1]])
def test_totals_are_weighted_sums_and_zero_for_users_without_items(seen_items, users):
    seen, table = seen_items(torch.tensor(users)), torch.randn(5, 3)
    weight = torch.rand(len(seen.item))
    expected, plain = torch.zeros(len(users), 3), torch.zeros(len(users), 3)
    for place, (row, item) in enumerate(zip(seen.row, seen.item, strict=True)):
        expected[row] += weight[place] * table[item]
        plain[row] += table[item]
    assert torch.allclose(total(seen, table, weight), expected)
    assert torch.allclose(total(seen, table), plain)


def timed() -> Interactions:
    pairs = [(user, item) for user, items in SEEN.items() for item in items]
    user, item = (np.array(column, dtype="i4") for column in zip(*pairs, strict=True))
    return Interactions(user, item, num_users=4, num_items=5, time=-item)  # a higher row was seen earlier


def test_with_recency_a_pair_weighs_less_for_every_later_one_of_its_user():
    seen = SeenItems(timed(), 0.5)(torch.tensor([3, 0]))
    assert seen.item.tolist() == [0, 2, 3, 0, 1]
    assert seen.weight.tolist() == [1.0, 0.5, 0.25, 1.0, 0.5]


def test_without_recency_or_times_nothing_is_weighed():
    users = torch.tensor([3, 0])
    assert SeenItems(timed(), 1.0)(users).weight is None
    without = Interactions(timed().user, timed().item, num_users=4, num_items=5)
    auto = SeenItems(without, "auto")
    assert auto(users).weight is None
    assert not numbers_to_choose(auto)
    with pytest.raises(InputError, match="times"):
        SeenItems(without, 0.5)


def test_another_history_has_the_recency_that_was_chosen():
    seen = SeenItems(timed(), "auto")
    numbers_to_choose(seen)["recency"].value.fill_(0.5)
    later = Interactions(
        np.array([0, 0], "i4"), np.array([4, 3], "i4"), num_users=4, num_items=5, time=np.array([1, 2])
    )
    found = seen.of(later)(torch.tensor([0, 3]))
    assert found.item.tolist() == [3, 4]
    assert found.weight.tolist() == [1.0, 0.5]


@pytest.mark.parametrize("dense", [True, False])
def test_weighted_pairs_scale_the_rows_of_weights_between_items(dense):
    weight = torch.rand(5, 5)
    between = weight if dense else Neighbours(torch.arange(5).repeat(5, 1), weight)
    seen = SeenItems(timed(), 0.5)(torch.tensor([3]))
    expected = weight[0] + 0.5 * weight[2] + 0.25 * weight[3]
    assert torch.allclose(sum_of_rows(seen, between)[0], expected)
