"""Does the popularity of items drift between train and the held-out pairs?

If the held-out items of user u are any m_u of the n_u + m_u items of u, item i is held out with chance
p_u = m_u / (n_u + m_u) for each of its users, so its held-out count h_i has

    mean E_i = sum_u p_u                   variance V_i = sum_u q_u,  q_u = p_u (1 - p_u)
    fourth cumulant K_i = sum_u q_u (1 - 6 q_u)

The dispersion, sum_i (h_i - E_i)^2 / sum_i V_i, is then 1 by chance. Its variance is sum_i (2 V_i^2 + K_i) /
(sum_i V_i)^2, in which the small covariances of items with common users are left out. Its excess over chance, relative
to the counts, is the typical change of a popular item: sqrt((sum_i (h_i - E_i)^2 - sum_i V_i) / sum_i E_i^2).
"""

import numpy as np

from medley.auditing.finding import Finding, exceeds
from medley.auditing.pairs import Pairs
from medley.data.dataset import Dataset

LARGE = 0.5  # of a typical change: counts are off by half
WHY = (
    "Popularity in train is then a weak guide: models that cannot know time are judged on what they cannot see, and a "
    "list that knows the trend beats them."
)
REMEDY = "publish recent popularity beside every model, try models that know time, and say that the split drifts"


def drift_findings(data: Dataset) -> list[Finding]:
    """Returns a finding about the counts of items in train and among the held-out pairs."""
    pairs = Pairs.of(data)
    if not (pairs.num_held * pairs.num_train).any():
        return []
    held, mean, variance, fourth = moments(pairs)
    square, total = (held - mean) ** 2, variance.sum()
    dispersion, error = float(square.sum() / total), float(np.sqrt((2 * variance**2 + fourth).sum()) / total)
    change = float(np.sqrt(max(0.0, square.sum() - total) / (mean**2).sum()))
    is_flag = change >= LARGE and exceeds(dispersion, 1, error, size=0)
    says = (
        f"the held-out counts of items differ from what train predicts by {dispersion:.1f} times the variance of "
        f"chance; beyond chance, a typical popular item is off by {change:.0%}"
    )
    return [Finding("popularity-drift", dispersion, 1.0, error, is_flag, says, WHY, REMEDY, {"change": change})]


def moments(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns (I,) held-out counts, and their mean, variance and fourth cumulant by chance.

    Users without train pairs or without held-out pairs are left out: they say nothing about the division.
    """
    both = (pairs.num_train > 0) & (pairs.num_held > 0)
    p = np.divide(pairs.num_held, pairs.num_train + pairs.num_held, out=np.zeros(pairs.num_users), where=both)
    user = np.concatenate([pairs.train_user, pairs.user])
    item = np.concatenate([pairs.train_item, pairs.item])
    q = p * (1 - p)
    mean, variance, fourth = (
        np.bincount(item, weights=each[user], minlength=pairs.num_items) for each in (p, q, q * (1 - 6 * q))
    )
    held = np.bincount(pairs.item[both[pairs.user]], minlength=pairs.num_items)
    return held, mean, variance, fourth
