"""Measures lists of recommendations beyond accuracy: functions of the lists, of train and of what items are.

Popularity is the number of train interactions of an item, and the profile of a user is the items seen in train. A list
shorter than K is padded with -1. A value is NaN for a user for whom it is not defined.

Shapes: q users, I items, K items of a list, G groups of items, d_m dimension of a modality.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
import scipy.sparse as sp

from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.evaluation.item_groups import genres as read_genres
from medley.evaluation.item_groups import popularity_groups
from medley.evaluation.ranking import Queries
from medley.evaluation.reference_lists import popular_lists, random_lists
from medley.types import Features

SMOOTHING = 0.01  # Steck, Calibrated recommendations, RecSys 2018, eq. 6


class Measure(NamedTuple):
    """What a person should know about a measure."""

    good: str  # "higher", "lower", "near 0", or "random": as in random lists
    meaning: str  # one line


MEASURES = {
    "coverage": Measure("higher", "share of all items that are in some list"),
    "gini": Measure("lower", "0: all listed equally often; 1: one item only"),
    "popularity_lift": Measure("near 0", "0: as popular as what users have seen; 1: twice"),
    "novelty": Measure("higher", "surprise in bits; popular items have the least"),
    "share_of_cold": Measure("random", "share of items that nobody has seen"),
    "popularity_miscalibration": Measure("lower", "0: same mix of popular and rare items as seen"),
    "genre_miscalibration": Measure("lower", "0: same mix of genres as seen"),
    "diversity": Measure("higher", "cosine distance between the items of a list"),
}


def measure_of(name: str) -> str:
    """Returns the name in MEASURES of a figure: `novelty@20` -> `novelty`, `visual_diversity@20` -> `diversity`."""
    name = name.partition("@")[0]
    return "diversity" if name.endswith("_diversity") else name


def coverage(items: np.ndarray, num_items: int) -> float:
    """Returns the share of all items that are in some list (q, K)."""
    return len(np.unique(items[items >= 0])) / num_items


def gini(items: np.ndarray, num_items: int) -> float:
    """Returns the Gini coefficient of how often each item of the catalogue is in the lists (q, K).

    sum_i (2 i - I - 1) x_i / (I sum_i x_i), with x ascending and i from 1. NaN if all lists are empty.
    """
    count = np.sort(np.bincount(items[items >= 0], minlength=num_items))
    place = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(place @ count / (num_items * count.sum())) if count.any() else float("nan")


def novelty(items: np.ndarray, popularity: np.ndarray, num_users: int) -> np.ndarray:
    """Returns (q,), the mean self-information of the listed items, -log2(popularity / num_users), in bits.

    An item without train interactions counts as one with one. Zhou et al., PNAS 2010.

    Args:
        items: (q, K) lists.
        popularity: (I,).
        num_users: users with train interactions.
    """
    return _mean_of_lists(items, -np.log2(np.maximum(popularity, 1) / num_users))


def popularity_lift(items: np.ndarray, popularity: np.ndarray, profile: np.ndarray) -> float:
    """Returns by how much the listed items are more popular than the items of the profiles, as a share of the latter.

    Both are means over users of the mean popularity, for users with a profile and a list. Abdollahpouri et al., The
    connection between popularity bias, calibration, and fairness in recommendation, RecSys 2020. NaN if there are none.

    Args:
        items: (q, K) lists.
        popularity: (I,).
        profile: (q,) mean popularity of the items of a profile; NaN for an empty profile.
    """
    listed = _mean_of_lists(items, popularity.astype(np.float64))
    known = ~np.isnan(listed) & ~np.isnan(profile)
    return float(listed[known].mean() / profile[known].mean() - 1) if known.any() else float("nan")


def share_of_cold(items: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Returns (q,), the share of items without train interactions in each list (q, K)."""
    return _mean_of_lists(items, (popularity == 0).astype(np.float64))


