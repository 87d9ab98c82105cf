"""The types that all rooms share. All are immutable, and none knows a file.

Shapes: U users, I items, n interactions, d_m raw dimension of modality m, d = dim, B rows of a batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from medley.errors import InputError

REMEDY = "medley.Dataset.from_frames numbers users and items and drops duplicates"


@dataclass(frozen=True, slots=True)
class Interactions:
    """Interactions of users and items: n distinct pairs of rows. Checked at construction: 0.1 s for 10 million pairs.

    Raises:
        InputError: rows that are not whole numbers or out of range, arrays of different lengths, or a pair twice.
    """

    user: np.ndarray  # (n,) int32, 0 <= user < num_users
    item: np.ndarray  # (n,) int32, 0 <= item < num_items
    num_users: int
    num_items: int
    time: np.ndarray | None = None  # (n,) numbers that order the interactions of a user; None: no order is known

    def __post_init__(self) -> None:
        _check_rows(self.user, self.num_users, "users")
        _check_rows(self.item, self.num_items, "items")
        if len(self.user) != len(self.item):
            got = f"{len(self.user):,} users and {len(self.item):,} items"
            raise InputError("interactions", expected="one user and one item each", got=got)
        if self.time is not None and np.shape(self.time) != self.user.shape:
            expected, got = f"({len(self.user)},), one per interaction", np.shape(self.time)
            raise InputError("times of interactions", expected=expected, got=got)
        _check_distinct(self.user.astype(np.int64) * self.num_items + self.item, self.num_items)

    def __len__(self) -> int:
        return len(self.user)

    def only(self, kept: np.ndarray) -> "Interactions":
        """Returns some of the interactions, by a mask or places (k,)."""
        time = None if self.time is None else self.time[kept]
        return Interactions(self.user[kept], self.item[kept], self.num_users, self.num_items, time)

    def csr(self) -> sp.csr_array:
        """Returns the 0/1 matrix R (U, I), float32, columns ascending within each row."""
        ones = np.ones(len(self.user), dtype=np.float32)
        matrix = sp.csr_array((ones, (self.user, self.item)), shape=(self.num_users, self.num_items))
        matrix.sort_indices()
        return matrix

    def items_per_user(self) -> np.ndarray:
        """Returns (U,), the number of interactions of each user."""
        return np.bincount(self.user, minlength=self.num_users)

    def users_per_item(self) -> np.ndarray:
        """Returns (I,), the number of interactions of each item: its popularity."""
        return np.bincount(self.item, minlength=self.num_items)

    def ages(self) -> np.ndarray:
        """Returns (n,) int64, the number of strictly later interactions of the same user: 0 for the latest.

        Raises:
            InputError: no times.
        """
        if self.time is None:
            remedy = "import the data with a time column, or choose recency=1"
            raise InputError("interactions", expected="times, for weights by age", got="none", remedy=remedy)
        order = np.lexsort((self.time, self.user))
        user, time = self.user[order], np.asarray(self.time)[order]
        last_of_time = np.flatnonzero(np.append((user[1:] != user[:-1]) | (time[1:] != time[:-1]), True))
        upto = last_of_time[np.searchsorted(last_of_time, np.arange(len(order)))]  # the last at the same moment
        end = np.cumsum(self.items_per_user())[user] - 1  # the last of the user
        ages = np.empty(len(order), dtype=np.int64)
        ages[order] = end - upto
        return ages


def _check_rows(rows: np.ndarray, count: int, what: str) -> None:
    """Refuses all but a one-dimensional array of whole numbers from 0 to count - 1."""
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        got = f"{rows.dtype} of shape {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise InputError(f"{what} of interactions", expected="an array (n,) of whole numbers", got=got, remedy=REMEDY)
    if not len(rows) or (rows.min() >= 0 and rows.max() < count):
        return
    wrong = rows[(rows < 0) | (rows >= count)]
    raise InputError(
        f"{what} of interactions",
        expected=f"rows from 0 to {count - 1}" if count else f"none, for there are no {what}",
        got=f"{len(wrong):,} of {len(rows):,} out of range, the first {wrong[0]}",
        remedy=REMEDY,
    )


def _check_distinct(code: np.ndarray, num_items: int) -> None:
    """Refuses a pair that comes twice; `code` (n,), user * num_items + item, may be sorted in place."""
    if (code[1:] > code[:-1]).all():
        return
    code.sort()
    twice = code[1:][code[1:] == code[:-1]]
    if len(twice):
        user, item = divmod(int(twice[0]), num_items)
        raise InputError(
            "interactions",
            expected="distinct pairs of user and item",
            got=f"{len(twice):,} duplicates among {len(code):,}, the first of user {user} with item {item}",
            remedy=REMEDY,
        )


class Features(NamedTuple):
    """Raw features of the items in one modality. Rows of items that lack the modality carry no meaning."""

    values: np.ndarray  # (I, d_m) float32 or float16, possibly memory-mapped
    present: np.ndarray  # (I,) bool


class Inputs(NamedTuple):
    """All that a model is built from: nothing of validation or test, so nothing can leak."""

    train: Interactions
    features: Mapping[str, Features]  # modality -> features, in a fixed order
    splits: str = "train"  # of the data set, whose interactions `train` holds; train+valid, ...: a refit


class Triplets(NamedTuple):
    """A batch of BPR: user u has seen pos and not neg."""

    user: Tensor  # (B,) int64
    pos: Tensor  # (B,) int64
    neg: Tensor  # (B,) int64


class Embeddings(NamedTuple):
    """Final vectors; the score of user u for item i is user[u] . item[i]."""

    user: Tensor  # (U, d)
    item: Tensor  # (I, d)


class Seen(NamedTuple):
    """The items that B users have seen, one user after another; e pairs."""

    row: Tensor  # (e,) int64, ascending, 0 <= row < B: the user of each pair
    item: Tensor  # (e,) int64, ascending within a user
    start: Tensor  # (B,) int64, the first pair of each user
    weight: Tensor | None = None  # (e,) float32; None: each pair counts 1


class Neighbours(NamedTuple):
    """A sparse (I, I) matrix with at most k entries per row."""

    index: Tensor  # (I, k) int64, columns
    value: Tensor  # (I, k) float32, 0 where a row has fewer than k entries


class ItemToItem(NamedTuple):
    """Weights between items; the score of user u for item i is the sum over parts p and over the items j that u has
    seen of W_p[j, i], times the weight of the pair (u, j) if `seen` has weights. A new user is a list of seen items."""

    seen: Callable[[Tensor], Seen]  # user rows (B,) -> the items they have seen in train
    weights: Mapping[str, Tensor | Neighbours]  # part of the score -> W_p (I, I), dense or sparse


class HistorySum(NamedTuple):
    """How the vector of a user is made of seen items, so that serving makes new users exactly.

        x_u = sum_j r_age(j) length_j v_j A        over the items j that u has seen
        user vector of a part = its constants, or scale x_u / |x_u| where it has none; 0 if x_u is 0

    v_j (d,) is the sum of the vectors of item j over the parts without constants, in `Recommender.parts()`, or in
    forward() if the score has no parts. age(j) is the number of later items: 0 for the latest item.
    """

    length: Tensor  # (I,)
    transition: Tensor | None  # A (d, d); None: the identity
    by_age: Tensor | None  # r (L,), the latest item first; older items weigh 0. None: all items weigh 1
    age: Tensor | None  # (n,) int64, of the train interactions by user, then item; None where all items weigh 1
    scale: float
    constants: Mapping[str, Tensor]  # part of the score -> (d',), its columns in the vector of every user


Scorer = Embeddings | ItemToItem | Callable[[Tensor], Tensor]
"""The score of a model, for ranking and serving: final vectors, weights between items, or, if the score is neither, a
function from user rows (B,) int64 on the CPU to scores (B, I)."""


class Ranking(NamedTuple):
    """The ranks of the held-out items, by query: all that a metric reads. A query is a user, or one pair."""

    user: np.ndarray  # (q,) int64, the user of each query
    start: np.ndarray  # (q + 1,) int64; the ranks of query x are rank[start[x]:start[x + 1]], ascending
    rank: np.ndarray  # (n,) int64, 1 = best

    @property
    def num_relevant(self) -> np.ndarray:
        """(q,) number of held-out items of each query."""
        return np.diff(self.start)
