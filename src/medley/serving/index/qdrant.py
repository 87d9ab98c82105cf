"""Search by Qdrant, a vector database: in this process by default, or a server that the given client talks to.

Shows that the protocol of an index admits a vector database. Qdrant holds the vectors and proposes candidates; their
scores are summed as the exact index does it, so equal scores come by row. One lock makes searches and changes take
turns, since the in-process mode is not made for threads.

The in-process mode compares ids one by one in Python: it is for tests and small catalogues.
"""

import threading
import uuid
from typing import Any

import numpy as np

from medley.errors import InputError, MissingExtraError
from medley.serving.index.base import (
    Found,
    Hidden,
    Pairs,
    checked_allowed,
    checked_k,
    checked_rows,
    checked_vectors,
    nothing,
    ranked,
)
from medley.serving.index.exact import ROUNDING, inner_products, refuse_overflow
from medley.serving.index.table import largest_norm

BATCH = 1000  # vectors sent at a time
MAX_NAMED = 1000  # rows named in a filter; above, more candidates are fetched and the others are dropped
SPARE = 16  # candidates beyond k, for equal scores
GROWTH = 4  # of the number of candidates from one attempt to the next


class QdrantIndex:
    """Search by Qdrant; see `medley.serving.index.base.Index`."""

    is_exact = True

    def __init__(
        self,
        vectors: np.ndarray,
        rows: np.ndarray | None = None,
        *,
        client: Any | None = None,
        collection: str | None = None,
    ):
        """Makes a collection and sends the vectors.

        Args:
            vectors: (n, D).
            rows: (n,) distinct rows, which become the ids of points; by default 0, 1, ...
            client: a `qdrant_client.QdrantClient`; by default one in this process, in memory.
            collection: a name that the client does not have yet; by default a random name.

        Raises:
            InputError: vectors or rows of a wrong form, or the collection exists.
            MissingExtraError: the client of Qdrant is not installed.
        """
        try:
            import qdrant_client
        except ImportError:
            raise MissingExtraError("the index in Qdrant", "serve") from None
        vectors = checked_vectors(vectors, "vectors of items")
        rows = np.arange(len(vectors), dtype=np.int64) if rows is None else checked_rows(rows)
        self._models = qdrant_client.models
        self._client: Any = qdrant_client.QdrantClient(":memory:") if client is None else client
        self._name = collection or f"medley-{uuid.uuid4().hex}"
        self._lock = threading.RLock()
        self._held: set[int] = set()
        self._largest, self._dim = 0.0, vectors.shape[1]
        if self._client.collection_exists(self._name):
            raise InputError("the collection exists already", got=self._name, remedy="choose another name")
        size = self._models.VectorParams(size=self._dim, distance=self._models.Distance.DOT)
        self._client.create_collection(self._name, vectors_config=size)
        self.add(rows, vectors)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors that Qdrant holds, in this process or on its server."""
        return len(self) * self._dim * 4

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Adds items; see `Index.add`."""
        with self._lock:
            rows = checked_rows(rows)
            held = [row for row in rows.tolist() if row in self._held]
            if held:
                raise InputError(f"row {held[0]} is in the index already", remedy="replace it")
            self._put(rows, vectors)

    def remove(self, rows: np.ndarray) -> None:
        """Removes items; see `Index.remove`."""
        with self._lock:
            rows = self._known(rows)
            if len(rows):
                self._client.delete(self._name, self._models.PointIdsList(points=rows.tolist()), wait=True)
                self._held.difference_update(rows.tolist())

    def replace(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Replaces the vectors of items; see `Index.replace`."""
        with self._lock:
            self._put(self._known(rows), vectors)

    def search(
        self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None, hidden: Hidden | None = None
    ) -> Found:
        """Returns the k best items of each query; see `Index.search`."""
        k, allowed = checked_k(k), checked_allowed(allowed)
        queries = checked_vectors(queries, "queries", dim=self._dim)
        pairs = Pairs.of(hidden, len(queries))
        with self._lock:
            if not self._held or not len(queries) or (allowed is not None and not allowed.any()):
                return nothing(len(queries), k)
            refuse_overflow(queries, self._largest)
            named = self._named(allowed)
            answers = [
                self._one(queries[query], k, allowed, named, set(pairs.of_queries(query, query + 1).row.tolist()))
                for query in range(len(queries))
            ]
        sizes = [len(rows) for rows, _ in answers]
        rows, scores = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        return ranked(np.repeat(np.arange(len(queries)), sizes), rows, scores, len(queries), k)

    def _one(
        self, query: np.ndarray, k: int, allowed: np.ndarray | None, named: Any | None, hidden: set[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows and scores of one query (D,) that are surely complete up to the k-th item."""
        fetch = k + min(len(hidden), 3 * k) + SPARE
        size = float(np.sqrt((query.astype(np.float64) ** 2).sum()))
        error = 2 * (len(query) + 2) * ROUNDING * size * self._largest  # of two scores; see `exact.py`
        while True:
            points = self._client.query_points(
                self._name, query=query.tolist(), query_filter=named, limit=fetch, with_vectors=True, with_payload=False
            ).points
            kept = [point for point in points if point.id not in hidden and _passes(point.id, allowed)]
            rows = np.array([point.id for point in kept], dtype=np.int64)
            vectors = np.array([point.vector for point in kept], dtype=np.float32).reshape(len(kept), len(query))
            scores = inner_products(
                query[None].astype(np.float64), np.zeros(len(kept), np.int64), vectors, np.arange(len(kept))
            )
            if len(points) < fetch:
                return rows, scores
            kth = np.partition(scores, len(scores) - k)[len(scores) - k] if len(scores) >= k else -np.inf
            if points[-1].score + error < kth:
                return rows, scores
            fetch *= GROWTH

    def _named(self, allowed: np.ndarray | None) -> Any | None:
        """Returns a filter that names the allowed rows if they are few, else None."""
        if allowed is None or np.count_nonzero(allowed) > MAX_NAMED:
            return None
        ids = self._models.HasIdCondition(has_id=np.flatnonzero(allowed).tolist())
        return self._models.Filter(must=[ids])

    def _known(self, rows: np.ndarray) -> np.ndarray:
        rows = checked_rows(rows)
        absent = [row for row in rows.tolist() if row not in self._held]
        if absent:
            raise InputError(f"row {absent[0]} is not in the index", remedy="add the item first")
        return rows

    def _put(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        vectors = checked_vectors(vectors, "vectors of items", num=len(rows), dim=self._dim)
        for start in range(0, len(rows), BATCH):
            batch = slice(start, start + BATCH)
            points = self._models.Batch(ids=rows[batch].tolist(), vectors=vectors[batch].tolist())
            self._client.upsert(self._name, points, wait=True)
        self._held.update(rows.tolist())
        self._largest = max(self._largest, largest_norm(vectors))


def _passes(row: int, allowed: np.ndarray | None) -> bool:
    return allowed is None or (row < len(allowed) and bool(allowed[row]))
