"""Orders items with equal scores: one fixed order that looks random, so that no order of the rows wins ties.

Rows may follow time or popularity. A rule such as "lower row first" then rewards or punishes whoever ties, so equal
scores are ordered by a hash of the row instead (docs/decisions/0010-ties.md).
"""

from functools import lru_cache

import numpy as np

TIES = "by splitmix64 of the row"  # in the protocol of every evaluation


@lru_cache(maxsize=4)
def tie_places(num_items: int) -> np.ndarray:
    """Returns (I,) int32, read-only: among items with equal scores the one with the lowest place comes first.

    The order of two items is the same in every catalogue, on every machine and in every version of numpy.
    """
    place = np.empty(num_items, dtype=np.int32)
    place[np.argsort(_splitmix64(np.arange(num_items, dtype=np.uint64)))] = np.arange(num_items, dtype=np.int32)
    place.flags.writeable = False
    return place


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a bijection of 64-bit numbers."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
