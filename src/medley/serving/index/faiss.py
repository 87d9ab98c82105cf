"""Approximate search by faiss, for large catalogues: a graph (HNSW) or cells (IVF) of the base, inner products.

faiss proposes candidates; their scores are summed as the exact index does it. Additions wait in a buffer, which is
searched exactly. When additions or tombstones are many, a thread builds the graph or the cells anew.

A filter goes into the search of faiss as a bitmap. Where few items pass, faiss would walk past most items, so the
items that pass are searched exactly. Where too few candidates are left for a query, because they are hidden from it or
far away, faiss is asked for more and more, and at last exact search answers; so there are always k results if k items
pass.

HNSW works on the inner products themselves: turning them into distances by one more dimension (Bachrach et al., RecSys
2014) lowered the recall of the same graph from 0.98 to 0.26 on 100,000 items whose norms vary (log-normal, 0.4).
"""

import threading
from typing import Any, Literal

import numpy as np

from medley.errors import InputError, MissingExtraError
from medley.serving.index.base import (
    Found,
    Hidden,
    Pairs,
    checked_allowed,
    checked_k,
    checked_vectors,
    merged,
    nothing,
    ranked,
)
from medley.serving.index.exact import NO_ROWS, inner_products, refuse_overflow, search_exactly
from medley.serving.index.table import Segment, VectorTable

NUM_LINKS = 32  # of each item in the graph of HNSW
BUILD_WIDTH = 80  # candidates for the links of a new item
WIDTH = 128  # candidates that a search of the graph keeps: recall@20 0.98, benchmarks/index.py
PROBE_SHARE = 0.2  # of the cells that a search looks into, at least MIN_PROBES
MIN_PROBES = 16
MIN_TRAIN = 39  # vectors per cell, below which faiss warns
MAX_TRAIN = 64  # vectors per cell that faiss learns the cells from
EXACT_SHARE = 0.2  # of the items that pass: below it, exact search over these costs less, benchmarks/index.py
MAX_FETCH_SHARE = 0.1  # of the items: whoever needs more candidates is served by exact search
GROWTH = 4  # of the number of candidates from one attempt to the next
SEED = 1234