def inverse_norms(features: Features, *, memory_mb: int = 64) -> np.ndarray:
    """Returns (I,) 1 / length of each feature vector; 0 for absent vectors and for zeros, which have no direction."""
    values, present = features
    inverse = np.zeros(len(values))
    for rows in _blocks(len(values), 8 * values.shape[1], memory_mb):
        length = np.linalg.norm(values[rows].astype(np.float64), axis=1)
        np.divide(1, length, out=inverse[rows], where=present[rows] & (length > 0))
    return inverse


def intra_list_diversity(
    items: np.ndarray, features: Features, inverse: np.ndarray, at: Sequence[int], *, memory_mb: int = 64
) -> np.ndarray:
    """Returns (len(at), q), the mean cosine distance of all pairs of items in the first K of each list.

    Items without the modality are left out; NaN with fewer than two others. The sum over pairs follows from the length
    of the sum of the unit vectors: 2 sum_{i<j} cos_ij = |sum_i x_i|^2 - n.

    Args:
        items: (q, K) lists.
        features: of one modality.
        inverse: (I,), of `inverse_norms`.
        at: cut-offs.
        memory_mb: bound on the feature vectors in memory (at least those of one list).
    """
    found = np.full((len(at), len(items)), np.nan)
    dim = features.values.shape[1]
    for rows in _blocks(len(items), items.shape[1] * dim * 8 + dim * 16, memory_mb):
        scale = np.where(items[rows] >= 0, inverse[items[rows]], 0)  # (B, K)
        unit = features.values[items[rows]].astype(np.float32)  # (B, K, d_m)
        unit *= scale[:, :, None].astype(np.float32)
        unit[scale == 0] = 0  # absent rows may hold anything, also NaN
        total, low = np.zeros((len(unit), dim)), 0
        for k in sorted(set(at)):
            total += unit[:, low:k].sum(axis=1, dtype=np.float64)
            n, low = (scale[:, :k] > 0).sum(axis=1), k
            similarity = np.full(len(n), np.nan)
            np.divide((total**2).sum(axis=1) - n, n * (n - 1), out=similarity, where=n > 1)
            found[[place for place, each in enumerate(at) if each == k], rows] = 1 - similarity
    return found


def miscalibration(
    items: np.ndarray, profile: sp.csr_array, groups: sp.csr_array, *, memory_mb: int = 64
) -> np.ndarray:
    """Returns (q,), how far the mix of groups in each list is from the mix in the profile of the user, in bits.

    KL(p | q') = sum_g p_g log2(p_g / q'_g) with q' = 0.99 q + 0.01 p: p the mix of the profile, q the mix of the list;
    items without a group are left out of both. 0: equal; 6.6: nothing in common (Steck, RecSys 2018). NaN where a
    profile or a list has no item with a group.

    Args:
        items: (q, K) lists.
        profile: (q, I) 0/1, the items of the profiles.
        groups: (I, G) shares of the items in the groups.
        memory_mb: bound on the mixes in memory (at least those of one user).
    """
    found = np.full(len(items), np.nan)
    num_items, num_groups = cast(tuple[int, int], groups.shape)
    for rows in _blocks(len(items), 8 * 6 * num_groups, memory_mb):
        row, place = np.nonzero(items[rows] >= 0)
        shape = (rows.stop - rows.start, num_items)
        lists = sp.csr_array((np.ones(len(row)), (row, items[rows][row, place])), shape=shape)
        p, q = (_mix(sp.csr_array(of @ groups).toarray()) for of in (profile[rows], lists))  # (B, G)
        ratio = np.divide(p, (1 - SMOOTHING) * q + SMOOTHING * p, out=np.ones_like(p), where=p > 0)
        found[rows] = (p * np.log2(ratio)).sum(axis=1)
    return found


