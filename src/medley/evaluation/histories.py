"""Histories that grow: at test, a user may be made of train interactions alone, or of validation interactions too.

    train    users are made of what the model was trained on
    fresh    users are made of train and validation interactions, the latest before test; nothing is trained on these

A service knows what its users did after the last training, so `fresh` is how a model that makes users of their items is
used. It asks for a split by time: else validation interactions may be later than those of test.
"""

import numpy as np

from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS
from medley.errors import InputError
from medley.types import Interactions

HISTORIES = ("train", "fresh")
FRESH = "train+valid"  # the splits of a fresh history


def check_history(history: str) -> None:
    """Raises InputError for a name that is not in HISTORIES."""
    if history not in HISTORIES:
        raise InputError("history", expected=" or ".join(HISTORIES), got=repr(history))


def fresh_history(data: Dataset, split: str = "test") -> Interactions:
    """Returns train and validation interactions, what users are made of at test.

    Raises:
        InputError: another split than test, no validation interactions, or no split by time.
    """
    if split != "test":
        remedy = "leave history out: validation is judged with the train interactions of the users"
        raise InputError("split to evaluate with fresh histories", expected="test", got=repr(split), remedy=remedy)
    reason = reason_against_fresh(data)
    if reason is not None:
        remedy = "import the data with times and split=leave-one-out, time or time-user, or evaluate with history=train"
        raise InputError("fresh histories", expected="a split by time", got=reason, remedy=remedy)
    return data.union(FRESH)


def reason_against_fresh(data: Dataset) -> str | None:
    """Returns why users of a data set have no fresh histories; None if they have.

    The times themselves are asked, not the name of the split, so a split that came with the data counts too.
    """
    if not len(data.valid):
        return "no validation interactions"
    parts = [data.interactions(split) for split in SPLITS]
    if any(part.time is None for part in parts):
        return "interactions without times"
    (_, latest_train), (first_valid, latest_valid), (first_test, _) = (_ends(part) for part in parts)
    late = (latest_train > first_valid) | (np.maximum(latest_train, latest_valid) > first_test)
    if late.any():
        return f"{late.sum():,} users with an interaction that is later than one of their next split"
    return None


def _ends(part: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first and the latest time (U,) of every user: infinity and minus infinity without interactions."""
    assert part.time is not None
    first, latest = np.full(part.num_users, np.inf), np.full(part.num_users, -np.inf)
    np.minimum.at(first, part.user, part.time)
    np.maximum.at(latest, part.user, part.time)
    return first, latest
