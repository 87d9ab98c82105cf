"""The pairs of a data set in the form in which findings need them.

Shapes: U users, I items, n train pairs, h held-out pairs.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medley.data.dataset import Dataset


@dataclass(frozen=True)
class Pairs:
    """Train pairs beside held-out pairs, which are those of validation and test, in this order."""

    train_user: np.ndarray  # (n,) int64
    train_item: np.ndarray  # (n,) int64
    user: np.ndarray  # (h,) int64
    item: np.ndarray  # (h,) int64
    num_users: int
    num_items: int

    @classmethod
    def of(cls, data: Dataset, *, history: tuple[str, ...] = ("train",), held: tuple[str, ...] = ("valid", "test")):
        """Takes the splits `history` as train pairs, and the splits `held` as held-out pairs."""

        def joined(splits: tuple[str, ...], column: str) -> np.ndarray:
            parts = [getattr(data.interactions(split), column) for split in splits]
            return np.concatenate([np.empty(0, dtype=np.int64), *parts])

        columns = [joined(splits, column) for splits in (history, held) for column in ("user", "item")]
        return cls(*columns, num_users=data.manifest.num_users, num_items=data.manifest.num_items)

    def renumbered(self, place: np.ndarray) -> "Pairs":
        """Returns the same pairs with the items in another order: item i becomes item place[i]."""
        return Pairs(
            self.train_user,
            place[self.train_item],
            self.user,
            place[self.item],
            num_users=self.num_users,
            num_items=self.num_items,
        )

    @cached_property
    def num_train(self) -> np.ndarray:
        """(U,) train pairs of each user."""
        return np.bincount(self.train_user, minlength=self.num_users)

    @cached_property
    def num_held(self) -> np.ndarray:
        """(U,) held-out pairs of each user."""
        return np.bincount(self.user, minlength=self.num_users)

    @cached_property
    def popularity(self) -> np.ndarray:
        """(I,) train pairs of each item."""
        return np.bincount(self.train_item, minlength=self.num_items)

    @cached_property
    def last(self) -> np.ndarray:
        """(U,) the largest item among the train pairs of each user, -1 for a user without train pairs."""
        last = np.full(self.num_users, -1, dtype=np.int64)
        np.maximum.at(last, self.train_user, self.train_item)
        return last
