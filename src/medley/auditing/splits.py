"""Are the splits disjoint, and do they respect time?"""

from typing import NamedTuple

import numpy as np
import polars as pl

from medley.auditing.finding import Finding
from medley.auditing.pairs import Pairs
from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS

MANY = 0.01  # of the held-out pairs, that the import found in train as well
OFTEN = 0.1  # of the held-out pairs, older than a train pair of their user
DROPPED = "duplicates_across_splits"  # oddity of the manifest


def split_findings(data: Dataset) -> list[Finding]:
    """Returns a finding about pairs in two splits, and with timestamps one about the order in time."""
    return [_repeated(data), *_against_time(data)]


class Timed(NamedTuple):
    """The log of a data set with a time for every interaction; n interactions."""

    user: np.ndarray  # (n,)
    item: np.ndarray  # (n,)
    time: np.ndarray  # (n,) float64
    is_train: np.ndarray  # (n,) bool

    @classmethod
    def of(cls, data: Dataset) -> "Timed | None":
        """Returns the log, or None if it has no timestamps or not for all interactions."""
        log = data.log
        if "timestamp" not in log.columns or log["timestamp"].null_count() or not len(log):
            return None
        time = log["timestamp"].cast(pl.Float64).to_numpy()
        return cls(log["user"].to_numpy(), log["item"].to_numpy(), time, (log["split"] == "train").to_numpy())


def _repeated(data: Dataset) -> Finding:
    pairs = Pairs.of(data, history=SPLITS, held=())
    code = pairs.train_user * pairs.num_items + pairs.train_item
    code.sort()
    inside, dropped = int((code[1:] == code[:-1]).sum()), data.manifest.oddities.get(DROPPED, 0)
    num_held = len(data.valid) + len(data.test)
    says = f"{inside:,} pairs are in two splits; the import dropped {dropped:,} that were in two splits of the source"
    return Finding(
        "repeated-pairs",
        float(inside + dropped),
        0.0,
        None,
        inside > 0 or dropped >= MANY * max(1, num_held),
        says,
        "A pair in train and test is learned by heart; figures of code that does not drop such pairs are too high.",
        "import again (pairs are kept in the first split), and compare with figures of the same pairs only",
        {"in_two_splits": inside, "dropped_by_the_import": dropped},
    )


def _against_time(data: Dataset) -> list[Finding]:
    timed = Timed.of(data)
    if timed is None:
        return []
    user, time, of_train = timed.user, timed.time, timed.is_train
    newest = np.full(data.manifest.num_users, -np.inf)
    np.maximum.at(newest, user[of_train], time[of_train])
    known = ~of_train & (newest[user] > -np.inf)
    if not known.any():
        return []
    num_train = np.bincount(user[of_train], minlength=data.manifest.num_users)[user[known]]
    older = float((time[known] < newest[user[known]]).mean())
    by_chance = float((num_train / (num_train + 1)).mean())
    says = (
        f"{older:.1%} of the held-out pairs are older than a train pair of the same user: none in a split by time, "
        f"{by_chance:.1%} in a random split"
    )
    return [
        Finding(
            "learns-from-the-future",
            older,
            0.0,
            None,
            older >= OFTEN,
            says,
            "Models then know what users did later; figures do not say how well the next item is predicted.",
            "import again with split=time-user, or say that the split is random",
            {"by_chance": by_chance},
        )
    ]
