"""Do the rows or the raw ids of the items tell which items are held out?

If the split does not follow the order, a held-out item of user u is the largest of itself and the n_u train items of u
with the chance of each of them:

    P(held-out item above all train items of u) = 1 / (n_u + 1)
    P(two held-out items of u are both above all train items) = 2 / ((n_u + 1) (n_u + 2))

which gives the variance for a user with m_u held-out items. AUC is the share of the train items of a user that lie
below a held-out item; it is .5 by chance, with the variance of the Mann-Whitney statistic,
(n_u + m_u + 1) / (12 n_u m_u).
"""

import numpy as np
import polars as pl

from medley.auditing.finding import Finding, deviates
from medley.auditing.pairs import Pairs
from medley.data.dataset import Dataset

LARGE = 0.1  # of a share or an AUC
WHY = (
    "A model that knows the order, on purpose or by its tie rule, finds held-out items without knowing the taste of "
    "anybody; figures on such a split measure how much of the order a model uses."
)
REMEDY = (
    "import again with split=time-user if there are timestamps, else with split=random-user; publish list-later-rows "
    "beside every model"
)


def order_findings(data: Dataset) -> list[Finding]:
    """Returns a finding for the order of rows, and one for the order of raw ids where it is another order."""
    pairs = Pairs.of(data)
    if not (pairs.num_held * pairs.num_train).any():
        return []
    ids = _place_of_ids(data.items.raw)
    rows_are_ids = ids is not None and bool((np.diff(ids) > 0).all())
    latest = Pairs.of(data, history=("train", "valid"), held=("test",))
    found = [_order("row-order", "row", pairs, latest, {"rows_follow_numeric_ids": str(rows_are_ids).lower()})]
    if ids is not None and not rows_are_ids:
        found.append(_order("id-order", "raw id", pairs.renumbered(ids), latest.renumbered(ids), {}))
    return found


def share_above(pairs: Pairs) -> tuple[float, float, float]:
    """Returns the share of the held-out pairs above all train items of their user, its expected value and error."""
    n, m = _counts(pairs)
    known = pairs.num_train[pairs.user] > 0
    share = float((pairs.item > pairs.last[pairs.user])[known].mean())
    mean = m / (n + 1)
    variance = mean + 2 * m * (m - 1) / ((n + 1) * (n + 2)) - mean**2
    return share, float(mean.sum() / m.sum()), float(np.sqrt(variance.sum()) / m.sum())


def auc_of_order(pairs: Pairs) -> tuple[float, float]:
    """Returns the mean share of the train items of a user that lie below a held-out item, and its error around .5."""
    n, m = _counts(pairs)
    start = np.concatenate([[0], np.cumsum(pairs.num_train)])
    code = np.sort(pairs.train_user * pairs.num_items + pairs.train_item)
    below = np.searchsorted(code, pairs.user * pairs.num_items + pairs.item) - start[pairs.user]
    known = pairs.num_train[pairs.user] > 0
    auc = float((below[known] / pairs.num_train[pairs.user][known]).mean())
    return auc, float(np.sqrt((m * (n + m + 1) / (12 * n)).sum()) / m.sum())


def _order(name: str, what: str, pairs: Pairs, latest: Pairs, details: dict[str, float | int | str]) -> Finding:
    share, expected, error = share_above(pairs)
    auc, auc_error = auc_of_order(pairs)
    more = {"auc": auc, "auc_expected": 0.5, "auc_error": auc_error}
    if (latest.num_held * latest.num_train).any():
        of_test, expected_of_test, _ = share_above(latest)
        more |= {"test_above_all_earlier": of_test, "test_above_all_earlier_expected": expected_of_test}
    is_flag = deviates(share, expected, error, size=LARGE) or deviates(auc, 0.5, auc_error, size=LARGE)
    says = (
        f"{share:.1%} of the held-out pairs have a larger {what} than all train items of their user, expected "
        f"{expected:.1%}; AUC of the {what} {auc:.3f}, expected .5"
    )
    return Finding(name, share, expected, error, is_flag, says, WHY, REMEDY, more | details)


def _counts(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Returns the train pairs and the held-out pairs of the users who have both."""
    both = (pairs.num_train > 0) & (pairs.num_held > 0)
    return pairs.num_train[both].astype(np.float64), pairs.num_held[both].astype(np.float64)


def _place_of_ids(raw: pl.Series) -> np.ndarray | None:
    """Returns (I,), the place of each item in the order of the raw ids, None if some id is not a whole number."""
    numbers = raw.cast(pl.Int64, strict=False)
    if numbers.null_count():
        return None
    place = np.empty(len(raw), dtype=np.int64)
    place[np.argsort(numbers.to_numpy(), kind="stable")] = np.arange(len(raw))
    return place
