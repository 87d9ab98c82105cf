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
        num_items = len(is_warm)
        values = np.asarray(features.values, dtype=np.float32)
        norm = np.linalg.norm(values, axis=1)
        row = np.flatnonzero(features.present & (norm > SMALLEST))
        source = row[is_warm[row]]
        if not len(source):
            return sp.csr_array((num_items, num_items), dtype=np.float32)
        x, y = (torch.from_numpy(values[rows] / norm[rows, None]) for rows in (row, source))
        nothing = sp.csr_array((len(row), len(source)))
        place, cosine = top_k(Embeddings(x, y), np.arange(len(row)), nothing, min(k, len(source)))  # (n, k) each
        near = cosine > 0
        pairs = np.repeat(row, near.sum(axis=1)), source[place[near]]
        graph = sp.csr_array((cosine[near].astype(np.float32), pairs), shape=(num_items, num_items))
        graph.sort_indices()
        return graph

    if not cache:
        return build()
    return load_or_build(build, arrays=(features.values, features.present, is_warm), parameters={"k": k})
