"""Exact search in blocks: BLAS finds who may be among the best, and float64 decides.

BLAS in float32 rounds differently for every shape of its operands. So a float32 score a of an item with the true score
s only says |a - s| <= e, with e = (D + 2) 2^-24 |q| max|v| (Higham, Accuracy and Stability of Numerical Algorithms,
Sec. 3.1, and Cauchy-Schwarz; one more rounding for the result). Items with a + e below the k-th largest a - e cannot be
among the k best; the others are summed again in float64.

Shapes: B queries, D = dim, n items, k results per query, c candidates.
"""

from collections.abc import Sequence

import numpy as np

from medley.errors import InputError
from medley.serving.index.base import (
    Found,
    Hidden,
    Pairs,
    checked_allowed,
    checked_k,
    checked_vectors,
    nothing,
    ranked,
)
from medley.serving.index.table import Segment, VectorTable

QUERIES = 256  # searched at a time
MAX_SCORES = 2**20  # float32 scores at a time: 4 MiB, about a cache of the second level
MIN_BLOCK = 1024  # items scored at a time, at least
MAX_CANDIDATES = 2**20  # before they are ranked and cut
MAX_VALUES = 2**20  # float64 values at a time when candidates are summed
GATHER_SHARE = 0.15  # of the items that pass: below it, copying their vectors costs less than scoring all items
ROUNDING = 2.0**-24  # of float32
TINY = 2.0**-126  # products below it lose digits
MAX_SCORE = float(np.finfo(np.float32).max) / 2


