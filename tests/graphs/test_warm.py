"""Neighbours among the warm items, against a slow loop."""

import numpy as np
import pytest

from medley.graphs import warm_knn
from medley.types import Features


def slow(features: Features, is_warm: np.ndarray, k: int) -> np.ndarray:
    """The positive cosines of each item and the k warm items nearest to it, (I, I)."""
    x = features.values.astype(float)
    has = [i for i in range(len(x)) if features.present[i] and x[i].any()]
    graph = np.zeros((len(x), len(x)))
    for i in has:
        cosine = {j: x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for j in has if is_warm[j]}
        for j in sorted(cosine, key=lambda j: (-cosine[j], j))[:k]:
            graph[i, j] = max(cosine[j], 0.0)
    return graph


@pytest.mark.parametrize("k", [1, 3, 50])
def test_neighbours_are_the_nearest_warm_items_with_a_positive_cosine(k):
    random = np.random.default_rng(0)
    values, present, is_warm = random.normal(size=(40, 6)), random.random(40) < 0.8, random.random(40) < 0.6
    values[::7] = 0.0
    features = Features(values.astype("f4"), present)
    found = warm_knn(features, is_warm, k, cache=False)
    assert found.dtype == np.float32
    assert np.allclose(found.toarray(), slow(features, is_warm, k), atol=1e-6)


def test_without_warm_items_nothing_is_joined():
    features = Features(np.ones((3, 2), dtype="f4"), np.array([True, True, False]))
    found = warm_knn(features, np.array([False, False, True]), 2, cache=False)
    assert found.shape == (3, 3) and found.nnz == 0
