"""Approximate counterpart of `item_knn`, for catalogues of millions: faiss searches the nearest cells only."""

from importlib.metadata import version
from typing import Any

import numpy as np
import scipy.sparse as sp

from medley.errors import InputError, MissingExtraError
from medley.graphs.cache import load_or_build
from medley.graphs.knn import COLUMNS, UnitVectors, check_neighbours, graph_of_neighbours, no_neighbours
from medley.types import Features

MAX_TRAIN = 64  # vectors per cell that faiss learns the cells from
SEED = 1234


def item_knn_faiss(
    features: Features, k: int, *, num_cells: int, num_probes: int, include_self: bool = True, cache: bool = True
) -> sp.csr_array:
    """Returns (I, I) float32: the result of `item_knn`, up to overlooked neighbours and the rounding of faiss.

    Needs `pip install 'medley-rec[faiss]'`, and memory for the float32 vectors. Rows may hold fewer than k where the
    searched cells hold fewer.

    Args:
        features: raw features of one modality.
        k: neighbours of each item.
        num_cells: number of cells; about 4 sqrt(n) is usual.
        num_probes: cells that are searched for each item, 1 to num_cells; more cells overlook fewer neighbours.
        include_self: the item itself, with similarity 1, is the first of its k.
        cache: keep the graph on disk, see `medley.graphs.cache`.

    Raises:
        InputError: an option is out of its range, or a present item has features that are not finite.
        MissingExtraError: faiss is not installed.
    """
    check_neighbours(features, k)
    try:
        import faiss  # type: ignore[import-not-found]
    except ImportError:
        raise MissingExtraError("the approximate item graph", "faiss") from None

    def build() -> sp.csr_array:
        vectors = UnitVectors.of(features)
        n, dim = len(vectors.item), vectors.values.shape[1]
        num_others = min(k - include_self, n - 1)
        if num_others <= 0:
            return graph_of_neighbours(*no_neighbours(n), vectors, include_self=include_self)
        if not 1 <= num_probes <= num_cells <= n:
            expected = f"1 <= num_probes <= num_cells <= {n:,} items"
            raise InputError("cells", expected=expected, got=f"num_probes={num_probes:,}, num_cells={num_cells:,}")
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, num_cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.nprobe = SEED, num_probes
        sample = np.random.default_rng(SEED).permutation(n)[: MAX_TRAIN * num_cells]
        index.train(vectors[np.sort(sample)])
        blocks = [slice(first, first + COLUMNS) for first in range(0, n, COLUMNS)]
        for block in blocks:
            index.add(vectors[block])
        found = [index.search(vectors[block], num_others + 1) for block in blocks]
        score, position = (np.concatenate(parts) for parts in zip(*found, strict=True))
        own = position == np.arange(n)[:, None]
        own[~own.any(axis=1), -1] = True  # many equal vectors can crowd the item itself out: then drop the last
        others = (n, num_others)
        score, position = score[~own].reshape(others), position[~own].reshape(others)
        return graph_of_neighbours(score, position, vectors, include_self=include_self)

    if not cache:
        return build()
    parameters: dict[str, Any] = {
        "k": k,
        "include_self": include_self,
        "num_cells": num_cells,
        "num_probes": num_probes,
    }
    parameters["faiss"] = version("faiss-cpu")
    return load_or_build(build, arrays=(features.values, features.present), parameters=parameters)
