"""Spread over seeds, paired comparison over users, correction for several comparisons, marks for tables.

The tests themselves, effect size and minimal detectable difference are functions of paired differences: `paired.py`.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medley.errors import InputError
from medley.evaluation.paired import (
    ALPHA,
    Effect,
    effect_size,
    finite,
    mean_interval,
    minimal_detectable_difference,
    permutation_p,
    t_p,
    wilcoxon_p,
)

__all__ = [
    "CORRECTIONS",
    "TESTS",
    "Comparison",
    "Effect",
    "Spread",
    "benjamini_hochberg",
    "compare_paired",
    "compare_with_first",
    "effect_size",
    "holm",
    "mark_best",
    "minimal_detectable_difference",
    "spread",
    "with_values",
]


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
    p_value: float  # of the chosen test, adjusted if there are several comparisons
    num_pairs: int
    permutation_p: float = float("nan")  # of each test, never adjusted
    t_p: float = float("nan")
    wilcoxon_p: float = float("nan")
    effect: float = float("nan")  # see `Effect`
    better: float = float("nan")
    worse: float = float("nan")
    detectable: float = float("nan")  # see `minimal_detectable_difference`


def spread(values: ArrayLike) -> Spread:
    """Returns mean and standard deviation of one metric over seeds.

    Raises:
        InputError: no values, or a value that is not finite.
    """
    values = finite(values)
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

    Returns:
        The comparison; `p_value` is that of the permutation test.

    Raises:
        InputError: the lengths differ, there are fewer than two users, or a value is not finite.
    """
    difference = _differences(first, second)
    interval = mean_interval(difference, generator=generator, confidence=confidence, num_resamples=num_resamples)
    flipped = permutation_p(difference, generator=generator, num_resamples=num_resamples)
    effect = effect_size(difference)
    return Comparison(
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p_value=flipped,
        num_pairs=len(difference),
        permutation_p=flipped,
        t_p=t_p(difference),
        wilcoxon_p=wilcoxon_p(difference),
        effect=effect.d,
        better=effect.better,
        worse=effect.worse,
        detectable=minimal_detectable_difference(difference),
    )


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down correction: p-values (m,) of m comparisons, adjusted so that the
    chance of one or more false claims stays below the level with which the p-values are compared."""
    p = finite(p_values)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Benjamini and Hochberg's step-up correction: p-values (m,), adjusted so that the expected
    share of false claims among all claims stays below the level with which the p-values are compared.

    Raises:
        InputError: no p-values, or a p-value outside 0 to 1.
    """
    p = finite(p_values)
    if p.min() < 0 or p.max() > 1:
        raise InputError("p-values", expected="0 to 1", got=f"{p.min():g} to {p.max():g}")
    return np.asarray(stats.false_discovery_control(p, method="bh"))


CORRECTIONS: dict[str, Callable[[ArrayLike], np.ndarray]] = {"holm": holm, "bh": benjamini_hochberg}
TESTS = ("permutation", "t", "wilcoxon")


def compare_with_first(
    values: Mapping[str, ArrayLike], *, seed: int = 0, correction: str = "holm", test: str = "permutation"
) -> dict[str, Comparison | None]:
    """Compares every model with the first one, user by user; the p-values of one test are adjusted together.

    Args:
        values: name of a model -> (q,) values, one per user, for the same users in the same order.
        seed: of the resamples; the same for every comparison.
        correction: holm or bh (Benjamini-Hochberg).
        test: permutation, t or wilcoxon: the test whose adjusted p-value is `p_value`.

    Returns:
        Name -> differences to the first model; None for the first model itself. `detectable` is for the level that the
        smallest p-value is compared with, 0.05 / number of comparisons.

    Raises:
        InputError: as in `compare_paired`; an unknown correction or test.
    """
    _check(correction, test)
    (baseline, first), *others = values.items()
    compared = [compare_paired(first, other, generator=np.random.default_rng(seed)) for _, other in others]
    adjusted = CORRECTIONS[correction]([getattr(one, f"{test}_p") for one in compared]) if compared else []
    found: dict[str, Comparison | None] = {baseline: None}
    for (name, other), one, p in zip(others, compared, adjusted, strict=True):
        least = minimal_detectable_difference(_differences(first, other), alpha=ALPHA / len(others))
        found[name] = one._replace(p_value=float(p), detectable=least)
    return found


