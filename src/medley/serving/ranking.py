"""The best items of a query, whatever kind of score a bundle has: through an index where the score is an inner product,
else by scoring all items.

Shapes: B queries, Q and V columns of queries and item vectors, I items of the bundle, N items with those added since.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from medley.serving.bundle import Bundle
from medley.serving.catalogue import Catalogue
from medley.serving.index import Kind, build_index
from medley.serving.scores import Concepts, Vectors

BLOCK_SCORES = 2**22  # scores computed at a time
NUM_AXES = 16  # of an embedding for the map


class Ranking:
    """Ranks all items of the catalogue that can be listed."""

    def __init__(self, bundle: Bundle, catalogue: Catalogue, *, kind: Kind | None = None):
        self.bundle, self.catalogue = bundle, catalogue
        scores = bundle.scores
        self._index = build_index(scores.item, kind=kind) if isinstance(scores, Vectors) else None
        self._indexed = np.ones(catalogue.num_bundled, dtype=bool)

    @property
    def kind(self) -> str:
        """The name of the index."""
        return "all items are scored" if self._index is None else type(self._index).__name__

    @property
    def nbytes(self) -> int:
        """Bytes of the index, or of what scores are computed from."""
        return self.bundle.scores.nbytes if self._index is None else self._index.nbytes

    def search(
        self, query: np.ndarray, k: int, *, allowed: np.ndarray, hidden: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows (n,) and scores (n,) of the k best items of one query, n <= k; equal scores by row."""
        rows, scores = self.search_many(query[None], k, allowed=allowed, hidden=[hidden])
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]

    def search_many(
        self, queries: np.ndarray, k: int, *, allowed: np.ndarray, hidden: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the k best items of each query, best first.

        Args:
            queries: (B, Q).
            k: number of items.
            allowed: (N,) bool, which items may be listed.
            hidden: for each query the rows that may not be listed.

        Returns:
            Rows (B, k) int64, -1 where there are no more, and scores (B, k) float32, -inf there.
        """
        if self._index is not None:
            return tuple(self._index.search(queries, k, allowed=allowed, hidden=hidden))
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        block = max(1, BLOCK_SCORES // max(len(self.catalogue), 1))
        for start in range(0, len(queries), block):
            these = slice(start, start + block)
            for at, row in enumerate(self._all(queries[these])):
                row[: len(allowed)][~allowed] = -np.inf
                row[len(allowed) :] = -np.inf
                row[hidden[start + at][hidden[start + at] < len(row)]] = -np.inf
                best = _best(row, k)
                rows[start + at, : len(best)], scores[start + at, : len(best)] = best, row[best]
        return rows, scores

    def scores(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns the scores (n,) of item rows (n,)."""
        if not len(rows):
            return np.zeros(0, dtype=np.float32)
        return self.bundle.scores.match(query[None], self.catalogue.vectors(rows))[0]

    def rank(self, query: np.ndarray, row: int, hidden: np.ndarray) -> int:
        """Returns the place of an item, 1 = best, among the items that can be listed and are not hidden, and itself."""
        may = self.catalogue.allowed(None)  # before the scores: an item that is added meanwhile is not in it
        scores = self._all(query[None])[0]
        may[hidden[hidden < len(may)]] = False
        may[row] = True
        others = np.flatnonzero(may)
        ahead = (scores[others] > scores[row]) | ((scores[others] == scores[row]) & (others < row))
        return int(ahead.sum()) + 1

    def update(self, row: int) -> None:
        """Brings the index up to date with an item of the catalogue."""
        if row >= len(self._indexed):
            grown = np.zeros(max(row + 1, 2 * len(self._indexed)), dtype=bool)
            grown[: len(self._indexed)] = self._indexed
            self._indexed = grown
        listed = bool(self.catalogue.alive.values[row] and self.catalogue.placed.values[row])
        if self._index is not None:
            rows = np.array([row])
            if listed:
                change = self._index.replace if self._indexed[row] else self._index.add
                change(rows, self.catalogue.vectors(rows))
            elif self._indexed[row]:
                self._index.remove(rows)
        self._indexed[row] = listed

    def embedding(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns item rows (n,) and their vectors (n, V') for the map: without the offset.

        Of weights between items few axes, which items that were added since do not have.
        """
        scores = self.bundle.scores
        if isinstance(scores, Vectors):
            return rows, self.catalogue.vectors(rows)[:, :-1]
        if isinstance(scores, Concepts):
            return rows, self.catalogue.vectors(rows)[:, : scores.item.shape[1]]
        rows = rows[rows < self.catalogue.num_bundled]
        seen = sp.csr_array(sp.csr_array(scores.history.T)[rows])
        seen.data[:] = 1  # whoever has seen an item, however long ago
        length = np.sqrt(np.maximum(seen.sum(axis=1), 1))
        seen = sp.diags_array(1 / length) @ seen
        axes = min(NUM_AXES, *(size - 1 for size in seen.shape))
        if axes < 1:
            return rows, np.zeros((len(rows), 1))
        left, value, _ = sp.linalg.svds(seen, k=axes, v0=np.ones(min(seen.shape)), return_singular_vectors="u")
        return rows, left * value

    def _all(self, queries: np.ndarray) -> np.ndarray:
        """Returns the scores (B, N) of all items; -inf where an added item has no vector."""
        own = self.catalogue.own_vectors()  # before the length: an item that is added meanwhile is not in it
        scores = np.full((len(queries), len(self.catalogue)), -np.inf, dtype=np.float32)
        scores[:, : self.catalogue.num_bundled] = self.bundle.scores.scores(queries)
        if own:
            scores[:, list(own)] = self.bundle.scores.match(queries, np.stack(list(own.values())))
        return scores


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Returns the k best of scores (N,) that are not -inf, equal ones by row."""
    k = min(k, len(scores))
    least = np.partition(-scores, k - 1)[k - 1] if k else 0.0
    rows = np.flatnonzero((-scores <= least) & (scores > -np.inf))
    return rows[np.lexsort((rows, -scores[rows]))][:k]