class ExactIndex:
    """Blocked exact search; see `medley.serving.index.base.Index`."""

    is_exact = True

    def __init__(self, vectors: np.ndarray, rows: np.ndarray | None = None):
        """Takes the vectors of items, without a copy if they are float32 and the rows ascend.

        Args:
            vectors: (n, D), possibly memory-mapped.
            rows: (n,) distinct rows; by default 0, 1, ...

        Raises:
            InputError: vectors or rows of a wrong form.
        """
        self._table = VectorTable(vectors, rows)

    def __len__(self) -> int:
        return len(self._table.snapshot)

    @property
    def nbytes(self) -> int:
        """Bytes of vectors, rows and tombstones."""
        return self._table.nbytes

    def search(
        self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None, hidden: Hidden | None = None
    ) -> Found:
        """Returns the k best items of each query; see `Index.search`."""
        snapshot, k = self._table.snapshot, checked_k(k)
        queries = checked_vectors(queries, "queries", dim=self._table.dim)
        pairs = Pairs.of(hidden, len(queries))
        return search_exactly(snapshot.segments, queries, k, checked_allowed(allowed), pairs)

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Adds items; see `Index.add`."""
        self._change(NO_ROWS, rows, vectors)

    def remove(self, rows: np.ndarray) -> None:
        """Removes items; see `Index.remove`."""
        self._change(rows, NO_ROWS, np.zeros((0, self._table.dim), np.float32))

    def replace(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Replaces the vectors of items; see `Index.replace`."""
        self._change(rows, rows, vectors)

    def compact(self) -> bool:
        """Drops tombstones and merges additions; a change does it by itself where it pays.

        Returns:
            False if another thread is at it.
        """
        return self._table.compact()

    def _change(self, remove: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> None:
        self._table.change(remove, rows, vectors)
        if self._table.is_due:
            self._table.compact()


NO_ROWS = np.zeros(0, dtype=np.int64)


def search_exactly(
    segments: Sequence[Segment], queries: np.ndarray, k: int, allowed: np.ndarray | None, hidden: Pairs
) -> Found:
    """Returns the k best items of all segments for each query (B, D)."""
    passing = [segment.passing(allowed) for segment in segments]
    most = min(k, sum(int(np.count_nonzero(mask)) for mask in passing))
    if not most or not len(queries):
        return nothing(len(queries), k)
    refuse_overflow(queries, max(segment.largest for segment in segments))
    found = nothing(len(queries), k)
    for first in range(0, len(queries), QUERIES):
        last = min(first + QUERIES, len(queries))
        contest = Contest(queries[first:last], most)
        pairs = hidden.of_queries(first, last)
        for segment, mask in zip(segments, passing, strict=True):
            _enter(contest, segment, mask, pairs)
        best = contest.result()
        found.rows[first:last, :most], found.scores[first:last, :most] = best
    return found


def refuse_overflow(queries: np.ndarray, largest: float) -> None:
    """Raises an InputError if an inner product may exceed float32.

    Args:
        queries: (B, D).
        largest: the largest norm of an item vector.
    """
    size = float(np.sqrt((queries.astype(np.float64) ** 2).sum(axis=1)).max(initial=0)) * largest
    if size > MAX_SCORE:
        expected, got = "scores that fit into float32", f"scores up to {size:.3g}"
        raise InputError("queries", expected=expected, got=got, remedy="scale queries or vectors down")


def _enter(contest: "Contest", segment: Segment, passing: np.ndarray, hidden: Pairs) -> None:
    """Enters the items of a segment that pass, except hidden items, block by block."""
    num = int(np.count_nonzero(passing))
    if not num:
        return
    n, step = len(segment), max(MIN_BLOCK, MAX_SCORES // len(contest.queries))
    place = segment.positions(hidden.row)
    query, place = hidden.query[place >= 0], place[place >= 0]
    chosen = np.flatnonzero(passing) if num < GATHER_SHARE * n else None
    if chosen is not None:  # hidden items that do not pass are not in the contest at all
        query, place = query[passing[place]], place[passing[place]]
        place = np.searchsorted(chosen, place)
    by_place = np.argsort(place, kind="stable")
    query, place = query[by_place], place[by_place]
    for start in range(0, n if chosen is None else num, step):
        stop = min(start + step, n if chosen is None else num)
        positions = np.arange(start, stop) if chosen is None else chosen[start:stop]
        vectors = segment.vectors[start:stop] if chosen is None else segment.vectors[positions]
        scores = contest.queries @ vectors.T  # (B, step)
        if chosen is None and num < n:
            scores[:, ~passing[start:stop]] = -np.inf
        begin, end = np.searchsorted(place, (start, stop))
        scores[query[begin:end], place[begin:end] - start] = -np.inf
        contest.enter(scores, segment, positions)


class Contest:
    """The candidates for the k best items of each query, while blocks of items come in."""

    def __init__(self, queries: np.ndarray, k: int):
        """Starts without candidates.

        Args:
            queries: (B, D) float32.
            k: number of results.
        """
        self.queries, self.k = queries, k
        self._precise = queries.astype(np.float64)
        self._size = np.sqrt((self._precise**2).sum(axis=1))  # (B,) norms
        self._best = np.full((len(queries), k), -np.inf)  # the k largest lower bounds so far; the first is the smallest
        self._ranked = nothing(len(queries), k)  # candidates whose scores are final
        self._open: list[tuple[Segment, np.ndarray, np.ndarray, np.ndarray]] = []  # query, position, upper bound
        self._num_open = 0

    def enter(self, scores: np.ndarray, segment: Segment, positions: np.ndarray) -> None:
        """Keeps the items that may be among the best.

        Args:
            scores: (B, m) float32 inner products, -inf for items that may not appear.
            segment: of the items.
            positions: (m,) of the items in the segment.
        """
        num_queries, dim = self.queries.shape
        error = (dim + 2) * ROUNDING * self._size * segment.largest + dim * TINY * (self._size > 0)  # (B,)
        bar = self._best[:, 0]
        if np.isneginf(bar).any() and scores.shape[1] >= self.k:
            kth = scores.shape[1] - self.k
            bar = np.maximum(bar, np.partition(scores, kth, axis=1)[:, kth] - error)
        # the bar is rounded down, so that no candidate is lost; -inf never passes
        below = np.nextafter((bar - error).astype(np.float32), np.float32(-np.inf))
        above = np.flatnonzero(scores >= np.maximum(below, np.finfo(np.float32).min)[:, None])
        if not len(above):
            return
        query, place = np.divmod(above, scores.shape[1])  # ten times as fast as nonzero of two dimensions
        order = np.arange(len(query)) - np.searchsorted(query, np.arange(num_queries))[query]
        if segment.is_sorted:  # equal scores without an error, as of a query of zeros: the first k rows win
            kept = (error[query] > 0) | (order < self.k)
            query, place, order = query[kept], place[kept], order[kept]
        score = scores[query, place].astype(np.float64)
        lower = np.full((num_queries, int(order.max()) + 1), -np.inf)
        lower[query, order] = score - error[query]
        both = np.concatenate([self._best, lower], axis=1)
        self._best = np.partition(both, both.shape[1] - self.k, axis=1)[:, both.shape[1] - self.k :]
        self._open.append((segment, query, positions[place], score + error[query]))
        self._num_open += len(query)
        if self._num_open > MAX_CANDIDATES:
            self._settle()

    def result(self) -> Found:
        """Returns the k best items of each query."""
        self._settle()
        return self._ranked

    def _settle(self) -> None:
        """Sums the scores of the candidates in float64 and keeps the k best of each query."""
        query, place = np.nonzero(self._ranked.rows >= 0)
        queries, rows, scores = [query], [self._ranked.rows[query, place]], [self._ranked.scores[query, place]]
        for segment, query, position, upper in self._open:
            kept = upper >= self._best[query, 0]
            query, position = query[kept], position[kept]
            queries.append(query)
            rows.append(segment.rows[position])
            scores.append(inner_products(self._precise, query, segment.vectors, position))
        query, row, score = (np.concatenate(parts) for parts in (queries, rows, scores))
        self._ranked = ranked(query, row, score, len(self.queries), self.k)
        self._best = self._ranked.scores[:, ::-1].astype(np.float64)
        self._open, self._num_open = [], 0


def inner_products(queries: np.ndarray, query: np.ndarray, vectors: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Returns (c,) float32, inner products summed in float64, the same for every batch.

    Args:
        queries: (B, D) float64.
        query: (c,) the query of each pair.
        vectors: (n, D).
        position: (c,) the vector of each pair.
    """
    scores = np.empty(len(query), dtype=np.float32)
    step = max(1, MAX_VALUES // max(1, queries.shape[1]))
    for start in range(0, len(query), step):
        these = slice(start, start + step)
        scores[these] = (queries[query[these]] * vectors[position[these]]).sum(axis=1)
    return scores
