"""What every index offers, and the checks that all indexes share.

Shapes: B queries, D = dim of the vectors, I items, k results per query.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from medley.errors import InputError

BLOCK = 2**14  # vectors checked at a time

Hidden = Sequence[np.ndarray | None]
"""For each query, the rows (n,) that may not appear in its result; None hides nothing."""


class Found(NamedTuple):
    """The best items of B queries, best first; equal scores by row."""

    rows: np.ndarray  # (B, k) int64, -1 where fewer than k items pass
    scores: np.ndarray  # (B, k) float32, -inf where fewer than k items pass


class Index(Protocol):
    """Finds the items with the largest inner products; items come and go without a rebuild.

    An item is a row, a whole number from 0 that the caller gives. Any number of threads may search while one thread
    after another changes the index: a search sees all of a change or nothing of it.

    The score is the inner product, summed in float64 and rounded to float32 once, so it depends neither on the batch
    nor on the index. An approximate index may overlook items, but never returns fewer than k items if k items pass, and
    it orders what it returns as the exact index does.
    """

    @property
    def is_exact(self) -> bool:
        """Whether no item is ever overlooked."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that the index holds, memory-mapped vectors included."""
        ...

    def __len__(self) -> int:
        """Returns the number of items."""
        ...

    def search(
        self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None, hidden: Hidden | None = None
    ) -> Found:
        """Returns the k best items of each query.

        Args:
            queries: (B, D) vectors.
            k: number of results, at least 1; may exceed the number of items.
            allowed: (I,) bool, the rows that may appear, for all queries; rows beyond its end may not.
            hidden: for each query, rows that may not appear; rows that the index does not hold are allowed here.

        Raises:
            InputError: queries of another dim or not finite; k below 1; `allowed` or `hidden` of a wrong form.
        """
        ...

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Adds items, in one step.

        Args:
            rows: (n,) rows that the index does not hold.
            vectors: (n, D).

        Raises:
            InputError: a row is held already or given twice; vectors of another dim or not finite.
        """
        ...

    def remove(self, rows: np.ndarray) -> None:
        """Removes items, in one step.

        Raises:
            InputError: a row is not held, or given twice.
        """
        ...

    def replace(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Replaces the vectors of items, in one step.

        Raises:
            InputError: a row is not held or given twice; vectors of another dim or not finite.
        """
        ...


