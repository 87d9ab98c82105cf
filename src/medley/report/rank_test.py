"""Mean ranks of several models over many blocks, tested after Demsar (JMLR 2006): Friedman's test, then Nemenyi's.

A block is a data set, or a user of one data set; the conclusions are about the population that the blocks come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medley.errors import InputError

DECIMALS = 12  # means over seeds that should be equal may differ by rounding: they are ties


@dataclass(frozen=True)
class RankTest:
    """The result of both tests."""

    labels: tuple[str, ...]
    mean_rank: np.ndarray  # (k,), 1 is best; ties share their mean rank
    p_value: float  # Friedman, corrected for ties: the models do not differ
    critical_difference: float  # Nemenyi: mean ranks closer than this do not differ at the level alpha
    num_blocks: int
    alpha: float

    @property
    def order(self) -> list[int]:
        """Places of the models, the best mean rank first."""
        return [int(place) for place in np.argsort(self.mean_rank, kind="stable")]

    @property
    def cliques(self) -> list[tuple[float, float]]:
        """The widest groups of models that do not differ: smallest and largest mean rank of each."""
        ranks = np.sort(self.mean_rank)
        found: list[tuple[float, float]] = []
        for start, low in enumerate(ranks):
            end = int(np.searchsorted(ranks, low + self.critical_difference, side="right")) - 1
            if end > start and (not found or ranks[end] > found[-1][1]):
                found.append((float(low), float(ranks[end])))
        return found


def rank_test(values: Mapping[str, ArrayLike], *, alpha: float = 0.05) -> RankTest:
    """Ranks the models in every block and tests whether the mean ranks differ.

    Args:
        values: label -> (N,) values, higher is better, one per block, for the same blocks in the same order.
        alpha: level of the critical difference.

    Raises:
        InputError: fewer than three models or two blocks, different blocks, or a value that is not finite.
    """
    arrays = [np.asarray(array, dtype=np.float64) for array in values.values()]
    shapes = {array.shape for array in arrays}
    if len(arrays) < 3 or len(shapes) > 1 or arrays[0].ndim != 1 or len(arrays[0]) < 2:
        got = ", ".join(f"{name} {array.shape}" for name, array in zip(values, arrays, strict=True))
        raise InputError("values to rank", expected="three or more models on the same blocks, two or more", got=got)
    table = np.round(np.stack(arrays, axis=1), DECIMALS)  # (N, k)
    if not np.isfinite(table).all():
        raise InputError("values to rank", expected="finite numbers", got="NaN or Inf among them")
    num_blocks, k = table.shape
    ranks = stats.rankdata(-table, axis=1)
    differ = bool((ranks != ranks[:, :1]).any())
    p_value = float(stats.friedmanchisquare(*table.T).pvalue) if differ else 1.0
    q = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / np.sqrt(2)
    critical = q * np.sqrt(k * (k + 1) / (6 * num_blocks))
    return RankTest(tuple(values), ranks.mean(axis=0), p_value, float(critical), num_blocks, alpha)
