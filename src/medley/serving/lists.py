"""The best items of many users, block by block, from the vectors, the ranking and the changes of one service.

Every list equals the list that the service gives the user alone. Imports no torch.

Shapes: B users of a block, k places of a list, I items.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import scipy.sparse as sp

from medley.data.manifest import SPLITS
from medley.errors import InputError, MedleyWarning
from medley.serving.filters import Filter, ItemFilters
from medley.serving.index.base import checked_k
from medley.serving.scores import OFFSET, Vectors
from medley.serving.seen import DISLIKED, TEST, TRAIN, VALID
from medley.serving.service import Service

CODES = dict(zip(SPLITS, (TRAIN, VALID, TEST), strict=True))
MAX_USERS = 4096  # of a block
MAX_PLACES = 2**19  # of all lists of a block
MAX_SCORES = 2**22  # of a block, where the score of every item is computed
UNKNOWN = "the model knows nothing about them"
NOTHING = np.zeros(0, dtype=np.int64)


class Block(NamedTuple):
    """The lists of some users."""

    users: Sequence[str]  # (B,) raw ids
    rows: np.ndarray  # (B, k) int64 item rows, best first, -1 where there are no more
    scores: np.ndarray  # (B, k) float32, -inf where there are no more
    parts: dict[str, np.ndarray]  # part of the score -> (B, k) float32, if they were asked for

    def shares(self) -> dict[str, np.ndarray]:
        """Returns part -> (B, k), the part over the sum of the sizes of all parts; 0 where all parts are 0."""
        size = sum((np.abs(part.astype(np.float64)) for part in self.parts.values()), np.zeros(self.rows.shape))
        return {
            name: np.divide(part, size, out=np.zeros(part.shape), where=size > 0) for name, part in self.parts.items()
        }


class Lists:
    """A question about many users; iterating answers it in blocks, and warns at the end.

    Warns (`MedleyWarning`) about users of whom the training knew nothing, and if all users get the same list.
    """

    def __init__(
        self,
        service: Service,
        users: Iterable[Any] | None = None,
        *,
        k: int,
        explain: bool = False,
        seen: Sequence[str] = SPLITS,
        where: Mapping[str, Any] | None = None,
        exclude: Sequence[Any] = (),
    ):
        """Checks the question.

        Args:
            service: the model.
            users: raw ids; 42 and "42" are one id. None: everybody.
            k: length of a list.
            explain: also compute the parts of every score, if it has parts.
            seen: a user's items in these splits are not listed; () lists them again. Disliked items never are.
            where: column of the items -> the value that listed items must have there.
            exclude: raw ids of items that are not listed.

        Raises:
            InputError: unknown user, item or column; no item has the wanted values; k below 1.
        """
        self.service, self.explain = service, explain
        self.k = min(checked_k(k), max(len(service.catalogue), 1))
        self.users = service.people.ids() if users is None else [known_user(service, user) for user in users]
        self._codes = (DISLIKED, *(CODES[split] for split in seen))
        self._allowed = self._items(where or {}, exclude)
        self._strangers: list[str] = []  # users without a train interaction
        self._unknown: list[str] = []  # users without any

    def __len__(self) -> int:
        """Returns the number of users."""
        return len(self.users)

    def __iter__(self) -> Iterator[Block]:
        """Yields the lists of all users, in their order."""
        size = min(MAX_USERS, max(1, MAX_PLACES // self.k))
        if not isinstance(self.service.bundle.scores, Vectors):
            size = min(size, max(1, MAX_SCORES // max(len(self.service.catalogue), 1)))
        self._strangers, self._unknown = [], []
        first: np.ndarray | None = None  # (k,), the first list
        is_same = len(set(self.users)) > 1 and self.service.bundle.manifest.model != "popularity"
        for start in range(0, len(self.users), size):
            block = self._block(self.users[start : start + size])
            first = block.rows[0] if first is None else first
            is_same = is_same and bool((block.rows == first).all() and first[0] >= 0)
            yield block
        self._warn(is_same)

    def _block(self, users: list[str]) -> Block:
        people, bundle, ranking = self.service.people, self.service.bundle, self.service.ranking
        changed = {at: user for at, user in enumerate(users) if people.is_folded_in(user)}
        learned = np.array([at for at in range(len(users)) if at not in changed], dtype=np.int64)
        rows = np.array([bundle.user_ids.row(users[at]) for at in learned], dtype=np.int64)
        hidden: list[np.ndarray] = [NOTHING] * len(users)
        is_known = np.ones(len(users), dtype=bool)
        queries = bundle.scores.queries(rows)
        if len(rows):
            seen = sp.csr_array(bundle.seen[rows])
            self._note(users, learned, seen)
            is_known[learned] = np.diff(seen.indptr) > 0
            for at, own in zip(learned.tolist(), _split(seen, self._codes), strict=True):
                hidden[at] = own
        if changed:
            own = {at: people.query(user) for at, user in changed.items()}
            both = np.empty((len(users), len(next(iter(own.values())))), dtype=queries.dtype)
            both[learned] = queries
            for at, user in changed.items():
                both[at] = own[at]
                hidden[at], is_known[at] = self._hidden(user), len(people.hidden(user)) > 0
            queries = both
        found, scores = ranking.search_many(queries, self.k, allowed=self._allowed, hidden=hidden)
        if not is_known.all():
            found[~is_known], scores[~is_known] = self._popular()
        parts = self._parts(queries, found, is_known) if self.explain else {}
        return Block(users, found, scores, parts)

    def _hidden(self, user: str) -> np.ndarray:
        """Returns the item rows (n,) that are not listed for a user with changes since the export."""
        people = self.service.people
        return people.hidden(user) if len(self._codes) > 1 else people.disliked(user)

    def _popular(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the list (k,) of users of whom nothing is known: the most popular items, as the service has it."""
        rows, scores = np.full(self.k, -1, dtype=np.int64), np.full(self.k, -np.inf, dtype=np.float32)
        may = np.flatnonzero(self._allowed)
        counts = self.service.catalogue.popularity.values[may]
        best = np.lexsort((may, -counts))[: self.k]
        rows[: len(best)], scores[: len(best)] = may[best], counts[best]
        return rows, scores

    def _parts(self, queries: np.ndarray, rows: np.ndarray, is_known: np.ndarray) -> dict[str, np.ndarray]:
        """Returns part -> (B, k) of the scores of queries (B, Q) for items (B, k); 0 where the list is popular."""
        bundle, catalogue = self.service.bundle, self.service.catalogue
        names = list(bundle.parts)
        if names and catalogue.own_vectors():
            names.append(OFFSET)
        parts = {name: np.zeros(rows.shape, dtype=np.float32) for name in names}
        if not names and bundle.kind in ("vectors", "item-to-item", "concepts"):
            return parts
        for at in np.flatnonzero(is_known):
            items = rows[at][rows[at] >= 0]
            if not len(items):
                continue
            found = bundle.scores.match_parts(queries[at : at + 1], catalogue.vectors(items))
            for name, values in found.items():
                parts.setdefault(name, np.zeros(rows.shape, dtype=np.float32))[at, : len(items)] = values[0]
        return parts

    def _items(self, where: Mapping[str, Any], exclude: Sequence[Any]) -> np.ndarray:
        """Returns (I,) bool, the items that may be listed."""
        catalogue = self.service.catalogue
        allowed = catalogue.allowed(None)
        for column, value in where.items():
            mask = catalogue.filters.mask(filter_of(catalogue.filters, column, value))
            if mask is not None:
                allowed[len(mask) :] = False
                allowed[: len(mask)] &= mask[: len(allowed)]
            if not allowed.any():
                cells = self.service.bundle.items[column].drop_nulls().unique(maintain_order=True).head(5)
                got = f"none ({', '.join(repr(str(cell)) for cell in cells)}, ...)"
                raise InputError(f"items with {column} = {value!s}", expected="at least one", got=got)
        allowed[[known_item(self.service, item) for item in exclude]] = False
        return allowed

    def _note(self, users: Sequence[str], learned: np.ndarray, seen: sp.csr_array) -> None:
        """Remembers the users with few interactions; `seen` (n, I) of the `learned` users."""
        num_seen = np.diff(seen.indptr)
        num_train = np.bincount(
            np.repeat(np.arange(len(learned)), num_seen)[seen.data == TRAIN], minlength=len(learned)
        )
        self._strangers += [users[at] for at in learned[(num_train == 0) & (num_seen > 0)]]
        self._unknown += [users[at] for at in learned[num_seen == 0]]

    def _warn(self, is_same: bool) -> None:
        for users, what in (
            (self._strangers, f"no train interaction: {UNKNOWN}, popularity may serve them better"),
            (self._unknown, f"no interaction at all: {UNKNOWN}, they get the most popular items"),
        ):
            if users:
                one, many = f"user {users[0]} has", f"{len(users):,} of {len(self):,} users ({users[0]}, ...) have"
                warnings.warn(f"{one if len(self) == 1 else many} {what}", MedleyWarning, stacklevel=4)
        if is_same:  # of popularity, this is meant
            message = f"all {len(self):,} users get the same list: the scores of this model do not depend on the user"
            warnings.warn(message, MedleyWarning, stacklevel=4)


