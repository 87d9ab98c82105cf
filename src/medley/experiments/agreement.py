"""Do the conclusions of a study stay the same under another split, among other candidates, or with fresh histories?"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from medley.evaluation.paired import t_p
from medley.evaluation.statistics import holm, with_values
from medley.experiments.results import Result, Results

ALPHA = 0.05


class Agreement(NamedTuple):
    """The conclusions about all pairs of entries under two conditions; a difference counts if the paired t-test with
    Holm's correction supports it."""

    first: tuple[str, ...]  # split, candidates, and history unless it is train
    second: tuple[str, ...]
    tau: float  # Kendall's rank correlation of the means; NaN for fewer than two entries
    num_same: int  # pairs with the same supported difference under both
    num_opposite: int  # pairs whose supported differences contradict each other
    num_first: int  # pairs with a supported difference under the first condition alone
    num_second: int
    num_neither: int


def agreements(results: Results, metric: str) -> list[Agreement]:
    """Compares the first condition of a study with each of the others, over the entries that both have.

    Raises:
        InputError: the metric was not measured.
    """
    conditions = results.conditions()
    first = {one.label: one for one in results.of(*conditions[0])} if conditions else {}
    found = []
    for condition in conditions[1:]:
        second = {one.label: one for one in results.of(*condition)}
        labels = [label for label in first if label in second]
        sides = [[side[label] for label in labels] for side in (first, second)]
        means = [[one.metrics[metric].mean for one in side] for side in sides]
        tau = float(stats.kendalltau(*means).statistic) if len(labels) > 1 else float("nan")
        one, two = (signs(side, metric) for side in sides)
        found.append(
            Agreement(
                conditions[0],
                condition,
                tau,
                num_same=int(((one == two) & (one != 0)).sum()),
                num_opposite=int((one * two < 0).sum()),
                num_first=int(((one != 0) & (two == 0)).sum()),
                num_second=int(((one == 0) & (two != 0)).sum()),
                num_neither=int(((one == 0) & (two == 0)).sum()),
            )
        )
    return found


def signs(results: list[Result], metric: str) -> np.ndarray:
    """Returns, for every pair of results, 1 or -1 where the first is better or worse with support, and 0 elsewhere."""
    pairs = list(combinations(range(len(results)), 2))
    if not pairs:
        return np.zeros(0, dtype=np.int64)
    known = with_values({one.label: one.values(metric) for one in results})
    values = [known[one.label] for one in results]
    differences = [values[a] - values[b] for a, b in pairs]
    p = holm([t_p(each) for each in differences])
    return np.where(p < ALPHA, np.sign([each.mean() for each in differences]), 0).astype(np.int64)