class FaissIndex:
    """Approximate search; see `medley.serving.index.base.Index`."""

    is_exact = False

    def __init__(
        self,
        vectors: np.ndarray,
        rows: np.ndarray | None = None,
        *,
        kind: Literal["hnsw", "ivf"] = "hnsw",
        width: int = WIDTH,
        probe_share: float = PROBE_SHARE,
    ):
        """Builds the graph or the cells.

        Args:
            vectors: (n, D); kept beside the copy that faiss makes, possibly memory-mapped.
            rows: (n,) distinct rows; by default 0, 1, ...
            kind: hnsw, a graph (faster searches, higher recall), or ivf, cells (faster to build, less memory).
            width: candidates that a search of the graph keeps; more overlook fewer items.
            probe_share: share of the cells that a search looks into; more overlook fewer items.

        Raises:
            InputError: vectors, rows or an option of a wrong form.
            MissingExtraError: faiss is not installed.
        """
        try:
            import faiss  # type: ignore[import-not-found]
        except ImportError:
            raise MissingExtraError("the approximate index", "serve") from None
        if kind not in ("hnsw", "ivf"):
            raise InputError("kind of the index", expected="hnsw or ivf", got=repr(kind))
        if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
            raise InputError("width of the search", expected="a whole number of at least 1", got=repr(width))
        if not 0 < probe_share <= 1:
            raise InputError("probe share", expected="more than 0, at most 1", got=repr(probe_share))
        self._faiss: Any = faiss
        self.kind, self._width, self._probe_share = kind, int(width), float(probe_share)
        self._table = VectorTable(vectors, rows, prepare=self._build)
        self._compaction: threading.Thread | None = None  # the latest

    def __len__(self) -> int:
        return len(self._table.snapshot)

    @property
    def nbytes(self) -> int:
        """Bytes of vectors, rows, tombstones, and of what faiss holds."""
        built = self._table.snapshot.prepared
        if built is None:
            return self._table.nbytes
        vectors = built.ntotal * built.d * 4
        if self.kind == "ivf":
            return self._table.nbytes + vectors + built.ntotal * 8 + built.nlist * built.d * 4
        graph = built.hnsw
        links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
        return self._table.nbytes + vectors + links

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
        """Builds the graph or the cells anew, with the additions and without tombstones.

        Takes as long as the construction; searches and changes go on meanwhile. A change starts it in a thread where
        it pays.

        Returns:
            False if another thread is at it.
        """
        return self._table.compact()

    def search(
        self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None, hidden: Hidden | None = None
    ) -> Found:
        """Returns the k best items of each query; see `Index.search`."""
        snapshot, k, allowed = self._table.snapshot, checked_k(k), checked_allowed(allowed)
        queries = checked_vectors(queries, "queries", dim=self._table.dim)
        pairs = Pairs.of(hidden, len(queries))
        base, buffer = snapshot.segments
        passing = base.passing(allowed)
        if np.count_nonzero(passing) < EXACT_SHARE * len(base) or not len(queries):
            return search_exactly(snapshot.segments, queries, k, allowed, pairs)
        refuse_overflow(queries, max(base.largest, buffer.largest))
        parts = [self._search_base(snapshot.prepared, base, queries, k, allowed, passing, pairs)]
        if buffer.num_alive:
            parts.append(search_exactly([buffer], queries, k, allowed, pairs))
        return merged(parts, k)

    def _change(self, remove: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> None:
        self._table.change(remove, rows, vectors)
        if self._table.is_due and (self._compaction is None or not self._compaction.is_alive()):
            self._compaction = threading.Thread(target=self._table.compact, name="medley-index", daemon=True)
            self._compaction.start()

    def _search_base(
        self,
        built: Any,
        base: Segment,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None,
        passing: np.ndarray,
        hidden: Pairs,
    ) -> Found:
        """Asks faiss for more and more candidates until each query has its k items, or all that pass."""
        found, precise = nothing(len(queries), k), queries.astype(np.float64)
        num_passing = int(np.count_nonzero(passing))
        most = int(MAX_FETCH_SHARE * len(base))
        place = base.positions(hidden.row)
        held = (place >= 0) & passing[place]
        pairs = np.unique(hidden.query[held] * len(base) + place[held])  # a row may be hidden twice
        num_hidden = np.bincount(pairs // len(base), minlength=len(queries))
        wanted = np.minimum(k, num_passing - num_hidden)  # (B,)
        pending = np.flatnonzero(wanted > 0)
        fetch = k + min(int(num_hidden.max()), 3 * k)
        while len(pending) and fetch <= most:
            place = self._candidates(built, queries[pending], fetch, passing, num_passing)
            query, at = np.nonzero(place >= 0)
            place, query = place[query, at], pending[query]
            shown = ~np.isin(query * len(base) + place, pairs)
            query, place = query[shown], place[shown]
            enough = np.bincount(query, minlength=len(queries)) >= wanted
            ready = enough[query]
            query, place = query[ready], place[ready]
            scores = inner_products(precise, query, base.vectors, place)
            best = ranked(query, base.rows[place], scores, len(queries), k)
            done = pending[enough[pending]]
            found.rows[done], found.scores[done] = best.rows[done], best.scores[done]
            pending = pending[~enough[pending]]
            fetch *= GROWTH
        if len(pending):
            rest = hidden.take(pending, len(queries))
            exact = search_exactly([base], queries[pending], k, allowed, rest)
            found.rows[pending], found.scores[pending] = exact
        return found

    def _candidates(
        self, built: Any, queries: np.ndarray, fetch: int, passing: np.ndarray, num_passing: int
    ) -> np.ndarray:
        """Returns positions in the base (B, fetch), -1 where faiss finds fewer."""
        share = num_passing / len(passing)
        bits = np.packbits(passing, bitorder="little") if share < 1 else None  # alive until faiss has answered
        selector = None if bits is None else self._faiss.IDSelectorBitmap(len(passing), self._faiss.swig_ptr(bits))
        if self.kind == "hnsw":  # the graph is walked over all items, so fewer of the candidates pass
            width = int(max(self._width, fetch) / share)
            parameters = self._faiss.SearchParametersHNSW(sel=selector, efSearch=width)
        else:
            probes = max(MIN_PROBES, int(self._probe_share * built.nlist / share**0.5), 1)
            parameters = self._faiss.SearchParametersIVF(sel=selector, nprobe=min(built.nlist, probes))
        return built.search(queries, fetch, params=parameters)[1]

    def _build(self, vectors: np.ndarray) -> Any:
        """Returns the graph or the cells of vectors (n, D), None without vectors."""
        n, dim = vectors.shape
        if not n:
            return None
        if self.kind == "hnsw":
            built = self._faiss.IndexHNSWFlat(dim, NUM_LINKS, self._faiss.METRIC_INNER_PRODUCT)
            built.hnsw.efConstruction = BUILD_WIDTH
        else:
            num_cells = max(1, min(int(4 * n**0.5), n // MIN_TRAIN))
            built = self._faiss.IndexIVFFlat(
                self._faiss.IndexFlatIP(dim), dim, num_cells, self._faiss.METRIC_INNER_PRODUCT
            )
            built.cp.seed = SEED
            sample = np.random.default_rng(SEED).permutation(n)[: MAX_TRAIN * num_cells]
            built.train(vectors[np.sort(sample)])
        for start in range(0, n, 2**16):
            built.add(np.ascontiguousarray(vectors[start : start + 2**16]))
        return built