class Beyond:
    """Measures the lists of any number of models for the same users.

    beyond = Beyond(data, evaluator.queries, at=(10, 20), genres="genre")
    means, per_user = beyond(evaluator.top_lists(model.scorer()))
    """

    def __init__(
        self,
        data: Dataset,
        queries: Queries,
        *,
        at: Sequence[int],
        genres: str | None = None,
        separator: str | None = None,
        memory_mb: int = 64,
    ):
        """Prepares all that does not depend on the lists.

        Args:
            data: profiles, popularity, features and genres.
            queries: the users whose lists are measured, and the items that may not be listed.
            at: cut-offs K.
            genres: column of the item table; None: no `genre_miscalibration`.
            separator: between several genres of an item: see `medley.evaluation.item_groups.genres`.
            memory_mb: bound on a block of features or mixes.

        Raises:
            InputError: the item table has no such column, or a separator without a column.
        """
        if separator is not None and genres is None:
            raise InputError("separator of genres", expected="a column of genres too", got="no column")
        train = data.train
        self.at, self.queries, self.memory_mb = tuple(at), queries, memory_mb
        self.popularity = train.users_per_item()
        self.num_users = int((train.items_per_user() > 0).sum())
        self.profile = sp.csr_array(train.csr()[queries.user])
        count = np.diff(self.profile.indptr)
        total = self.profile @ self.popularity.astype(np.float64)
        self.profile_popularity = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        self.groups = {"popularity_miscalibration": popularity_groups(self.popularity)}
        if genres is not None:
            self.groups["genre_miscalibration"] = read_genres(data.item_table, genres, separator)
        self.features = {
            name: (features, inverse_norms(features, memory_mb=memory_mb)) for name, features in data.features.items()
        }

    def __call__(self, items: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Measures lists (q, K), K the largest cut-off.

        Returns:
            "novelty@20" -> mean, without figures that no user has a value of; and those figures that users have one by
            one, "novelty@20" -> (q,).
        """
        num_items = self.queries.num_items
        whole: dict[str, float] = {}
        single: dict[str, np.ndarray] = {}
        diversity = {
            name: intra_list_diversity(items, features, inverse, self.at, memory_mb=self.memory_mb)
            for name, (features, inverse) in self.features.items()
        }
        for place, k in enumerate(self.at):
            best = items[:, :k]
            whole[f"coverage@{k}"] = coverage(best, num_items)
            whole[f"gini@{k}"] = gini(best, num_items)
            whole[f"popularity_lift@{k}"] = popularity_lift(best, self.popularity, self.profile_popularity)
            single[f"novelty@{k}"] = novelty(best, self.popularity, self.num_users)
            single[f"share_of_cold@{k}"] = share_of_cold(best, self.popularity)
            for name, groups in self.groups.items():
                single[f"{name}@{k}"] = miscalibration(best, self.profile, groups, memory_mb=self.memory_mb)
            single |= {f"{name}_diversity@{k}": values[place] for name, values in diversity.items()}
        known = {name: values for name, values in single.items() if not np.isnan(values).all()}
        means = whole | {name: float(np.nanmean(values)) for name, values in known.items()}
        return {name: value for name, value in means.items() if not np.isnan(value)}, known

    def references(self, *, seed: int = 0) -> dict[str, dict[str, float]]:
        """Measures lists to compare with: `popular`, the most popular unseen items, and `random`, random unseen items.

        Args:
            seed: of the random lists.
        """
        k = max(self.at)
        lists = {
            "popular": popular_lists(self.queries, self.popularity, k),
            "random": random_lists(self.queries, k, generator=np.random.default_rng(seed)),
        }
        return {name: self(items)[0] for name, items in lists.items()}


def _mean_of_lists(items: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns (q,), the mean value (I,) of the items of each list (q, K)."""
    listed = items >= 0
    count, total = listed.sum(axis=1), np.where(listed, value[items], 0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(items), np.nan), where=count > 0)


def _mix(amount: np.ndarray) -> np.ndarray:
    """Returns shares (B, G) that sum to 1 over the groups; NaN where there is nothing."""
    total = amount.sum(axis=1, keepdims=True)
    return np.divide(amount, total, out=np.full_like(amount, np.nan), where=total > 0)


def _blocks(num_rows: int, row_bytes: int, memory_mb: int) -> Iterator[slice]:
    step = max(1, (memory_mb << 20) // row_bytes)
    for first in range(0, num_rows, step):
        yield slice(first, min(first + step, num_rows))
