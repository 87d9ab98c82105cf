"""Indexes: which items have the largest inner product with a query.

base      what every index offers (`Index`, `Found`)
exact     blocked search with BLAS, for catalogues up to EXACT_UP_TO items
faiss     approximate search, a graph or cells, beyond it
qdrant    a vector database behind the same protocol
table     vectors that change while others read them
"""

from typing import Literal

import numpy as np

from medley.errors import InputError
from medley.serving.index.base import Found, Hidden, Index
from medley.serving.index.exact import ExactIndex
from medley.serving.index.faiss import FaissIndex
from medley.serving.index.qdrant import QdrantIndex

__all__ = [
    "EXACT_UP_TO",
    "ExactIndex",
    "FaissIndex",
    "Found",
    "Hidden",
    "Index",
    "Kind",
    "QdrantIndex",
    "build_index",
    "choose_index",
]

Kind = Literal["exact", "hnsw", "ivf", "qdrant"]

EXACT_UP_TO = 100_000
"""Items up to which search is exact. `benchmarks/index.py --crossover` on two cores, dim 64, one BLAS thread: from
30,000 items on (0.3 ms both) hnsw answers one query sooner, but it overlooks 1 to 2 % of the items. Exact search takes
1.5 ms for 100,000 items, a tenth of what an answer may take, and starts at once, while a graph of 100,000 items takes
10 to 20 s to build. For 300,000 items, exact search takes 8 ms, hnsw 0.5 ms."""


def choose_index(num_items: int) -> Kind:
    """Returns the kind of index for a catalogue: exact up to EXACT_UP_TO items, hnsw beyond."""
    return "exact" if num_items <= EXACT_UP_TO else "hnsw"


def build_index(vectors: np.ndarray, rows: np.ndarray | None = None, *, kind: Kind | None = None) -> Index:
    """Builds an index.

    Args:
        vectors: (n, D) vectors of items, possibly memory-mapped.
        rows: (n,) distinct rows; by default 0, 1, ...
        kind: exact, hnsw, ivf or qdrant; by default what `choose_index` says.

    Raises:
        InputError: vectors or rows of a wrong form, or an unknown kind.
        MissingExtraError: the index needs a package that is not installed.
    """
    kind = choose_index(len(vectors)) if kind is None else kind
    if kind == "exact":
        return ExactIndex(vectors, rows)
    if kind == "qdrant":
        return QdrantIndex(vectors, rows)
    if kind in ("hnsw", "ivf"):
        return FaissIndex(vectors, rows, kind=kind)
    raise InputError("kind of the index", expected="exact, hnsw, ivf or qdrant", got=repr(kind))
