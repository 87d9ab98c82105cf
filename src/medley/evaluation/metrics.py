"""Metrics at K: pure functions of a Ranking. Relevance is binary; the definitions are those of ir-measures.

Each takes a ranking and one K or several, k (...), and returns one value per query, (..., q): `recall(ranking, 20)` is
(q,), `recall(ranking, [10, 20])` is (2, q).

In the formulas r_1 < r_2 < ... < r_R are the ranks of the R held-out items of a query.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from medley.errors import InputError
from medley.types import Ranking

VARIANT = "binary relevance; recall and map divide by all held-out items; ndcg log2(rank + 1), ideal cut at K; 1"
"""The definitions below in words, for fingerprints. Changes whenever a definition changes."""


def precision(ranking: Ranking, k: ArrayLike) -> np.ndarray:
    """|{j: r_j <= K}| / K, also where K exceeds the number of candidates."""
    return _sum_up_to(ranking, np.ones(len(ranking.rank)), k) / np.expand_dims(k, -1)


def recall(ranking: Ranking, k: ArrayLike) -> np.ndarray:
    """|{j: r_j <= K}| / R."""
    return _sum_up_to(ranking, np.ones(len(ranking.rank)), k) / ranking.num_relevant


def ndcg(ranking: Ranking, k: ArrayLike) -> np.ndarray:
    """sum_{r_j <= K} 1 / log2(r_j + 1), divided by its best value, sum_{j=1..min(R, K)} 1 / log2(j + 1)."""
    best = np.cumsum(1 / np.log2(np.arange(2, ranking.num_relevant.max(initial=1) + 2)))
    ideal = best[np.minimum(ranking.num_relevant, np.expand_dims(k, -1)) - 1]
    return _sum_up_to(ranking, 1 / np.log2(ranking.rank + 1), k) / ideal


def average_precision(ranking: Ranking, k: ArrayLike) -> np.ndarray:
    """sum_{r_j <= K} (j / r_j) / R. Its mean over the queries is MAP."""
    place = np.arange(len(ranking.rank)) - np.repeat(ranking.start[:-1], ranking.num_relevant) + 1  # j
    return _sum_up_to(ranking, place / ranking.rank, k) / ranking.num_relevant


def reciprocal_rank(ranking: Ranking, k: ArrayLike) -> np.ndarray:
    """1 / r_1 if r_1 <= K, else 0. Its mean over the queries is MRR."""
    first = ranking.rank[ranking.start[:-1]]
    return (first <= np.expand_dims(k, -1)) / first


def hit_rate(ranking: Ranking, k: ArrayLike) -> np.ndarray:
    """1 if r_1 <= K, else 0."""
    return (ranking.rank[ranking.start[:-1]] <= np.expand_dims(k, -1)).astype(np.float64)


METRICS = {
    "precision": precision,
    "recall": recall,
    "ndcg": ndcg,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}


def metrics_at(ranking: Ranking, names: Iterable[str], ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Computes several metrics at several K: "recall@20" -> (q,), one value per query.

    Raises:
        InputError: a metric is not in METRICS, or a K is not a whole number of at least 1.
    """
    check_metrics(names := tuple(names), ks)
    values = {name: METRICS[name](ranking, ks) for name in names}  # (len(ks), q) each
    return {f"{name}@{k}": values[name][x] for x, k in enumerate(ks) for name in names}


def check_metrics(names: Iterable[str], ks: Iterable[int]) -> None:
    """Refuses metrics and K that do not exist.

    Raises:
        InputError: as in `metrics_at`.
    """
    for name in names:
        if name not in METRICS:
            raise InputError("metric", expected=" or ".join(METRICS), got=repr(name))
    for k in ks:
        if not isinstance(k, int | np.integer) or k < 1:
            raise InputError("K of a metric", expected="a whole number of at least 1", got=repr(k))


def _sum_up_to(ranking: Ranking, gain: np.ndarray, k: ArrayLike) -> np.ndarray:
    """sum_{r_j <= K} gain_j, (..., q), in one pass over the held-out items whatever the number of K."""
    cut, place = np.unique(k, return_inverse=True)
    shape = (len(cut) + 1, len(ranking.user))
    query = np.repeat(np.arange(shape[1]), ranking.num_relevant)
    cell = np.searchsorted(cut, ranking.rank) * shape[1] + query  # the first K that reaches the item
    sums = np.bincount(cell, weights=gain, minlength=shape[0] * shape[1]).reshape(shape).cumsum(axis=0)
    return sums[place.reshape(np.shape(k))]
