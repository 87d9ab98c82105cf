"""The items that users have seen, for models that represent a user by seen items instead of a learned vector.

Shapes: U users, I items, n interactions; B users of a batch and their e interactions.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.nn.chosen import RECENCIES, ChosenNumber, Recency
from medley.types import Interactions, Seen


class SeenItems(nn.Module):
    """All train interactions, by user. Calling the module with user rows (B,) returns the items of these users.

    With `recency` below 1 the weight of a pair is recency^age, where age is the number of later interactions of the
    user (`Interactions.ages`), so the latest item weighs 1.
    """

    start: Tensor  # (U + 1,) int64
    item: Tensor  # (n,) int64
    age: Tensor | None  # (n,) int64; None: all pairs count 1

    def __init__(self, train: Interactions, recency: Recency = 1.0):
        """Sorts the interactions.

        Args:
            train: the interactions, with times if `recency` is below 1.
            recency: "auto" is chosen on validation after training, and is 1 if the interactions have no times.

        Raises:
            InputError: `recency` is below 1, and the interactions have no times.
        """
        super().__init__()
        order = np.lexsort((train.item, train.user))
        start = np.append(0, np.cumsum(train.items_per_user()))
        recency = 1.0 if recency == "auto" and train.time is None else recency
        self.recency = ChosenNumber(recency, among=RECENCIES, start=1.0)
        for name, array in {"start": start, "item": train.item[order]}.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64)), persistent=False)
        age = None if recency == 1 else torch.from_numpy(train.ages()[order])
        self.register_buffer("age", age, persistent=False)

    def of(self, history: Interactions) -> "SeenItems":
        """Returns the items of other histories, with the same recency, on the same device."""
        return SeenItems(history, float(self.recency())).to(self.start.device)

    def forward(self, users: Tensor) -> Seen:
        """Returns the interactions of users (B,), which may repeat and may be on another device."""
        users = users.to(self.start.device)
        first, size = self.start[users], self.start[users + 1] - self.start[users]
        row = torch.repeat_interleave(size)
        start = size.cumsum(0) - size
        place = torch.arange(len(row), device=row.device) - start[row]
        pair = first[row] + place
        weight = None if self.age is None else self.recency() ** self.age[pair]
        return Seen(row, self.item[pair], start, weight)


def total(seen: Seen, table: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sums weight * table[item] over the items of each user, (I, d) -> (B, d), without a vector per pair.

    Args:
        seen: the items of B users.
        table: one row per item.
        weight: (e,), one number per pair of user and item; 1 by default.
    """
    weight = None if weight is None else weight.to(table.dtype)  # autocast may have made the weights half as wide
    return F.embedding_bag(seen.item, table, seen.start, mode="sum", per_sample_weights=weight)
