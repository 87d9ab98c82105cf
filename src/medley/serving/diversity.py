"""Diversity of a list: maximal marginal relevance over item vectors.

J. Carbonell and J. Goldstein. The Use of MMR, Diversity-Based Reranking. SIGIR 1998. With a share d of diversity, the
next item of a list S is

    argmax over i not in S of (1 - d) r_i - d max over j in S of cos(v_i, v_j)                                   (eq. 1)

where r_i is the score of i, scaled so that the candidates span 0 to 1: then d means the same for every user and model.

Shapes: n candidates, D = dim, k results.
"""

import math

import numpy as np

from medley.errors import InputError
from medley.serving.index.base import checked_k, checked_vectors

CANDIDATES_PER_RESULT = 5


def num_candidates(k: int, diversity: float) -> int:
    """Returns how many of the best items to re-rank for k results: k itself without diversity."""
    return checked_k(k) * (CANDIDATES_PER_RESULT if checked_share(diversity) else 1)


def rerank(scores: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """Returns the positions of k candidates in the order of eq. 1; of equal values, the first candidate.

    Args:
        scores: (n,) of the candidates, best first.
        vectors: (n, D) of the candidates; a vector of zeros is like no other.
        k: number of results.
        diversity: 0 keeps the order, 1 looks at the vectors alone, after the best item.

    Returns:
        (min(k, n),) int64.

    Raises:
        InputError: scores or vectors that are not finite or do not fit together, k below 1, diversity outside 0 to 1.
    """
    k, diversity = checked_k(k), checked_share(diversity)
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        got = f"shape {scores.shape}" if scores.ndim != 1 else "NaN or infinity"
        raise InputError("scores of the candidates", expected="finite numbers (n,)", got=got)
    units = checked_vectors(vectors, "vectors of the candidates", num=len(scores)).astype(np.float64)
    num = min(k, len(scores))
    if not diversity or num < 2:
        return np.arange(num)
    norm = np.sqrt((units**2).sum(axis=1, keepdims=True))
    units = np.divide(units, norm, out=np.zeros_like(units), where=norm > 0)
    span = scores.max() - scores.min()
    relevance = (scores - scores.min()) / span if span > 0 else np.zeros(len(scores))
    chosen = np.zeros(num, dtype=np.int64)
    chosen[0] = np.argmax(relevance)
    closest = np.full(len(scores), -np.inf)  # largest similarity to a chosen item
    for place in range(1, num):
        closest = np.maximum(closest, units @ units[chosen[place - 1]])
        value = (1 - diversity) * relevance - diversity * closest
        value[chosen[:place]] = -np.inf
        chosen[place] = np.argmax(value)
    return chosen


def checked_share(diversity: float) -> float:
    """Returns the share of diversity.

    Raises:
        InputError: not a number from 0 to 1.
    """
    is_number = isinstance(diversity, int | float | np.floating) and not isinstance(diversity, bool)
    if not is_number or math.isnan(diversity) or not 0 <= diversity <= 1:
        raise InputError("diversity", expected="a number from 0 to 1", got=repr(diversity))
    return float(diversity)
