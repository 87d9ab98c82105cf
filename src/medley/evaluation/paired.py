"""Functions of paired differences d_u, one per user: tests, size, and the smallest difference that can be found.

All tests are two-sided: sign-flip permutation and Wilcoxon's signed-rank test of "the differences are symmetric around
0", and the t-test of "their mean is 0".
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from medley.errors import InputError

BATCH = 8_000_000  # resampled values held at a time: 64 MB
DECIMALS = 12  # means over seeds that should be equal may differ by rounding: such users are ties
ALPHA, POWER = 0.05, 0.8
FEWEST, REPEATS = 64, 8  # users, and users per distinct value, from which distinct values are resampled
SAME = 1e-9  # relative distance of sums that are equal
NUM_NODES = 400  # of a quadrature; scipy's noncentral t distribution returns NaN for a few users


class Effect(NamedTuple):
    """The size of a paired difference, whatever the number of users."""

    d: float  # Cohen's d of paired values: mean / standard deviation of the differences
    better: float  # share of the users with a positive difference
    worse: float  # share of the users with a negative difference


class Interval(NamedTuple):
    """A mean and the bounds of its interval."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: ArrayLike, *, generator: np.random.Generator, confidence: float = 0.95, num_resamples: int = 9_999
) -> Interval:
    """Returns the mean of values (q,) and its percentile bootstrap interval; the mean thrice if all are equal.

    A metric takes few values over many users. So a resample draws how often each distinct value comes, which is as
    likely as by drawing users one by one, and takes time by the number of distinct values.

    Raises:
        InputError: no values, or a value that is not finite.
    """
    x = finite(values)
    distinct, count = np.unique(x, return_counts=True)
    mean = float(x.mean())
    if len(distinct) == 1:
        return Interval(mean, mean, mean)
    if not _repeat(distinct, len(x)):
        options = {"batch": max(1, BATCH // len(x)), "rng": generator, "n_resamples": num_resamples}
        found = stats.bootstrap((x,), np.mean, confidence_level=confidence, method="percentile", **options)
        return Interval(mean, float(found.confidence_interval.low), float(found.confidence_interval.high))
    means = [
        generator.multinomial(len(x), count / len(x), size=size) @ distinct / len(x)
        for size in _batches(num_resamples, len(distinct))
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))


def permutation_p(differences: ArrayLike, *, generator: np.random.Generator, num_resamples: int = 9_999) -> float:
    """Returns the p-value of the sign-flip test of the mean of differences (q,).

    As in `mean_interval`, few distinct sizes |d_u| are flipped together: how many of them stay is drawn.

    Raises:
        InputError: fewer than two differences, or a difference is not finite.
    """
    difference = _several(differences)
    size, count = np.unique(np.abs(difference), return_counts=True)
    if not _repeat(size, len(difference)):
        batch = max(1, BATCH // len(difference))
        options = {"batch": batch, "rng": generator, "n_resamples": num_resamples}
        test = stats.permutation_test((difference,), np.mean, permutation_type="samples", vectorized=True, **options)
        return float(test.pvalue)
    sums = [
        (2 * generator.binomial(count, 0.5, size=(drawn, len(size))) - count) @ size
        for drawn in _batches(num_resamples, len(size))
    ]
    least = abs(difference.sum()) * (1 - SAME)  # rounding may not tell equal sums apart
    return float((1 + (np.abs(np.concatenate(sums)) >= least).sum()) / (1 + num_resamples))


def t_p(differences: ArrayLike) -> float:
    """Returns the p-value of the paired t-test on differences (q,); 1 if all are 0, 0 if all are one other number.

    Raises:
        InputError: fewer than two differences, or a difference is not finite.
    """
    difference = _several(differences)
    if not np.ptp(ties := difference.round(DECIMALS)):
        return 0.0 if ties[0] else 1.0
    return float(stats.ttest_1samp(difference, 0).pvalue)


def wilcoxon_p(differences: ArrayLike) -> float:
    """Returns the p-value of Wilcoxon's signed-rank test on differences (q,); zeros are left out, 1 if all are 0.

    Raises:
        InputError: fewer than two differences, or a difference is not finite.
    """
    difference = _several(differences).round(DECIMALS)
    return float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0


def effect_size(differences: ArrayLike) -> Effect:
    """Measures how large paired differences (q,) are: `d` is 0 if all are 0, and infinite if all are one other number.

    Raises:
        InputError: fewer than two differences, or a difference is not finite.
    """
    difference = _several(differences)
    mean, ties = difference.mean(), difference.round(DECIMALS)
    if np.ptp(ties):
        d = mean / difference.std(ddof=1)
    else:
        d = np.copysign(np.inf, mean) if ties[0] else 0.0
    return Effect(float(d), float((ties > 0).mean()), float((ties < 0).mean()))


def minimal_detectable_difference(differences: ArrayLike, *, power: float = POWER, alpha: float = ALPHA) -> float:
    """Returns the smallest true mean difference that a two-sided paired t-test on as many users would find.

    The standard deviation of the differences is taken as known from the sample; a smaller true difference stays without
    a finding more often than `1 - power`. No statement about the observed difference: that is what the test is for.

    Args:
        differences: (q,), one per user.
        power: chance of finding the difference.
        alpha: level of the test.

    Raises:
        InputError: fewer than two differences, one is not finite, or not 0 < alpha < power < 1.
    """
    difference = _several(differences)
    if not 0 < alpha < power < 1:
        raise InputError("level and power of a test", expected="0 < alpha < power < 1", got=f"{alpha} and {power}")
    df = len(difference) - 1
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    node, weight = special.roots_legendre(NUM_NODES)
    ratio = np.sqrt(2 / df * special.gammaincinv(df / 2, (node + 1) / 2))  # sample / true deviation, at its quantiles
    critical = stats.t.isf(alpha / 2, df) * ratio

    def excess(shift: float) -> float:
        """Power of the test if the true mean is shift * error, less the wanted power."""
        found = special.ndtr(shift - critical) + special.ndtr(-shift - critical)
        return float(weight @ found / 2 - power)

    most = 1.0
    while excess(most) < 0:
        most *= 2
    return float(optimize.brentq(excess, 0.0, most) * error)


def _repeat(distinct: np.ndarray, num_users: int) -> bool:
    """Whether distinct values are resampled in place of users; few users are left to scipy, which tries all flips."""
    return num_users >= max(FEWEST, REPEATS * len(distinct))


def _batches(num_resamples: int, size: int) -> list[int]:
    """Splits resamples of `size` numbers into batches that fit into memory."""
    most = max(1, BATCH // size)
    return [most] * (num_resamples // most) + [num_resamples % most] * (num_resamples % most > 0)


def _several(values: ArrayLike) -> np.ndarray:
    array = finite(values)
    if len(array) < 2:
        raise InputError("paired differences", expected="two or more users", got="one")
    return array


def finite(values: ArrayLike) -> np.ndarray:
    """Returns the values (n,) as float64.

    Raises:
        InputError: no values, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InputError("values", expected="one or more numbers", got=f"shape {array.shape}, or NaN or Inf among them")
    return array
