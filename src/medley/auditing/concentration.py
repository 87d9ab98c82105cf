"""Are a few items most of the held-out pairs, and do a few users hold the log?"""

import numpy as np

from medley.auditing.drift import moments
from medley.auditing.finding import Finding, exceeds
from medley.auditing.pairs import Pairs
from medley.data.dataset import Dataset

TOP = 20  # items, as many as one list shows
MOST_ITEMS = 0.1  # more of the held-out pairs than expected
ONE_PERCENT = 0.01  # of the users
MOST_USERS = 0.25  # of the train pairs, held by one percent of the users
DRAWS = 300_000  # counts, in all draws together: 5 to 30 draws of every item or user


def concentration_findings(data: Dataset) -> list[Finding]:
    """Returns a finding about the items of the held-out pairs, and one about the users of the train pairs."""
    pairs = Pairs.of(data)
    found = [_few_items(pairs)] if (pairs.num_held * pairs.num_train).any() else []
    return found + ([_few_users(pairs)] if len(pairs.train_user) else [])


def num_for_half(count: np.ndarray) -> int:
    """Returns how many of the largest counts hold at least half of all."""
    total = np.cumsum(np.sort(count)[::-1])
    return int(np.searchsorted(2 * total, total[-1])) + 1


def share_of_top(count: np.ndarray, k: int) -> float:
    """Returns the share that the k largest counts hold."""
    return float(np.sort(count)[::-1][:k].sum() / max(1, count.sum()))


def _few_items(pairs: Pairs) -> Finding:
    """Compares the share of the most frequent held-out items with that in Poisson draws of the means by chance."""
    held = np.bincount(pairs.item, minlength=pairs.num_items)
    share = share_of_top(held, TOP)
    mean = moments(pairs)[1]  # of users with both train and held-out pairs, scaled to all held-out pairs
    shares = _drawn_shares(mean * (len(pairs.user) / mean.sum()), TOP)
    expected, error = float(np.mean(shares)), float(np.std(shares))
    half = num_for_half(held)
    says = (
        f"{TOP} items are {share:.1%} of the held-out pairs, expected {expected:.1%}; {half:,} of {pairs.num_items:,} "
        "items are half of them"
    )
    return Finding(
        "few-items",
        share,
        expected,
        error,
        exceeds(share, expected, error, size=MOST_ITEMS),
        says,
        "One list for everybody then earns much of the metric, and models differ by who finds the same few items.",
        "publish the lists for everybody beside every model, and recall by popularity of the items (groups=True)",
        {"items_for_half": half, "share_of_5_items": share_of_top(held, 5)},
    )


def _few_users(pairs: Pairs) -> Finding:
    """Compares the share of the most active users with equal activity, in which counts differ by chance alone."""
    count = pairs.num_train
    num_top = int(np.ceil(ONE_PERCENT * pairs.num_users))
    share, half = share_of_top(count, num_top), num_for_half(count)
    shares = _drawn_shares(np.full(pairs.num_users, count.mean()), num_top)
    expected, error = float(np.mean(shares)), float(np.std(shares))
    says = (
        f"the most active 1% of the users ({num_top:,}) hold {share:.1%} of the train pairs, with equal activity "
        f"{expected:.1%}; {half:,} of {pairs.num_users:,} users hold half of them"
    )
    return Finding(
        "few-users",
        share,
        expected,
        error,
        exceeds(share, expected, error, size=MOST_USERS - expected),
        says,
        "A loss that counts pairs alike learns the taste of these users, and the others pay for it.",
        "weigh interactions by n_u^-gamma or cap them per user, and report thirds of users by activity (groups=True)",
        {"users_for_half": half, "share_of_users_for_half": half / pairs.num_users},
    )


def _drawn_shares(mean: np.ndarray, k: int) -> list[float]:
    """Returns the shares of the k largest counts in Poisson draws of counts with these means."""
    rng = np.random.default_rng(0)
    return [share_of_top(rng.poisson(mean), k) for _ in range(min(30, max(5, DRAWS // len(mean))))]
