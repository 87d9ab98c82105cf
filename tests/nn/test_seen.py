import numpy as np
import pytest
import torch

from medley.nn.seen import SeenItems, total
from medley.types import Interactions

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
