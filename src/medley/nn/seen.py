"""The items that users have seen, for models that represent a user by seen items instead of a learned vector.

Shapes: U users, I items, n interactions; B users of a batch and their e interactions.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.types import Interactions, Seen


class SeenItems(nn.Module):
    """All train interactions, by user. Calling the module with user rows (B,) returns the items of these users."""

    start: Tensor  # (U + 1,) int64
    item: Tensor  # (n,) int64

    def __init__(self, train: Interactions):
        super().__init__()
        matrix = train.csr()
        for name, array in {"start": matrix.indptr, "item": matrix.indices}.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64)), persistent=False)

    def forward(self, users: Tensor) -> Seen:
        """Returns the interactions of users (B,), which may repeat and may be on another device."""
        users = users.to(self.start.device)
        first, size = self.start[users], self.start[users + 1] - self.start[users]
        row = torch.repeat_interleave(size)
        start = size.cumsum(0) - size
        place = torch.arange(len(row), device=row.device) - start[row]
        return Seen(row, self.item[first[row] + place], start)


def total(seen: Seen, table: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sums weight * table[item] over the items of each user, (I, d) -> (B, d), without a vector per pair.

    Args:
        seen: the items of B users.
        table: one row per item.
        weight: (e,), one number per pair of user and item; 1 by default.
    """
    weight = None if weight is None else weight.to(table.dtype)  # autocast may have made the weights half as wide
    return F.embedding_bag(seen.item, table, seen.start, mode="sum", per_sample_weights=weight)
