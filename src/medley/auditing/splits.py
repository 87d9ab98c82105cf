"""Are the splits disjoint, and do they respect time?"""

import numpy as np

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


def timestamps(data: Dataset) -> np.ndarray | None:
    """Returns the timestamps of the log, (n,), or None if the log has none or not for all interactions."""
    if "timestamp" not in data.log.columns or data.log["timestamp"].null_count() or not len(data.log):
        return None
    return data.log["timestamp"].to_numpy()


def _repeated(data: Dataset) -> Finding:
    pairs = Pairs.of(data, history=SPLITS, held=())
    code = pairs.train_user * pairs.num_items + pairs.train_item
    inside, dropped = len(code) - len(np.unique(code)), data.manifest.oddities.get(DROPPED, 0)
    num_held = len(data.valid) + len(data.test)
    says = f"{inside:,} pairs are in two splits; the import dropped {dropped:,} more, which were in two splits of the source"
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
    time = timestamps(data)
    if time is None:
        return []
    user, split = data.log["user"].to_numpy(), data.log["split"].to_numpy()
    of_train, held = split == "train", split != "train"
    newest = np.full(data.manifest.num_users, -np.inf)
    np.maximum.at(newest, user[of_train], time[of_train])
    known = held & (newest[user] > -np.inf)
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
            "split by time (--split time, time-user or leave-one-out), or say that the split is random",
            {"by_chance": by_chance},
        )
    ]