def checked_rows(rows: np.ndarray) -> np.ndarray:
    """Returns rows as (n,) int64.

    Raises:
        InputError: not whole numbers from 0, or a row twice.
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or not (np.issubdtype(rows.dtype, np.integer) or not len(rows)):
        got = f"{rows.dtype} of shape {rows.shape}"
        raise InputError("rows of the index", expected="an array (n,) of whole numbers", got=got)
    if len(rows) and rows.min() < 0:
        raise InputError("rows of the index", expected="0 or more", got=int(rows.min()))
    rows = rows.astype(np.int64)
    ordered = np.sort(rows)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise InputError("rows of the index", expected="distinct rows", got=f"row {twice[0]} twice")
    return rows


def checked_vectors(vectors: np.ndarray, what: str, *, num: int | None = None, dim: int | None = None) -> np.ndarray:
    """Returns vectors as (n, D) float32, without a copy where they are that already.

    Args:
        vectors: n vectors.
        what: the name of the vectors in errors.
        num: the number of vectors expected.
        dim: D expected.

    Raises:
        InputError: another shape, not numbers, or not finite in float32.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not (np.issubdtype(vectors.dtype, np.floating) or np.issubdtype(vectors.dtype, np.integer)):
        got = f"{vectors.dtype} of shape {vectors.shape}"
        raise InputError(what, expected=f"numbers (n, {'D' if dim is None else dim})", got=got)
    for size, expected, name in ((vectors.shape[0], num, "rows"), (vectors.shape[1], dim, "dim")):
        if expected is not None and size != expected:
            raise InputError(f"{name} of {what}", expected=f"{expected:,}", got=f"{size:,}")
    with np.errstate(over="ignore"):
        vectors = vectors.astype(np.float32, order="C", copy=False)
    for start in range(0, len(vectors), BLOCK):
        finite = np.isfinite(vectors[start : start + BLOCK]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise InputError(what, row=row, expected="finite numbers", got="NaN or infinity")
    return vectors


def checked_k(k: int) -> int:
    """Returns k.

    Raises:
        InputError: not a whole number of at least 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError("k", expected="a whole number of at least 1", got=repr(k))
    return int(k)


def checked_allowed(allowed: np.ndarray | None) -> np.ndarray | None:
    """Returns the mask of allowed rows.

    Raises:
        InputError: not a mask.
    """
    if allowed is None:
        return None
    if not isinstance(allowed, np.ndarray) or allowed.dtype != bool or allowed.ndim != 1:
        got = f"{allowed.dtype} of shape {allowed.shape}" if isinstance(allowed, np.ndarray) else type(allowed).__name__
        raise InputError("allowed rows", expected="a mask (I,) of true and false", got=got)
    return allowed


class Pairs(NamedTuple):
    """The rows that are hidden from queries; h pairs, by query."""

    query: np.ndarray  # (h,) int64, ascending
    row: np.ndarray  # (h,) int64

    @classmethod
    def of(cls, hidden: Hidden | None, num_queries: int) -> "Pairs":
        """Flattens the hidden rows of each query.

        Raises:
            InputError: not one array of rows per query.
        """
        if hidden is None:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        if len(hidden) != num_queries:
            got = f"{len(hidden):,}"
            raise InputError("hidden rows", expected=f"one array for each of {num_queries:,} queries", got=got)
        arrays = [np.zeros(0, np.int64) if rows is None else np.asarray(rows) for rows in hidden]
        for rows in arrays:
            if rows.ndim != 1 or (len(rows) and not (np.issubdtype(rows.dtype, np.integer) and rows.min() >= 0)):
                got = f"{rows.dtype} of shape {rows.shape}" + (f", smallest {rows.min()}" if rows.size else "")
                raise InputError("hidden rows", expected="an array (n,) of rows from 0", got=got)
        sizes = [len(rows) for rows in arrays]
        return cls(
            np.repeat(np.arange(num_queries, dtype=np.int64), sizes),
            np.concatenate([rows.astype(np.int64) for rows in arrays]) if arrays else np.zeros(0, np.int64),
        )

    def of_queries(self, first: int, last: int) -> "Pairs":
        """Returns the pairs of queries first to last - 1, with queries counted from `first`."""
        begin, end = np.searchsorted(self.query, (first, last))
        return Pairs(self.query[begin:end] - first, self.row[begin:end])

    def take(self, queries: np.ndarray, num_queries: int) -> "Pairs":
        """Returns the pairs of some queries (ascending), with queries counted among these."""
        place = np.full(num_queries, -1, dtype=np.int64)
        place[queries] = np.arange(len(queries))
        kept = place[self.query] >= 0
        return Pairs(place[self.query[kept]], self.row[kept])


def ranked(query: np.ndarray, row: np.ndarray, score: np.ndarray, num_queries: int, k: int) -> Found:
    """Returns the k best of the scored candidates of each query.

    Args:
        query: (c,) the query of each candidate.
        row: (c,) rows; distinct within a query.
        score: (c,) float32.
        num_queries: B.
        k: number of results.
    """
    order = np.lexsort((row, -score, query))
    query, row, score = query[order], row[order], score[order]
    start = np.searchsorted(query, np.arange(num_queries))
    place = np.arange(len(query)) - start[query]
    kept = place < k
    found = nothing(num_queries, k)
    found.rows[query[kept], place[kept]] = row[kept]
    found.scores[query[kept], place[kept]] = score[kept]
    return found


def nothing(num_queries: int, k: int) -> Found:
    """Returns results without any item."""
    shape = (num_queries, k)
    return Found(np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32))


def merged(parts: Sequence[Found], k: int) -> Found:
    """Returns the k best of results whose items are disjoint."""
    if len(parts) == 1:
        return parts[0]
    rows, scores = np.concatenate([part.rows for part in parts], 1), np.concatenate([part.scores for part in parts], 1)
    query, place = np.nonzero(rows >= 0)
    return ranked(query, rows[query, place], scores[query, place], len(rows), k)
