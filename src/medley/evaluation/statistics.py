"""Spread over seeds, paired comparison over users, correction for several comparisons."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medley.errors import InputError

BATCH = 8_000_000  # resampled values held at a time: 64 MB


class Spread(NamedTuple):
    """Mean and sample standard deviation (divisor n - 1; NaN for a single value)."""

    mean: float
    std: float
    num_values: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.num_values == 1 else f"{self.mean:.4f} ± {self.std:.4f}"


class Comparison(NamedTuple):
    """Paired differences, second minus first."""

    difference: float  # mean
    low: float  # bounds of the bootstrap interval of the mean
    high: float
    p_value: float  # two-sided sign-flip permutation test of "the differences are symmetric around 0"
    num_pairs: int


def spread(values: ArrayLike) -> Spread:
    """Returns mean and standard deviation of one metric over seeds.

    Raises:
        InputError: there are no values, or a value is not finite.
    """
    values = _finite(values)
    return Spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan"), len(values))


def compare_paired(
    first: ArrayLike,
    second: ArrayLike,
    *,
    generator: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 9_999,
) -> Comparison:
    """Compares two models user by user (average each user over the seeds first).

    Args:
        first: (q,) values of the baseline, one per user.
        second: (q,) values of the other model for the same users.
        generator: draws the resamples.
        confidence: of the percentile bootstrap interval.
        num_resamples: of the bootstrap and of the permutation test; the smallest p-value is 1 / (num_resamples + 1),
            unless there are so few users that all 2^q flips are tried.

    Raises:
        InputError: the lengths differ, there are fewer than two users, or a value is not finite.
    """
    first, second = _finite(first), _finite(second)
    if first.shape != second.shape or len(first) < 2:
        expected = "two rows of one value per user, for the same users (at least 2)"
        raise InputError("values to be compared", expected=expected, got=f"{len(first):,} and {len(second):,}")
    difference = second - first
    options = {"batch": max(1, BATCH // len(difference)), "rng": generator, "n_resamples": num_resamples}
    interval = stats.bootstrap(
        (difference,), np.mean, confidence_level=confidence, method="percentile", **options
    ).confidence_interval
    test = stats.permutation_test((difference,), np.mean, permutation_type="samples", vectorized=True, **options)
    bounds = float(interval.low), float(interval.high)
    return Comparison(float(difference.mean()), *bounds, float(test.pvalue), len(difference))


def compare_with_first(values: Mapping[str, ArrayLike], *, seed: int = 0) -> dict[str, Comparison | None]:
    """Compares every model with the first one, user by user; p-values are adjusted by Holm's correction.

    Args:
        values: name of a model -> (q,) values, one per user, for the same users in the same order.
        seed: of the resamples; the same for every comparison.

    Returns:
        Name -> differences to the first model; None for the first model itself.

    Raises:
        InputError: as in `compare_paired`.
    """
    (baseline, first), *others = values.items()
    compared = [compare_paired(first, other, generator=np.random.default_rng(seed)) for _, other in others]
    adjusted = holm([one.p_value for one in compared]) if compared else []
    pairs = zip(others, compared, adjusted, strict=True)
    return {baseline: None} | {name: one._replace(p_value=float(p)) for (name, _), one, p in pairs}


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction: p-values (m,) of m comparisons, adjusted so that the
    chance of one or more false claims stays below the level with which the p-values are compared."""
    p = _finite(p_values)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InputError("values", expected="one or more numbers", got=f"shape {array.shape}, or NaN or Inf among them")
    return array
