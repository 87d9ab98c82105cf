"""Divides a log into train, validation and test. Pure functions of a log and a generator; SPLITTERS names them.

Except `leave-one-out`, `cold-item` and `given`, they cut an ordered list of n interactions by ratios. Validation and
test get their share rounded down, but at least one each (test first) while train keeps one; train gets the rest: the
rule of RecBole. So a user with 1 interaction is in train only, with 2 in train and test, with 3 or more in all three.
Ties in time are broken at random. No interaction is dropped.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from medley.data.manifest import TEST, TRAIN, VALID
from medley.errors import InputError

RATIOS = (0.8, 0.1, 0.1)
EPSILON = 1e-9  # 0.29 * 100 is 28.999999999999996 and means 29


class Log(NamedTuple):
    """n distinct interactions, before they are split."""

    user: np.ndarray  # (n,) rows
    item: np.ndarray  # (n,) rows
    time: np.ndarray | None = None  # (n,)
    given: np.ndarray | None = None  # (n,) TRAIN, VALID or TEST, if the source has a split


Ratios = tuple[float, float, float]


def random(log: Log, ratios: Ratios, rng: np.random.Generator) -> np.ndarray:
    """Returns (n,) codes: all interactions shuffled, then cut."""
    return _cut(np.zeros_like(log.user), None, ratios, rng)


def random_user(log: Log, ratios: Ratios, rng: np.random.Generator) -> np.ndarray:
    """Returns (n,) codes: the interactions of each user shuffled, then cut."""
    return _cut(log.user, None, ratios, rng)


def time(log: Log, ratios: Ratios, rng: np.random.Generator) -> np.ndarray:
    """Returns (n,) codes: all interactions by time, then cut; test is the end of the log."""
    return _cut(np.zeros_like(log.user), _time_of(log), ratios, rng)


def time_user(log: Log, ratios: Ratios, rng: np.random.Generator) -> np.ndarray:
    """Returns (n,) codes: the interactions of each user by time, then cut."""
    return _cut(log.user, _time_of(log), ratios, rng)


def leave_one_out(log: Log, ratios: Ratios, rng: np.random.Generator) -> np.ndarray:
    """Returns (n,) codes: the last interaction of each user is test, the last but one validation; by time if the log
    has times, else at random."""
    return _cut(log.user, log.time, None, rng)


def cold_item(log: Log, ratios: Ratios, rng: np.random.Generator) -> np.ndarray:
    """Returns (n,) codes: the items are shuffled and cut; all interactions of an item have its code."""
    items, position = np.unique(log.item, return_inverse=True)
    return _cut(np.zeros_like(items), None, ratios, rng)[position]


def given(log: Log, ratios: Ratios, rng: np.random.Generator) -> np.ndarray:
    """Returns (n,) codes: the split of the source. A source without validation gets one out of train, see `carve`."""
    if log.given is None:
        raise InputError("split 'given'", got="a source without a split", remedy="choose another split")
    codes = log.given.astype(np.int8)
    if not (codes == VALID).any():
        train = np.flatnonzero(codes == TRAIN)
        codes[train[carve(log.user[train], ratios[VALID] / (ratios[TRAIN] + ratios[VALID]), rng)]] = VALID
    return codes


SPLITTERS: Mapping[str, Callable[[Log, Ratios, np.random.Generator], np.ndarray]] = {
    "random": random,
    "random-user": random_user,
    "leave-one-out": leave_one_out,
    "time": time,
    "time-user": time_user,
    "given": given,
    "cold-item": cold_item,
}


def carve(user: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Draws positions of `share` of the interactions (rounded down), leaving one interaction of each user."""
    order = rng.permutation(len(user))
    _, kept = np.unique(user[order], return_index=True)
    return np.delete(order, kept)[: int(share * len(user) + EPSILON)]


def normal_ratios(ratios: tuple[float, ...]) -> Ratios:
    """Returns ratios that sum to one, from for example (8, 1, 1).

    Raises:
        InputError: not three finite numbers, a negative number, or zero for train.
    """
    if len(ratios) != 3 or not np.isfinite(ratios).all() or min(ratios) < 0 or ratios[0] == 0:
        expected = "three numbers for train, validation and test, none negative, train above zero"
        got = ":".join(f"{ratio:g}" for ratio in ratios)
        raise InputError("ratios", expected=expected, got=got, remedy="for example ratios=(8, 1, 1)")
    train, valid, test = (ratio / sum(ratios) for ratio in ratios)
    return train, valid, test


def _time_of(log: Log) -> np.ndarray:
    if log.time is None:
        raise InputError("a split by time", got="a log without timestamps", remedy="choose another split")
    return log.time


def _cut(group: np.ndarray, key: np.ndarray | None, ratios: Ratios | None, rng: np.random.Generator) -> np.ndarray:
    """Orders each group by key, then at random, and cuts it; without ratios it leaves one out for each part."""
    n = len(group)
    shuffled = rng.random(n)
    order = np.lexsort((shuffled, group) if key is None else (shuffled, key, group))
    _, start, size = np.unique(group[order], return_index=True, return_counts=True)
    if ratios is None:
        test, valid = np.minimum(size - 1, 1), np.clip(size - 2, 0, 1)
    else:
        share = np.array(ratios)
        wanted = np.maximum(np.floor(size[:, None] * share + EPSILON), share > 0).astype(np.int64)  # (groups, 3)
        test = np.minimum(wanted[:, TEST], size - 1)
        valid = np.minimum(wanted[:, VALID], size - 1 - test)
    left = np.repeat(start + size, size) - np.arange(n)  # 1 for the last of each group
    test, valid = np.repeat(test, size), np.repeat(valid, size)
    codes = np.empty(n, dtype=np.int8)
    codes[order] = np.where(left <= test, TEST, np.where(left <= test + valid, VALID, TRAIN))
    return codes