def mark_best(
    values: Mapping[str, ArrayLike],
    *,
    higher: bool = True,
    correction: str = "holm",
    test: str = "t",
    alpha: float = ALPHA,
    seed: int = 0,
) -> dict[str, Literal["best", "second"] | None]:
    """Marks the best and the second best model of a column of a table, where a corrected test supports the mark.

    The best mean is marked "best" if it differs from every other mean. The second best mean is marked "second" if there
    are more than two models, the best is marked, and the second differs from every mean below it. The same values say
    which model is best, so the correction counts all pairs of models, not only the pairs that are tested.

    Args:
        values: name of a model -> (q,) values, one per user (the average over the seeds), for the same users in the
            same order.
        higher: whether higher values are better.
        correction: holm or bh.
        test: permutation, t or wilcoxon. The smallest p-value of the permutation test is 1 in 10,000, which no
            correction for more than 31 models lets pass.
        alpha: level with which the adjusted p-values are compared.
        seed: of the permutation test.

    Raises:
        InputError: as in `compare_paired`; an unknown correction or test.
    """
    _check(correction, test)
    arrays = {name: finite(array) for name, array in values.items()}
    ranked = sorted(arrays, key=lambda name: arrays[name].mean(), reverse=higher)
    marks: dict[str, Literal["best", "second"] | None] = dict.fromkeys(values)
    num_pairs, num_others = len(list(combinations(ranked, 2))), len(ranked) - 1
    tested = [(leader, other) for place, leader in enumerate(ranked[:2]) for other in ranked[place + 1 :]]
    p = np.ones(num_pairs)  # 1 for the pairs that are not tested: their true value could only help the others
    for place, (leader, other) in enumerate(tested):
        p[place] = _p_of(test, _differences(arrays[other], arrays[leader]), seed)
    supported = CORRECTIONS[correction](p) < alpha if num_pairs else np.zeros(0, bool)
    if num_pairs and supported[:num_others].all():
        marks[ranked[0]] = "best"
        if num_others > 1 and supported[num_others : len(tested)].all():
            marks[ranked[1]] = "second"
    return marks


def with_values(values: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Keeps the users for whom every model has a value, for metrics that are NaN for some users (groups).

    Args:
        values: name of a model -> (q,) values, NaN where a user has none, for the same users in the same order.

    Raises:
        InputError: the lengths differ.
    """
    arrays = {name: np.asarray(array, dtype=np.float64) for name, array in values.items()}
    if len({array.shape for array in arrays.values()}) > 1:
        got = ", ".join(f"{array.shape} of {name}" for name, array in arrays.items())
        raise InputError("values to be compared", expected="the same users", got=got)
    known = ~np.any([np.isnan(array) for array in arrays.values()], axis=0)
    return {name: array[known] for name, array in arrays.items()}


def _p_of(test: str, difference: np.ndarray, seed: int) -> float:
    if test == "permutation":
        return permutation_p(difference, generator=np.random.default_rng(seed))
    return t_p(difference) if test == "t" else wilcoxon_p(difference)


def _check(correction: str, test: str) -> None:
    if correction not in CORRECTIONS:
        raise InputError("correction", expected=" or ".join(CORRECTIONS), got=repr(correction))
    if test not in TESTS:
        raise InputError("test", expected=" or ".join(TESTS), got=repr(test))


def _differences(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Returns second - first."""
    first, second = finite(first), finite(second)
    if first.shape != second.shape or len(first) < 2:
        expected = "two rows of one value per user, for the same users (at least 2)"
        raise InputError("values to be compared", expected=expected, got=f"{len(first):,} and {len(second):,}")
    return second - first
