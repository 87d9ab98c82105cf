"""Items joined to the warm items, those with interactions, that are most similar to them in content."""

import numpy as np
import scipy.sparse as sp
import torch

from medley.graphs.cache import load_or_build
from medley.scoring.top_k import top_k
from medley.types import Embeddings, Features

SMALLEST = 1e-12  # vectors that are shorter have no direction


def warm_knn(features: Features, is_warm: np.ndarray, k: int, *, cache: bool = True) -> sp.csr_array:
    """Returns (I, I) float32: the cosine of each item and the k warm items nearest to it.

    A warm item is among its own neighbours. Only positive cosines are edges. Items that lack the modality, or whose
    vector is zero, have no edges.

    Args:
        features: features of one modality; centred or whitened, so that cosines differ.
        is_warm: (I,) bool, the items that may be neighbours.
        k: most neighbours of an item.
        cache: keep the graph on disk, see `medley.graphs.cache`.
    """

    def build() -> sp.csr_array:
        has = features.present
        row, item, cosine = nearest(
            np.asarray(features.values, dtype=np.float32), np.flatnonzero(has), np.flatnonzero(has & is_warm), k
        )
        near = cosine > 0
        pairs = np.repeat(row, near.sum(axis=1)), item[near]
        graph = sp.csr_array((cosine[near], pairs), shape=(len(is_warm), len(is_warm)))
        graph.sort_indices()
        return graph

    if not cache:
        return build()
    return load_or_build(build, arrays=(features.values, features.present, is_warm), parameters={"k": k})


def nearest(
    values: np.ndarray, rows: np.ndarray, among: np.ndarray, k: int, *, least: float = SMALLEST
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the k items with the largest cosine, best first; equal ones by lower row.

    Args:
        values: (I, d) float32.
        rows: (n,) the items to find neighbours of.
        among: (m,) the items that may be neighbours, ascending.
        k: neighbours of an item; fewer if fewer of `among` have a direction.
        least: vectors that are not longer have no direction, and are left out on both sides.

    Returns:
        The rows that have a direction (n',), their neighbours (n', k), and the cosines (n', k) float32.
    """
    rows, x = _directions(values, rows, least)
    among, y = _directions(values, among, least)
    if not len(among):
        return rows, np.empty((len(rows), 0), dtype=np.int64), np.empty((len(rows), 0), dtype=np.float32)
    nothing = sp.csr_array((len(rows), len(among)))
    vectors = Embeddings(torch.from_numpy(x), torch.from_numpy(y))
    place, cosine = top_k(vectors, np.arange(len(rows)), nothing, min(k, len(among)))
    return rows, among[place], cosine


def _directions(values: np.ndarray, rows: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows whose vectors are longer than `least`, and these vectors, scaled to length one."""
    x = values[rows]
    norm = np.linalg.norm(x, axis=1)
    longer = norm > least
    return rows[longer], x[longer] / norm[longer, None]