def filter_of(filters: ItemFilters, column: str, value: Any) -> Filter:
    """Returns the filter for one value of a column; text, as a command line has it, is read as the column's type.

    Raises:
        InputError: an unknown column, or a value that the column cannot have.
    """
    if column not in filters.columns:
        expected = ", ".join(filters.columns)
        raise InputError("column of the items", expected=expected, got=repr(column), remedy="filter by one of these")
    kind, dtype = filters.columns[column].kind, filters.columns[column].dtype
    if kind in ("text", "texts", "time") or (kind == "number" and dtype == pl.String and isinstance(value, str)):
        value = str(value)
    elif isinstance(value, str):
        value = _read(value, kind)
    elif isinstance(value, np.generic):
        value = value.item()
    return Filter.parse({"must": [{"field": column, "eq": value}]})


def known_user(service: Service, user: Any) -> str:
    """Returns the raw id of a user as the service has it.

    Raises:
        InputError: nothing is known about the user.
    """
    user = str(user) if isinstance(user, int | np.integer) and not isinstance(user, bool) else user
    if isinstance(user, str) and service.people.is_folded_in(user):
        return user
    ids = service.bundle.user_ids
    raw_id = ids.raw_id(ids.row(user))
    if not service.people.is_known(raw_id):
        raise InputError("user", expected="a user whom the service knows", got=f"{raw_id!r}, who was deleted")
    return raw_id


def known_item(service: Service, item: Any) -> int:
    """Returns the row of an item.

    Raises:
        InputError: an unknown item.
    """
    row = service.catalogue.find(item) if isinstance(item, str) else None
    return service.bundle.item_ids.row(item) if row is None else row


def _read(text: str, kind: str) -> Any:
    """Reads a boolean or a number; other text is left to the check of the column."""
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _split(seen: sp.csr_array, codes: Sequence[int]) -> list[np.ndarray]:
    """Returns the columns (n,) with some codes of each row."""
    kept = np.isin(seen.data, codes)
    num_kept = np.concatenate([[0], np.cumsum(kept)])[seen.indptr]
    return np.split(seen.indices[kept].astype(np.int64), num_kept[1:-1])
