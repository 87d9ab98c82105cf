"""Do the features of a modality tell items apart? Features are read block by block."""

from hashlib import blake2b

import numpy as np

from medley.auditing.finding import Finding, exceeds
from medley.data.dataset import Dataset
from medley.types import Features

BLOCK = 65_536  # rows read at a time
SAMPLE = 1_000  # items that are compared with all others
NEAR = 0.999  # cosine similarity of centred features
CONSTANT = 0.05  # of the columns
EQUAL = 0.01  # of the items
NARROW = 0.5  # mean cosine similarity of two items


def feature_findings(data: Dataset) -> list[Finding]:
    """Returns four findings per modality that at least two items have."""
    return [
        finding
        for name, features in data.features.items()
        if features.present.sum() >= 2
        for finding in _findings_of(name, features)
    ]


def _findings_of(name: str, features: Features) -> list[Finding]:
    rows = np.flatnonzero(features.present)
    mean, spread = _mean_and_range(features, rows)
    sample = np.sort(np.random.default_rng(0).choice(rows, min(SAMPLE, len(rows)), replace=False))
    group = _groups_of_equal_rows(features, rows)
    size = np.bincount(group)
    return [
        _constant(name, spread),
        _duplicates(name, size),
        _near_duplicates(name, features, rows, sample, group, mean),
        _narrow_cone(name, features, sample),
    ]


def _constant(name: str, spread: np.ndarray) -> Finding:
    count = int((spread == 0).sum())
    return Finding(
        f"{name}-constant",
        count / len(spread),
        0.0,
        None,
        count >= CONSTANT * len(spread),
        f"{count:,} of {len(spread):,} columns of {name} are the same for all items",
        "A constant column says nothing about items, and hides an encoder that failed or padding.",
        "drop the columns or extract the features again",
        {"columns": count},
    )


def _duplicates(name: str, size: np.ndarray) -> Finding:
    twice, total = int(size[size > 1].sum()), int(size.sum())
    return Finding(
        f"{name}-duplicates",
        twice / total,
        0.0,
        None,
        twice >= EQUAL * total,
        f"{twice:,} of {total:,} items share their {name} features with others; the largest group has {size.max():,}",
        "Models by content cannot tell these items apart; equal features often stand for media that could not be read.",
        "look at the largest groups, mark media that could not be read as missing, and merge items that are the same",
        {"items": twice, "largest_group": int(size.max())},
    )


def _near_duplicates(
    name: str, features: Features, rows: np.ndarray, sample: np.ndarray, group: np.ndarray, mean: np.ndarray
) -> Finding:
    """Compares sampled items with all others by cosine of centred features; exact duplicates do not count."""
    chosen = _unit(features.values[sample] - mean)
    group_of = dict(zip(rows.tolist(), group.tolist(), strict=True))
    own = np.array([group_of[row] for row in sample.tolist()])
    near = np.zeros(len(sample), dtype=bool)
    step = max(1, (BLOCK << 4) // len(sample))
    for first in range(0, len(rows), step):
        block = rows[first : first + step]
        others = _unit(features.values[block] - mean)
        is_other = group[first : first + step] != own[:, None]
        near |= ((chosen @ others.T >= NEAR) & is_other).any(axis=1)
    share = float(near.mean())
    return Finding(
        f"{name}-near-duplicates",
        share,
        0.0,
        None,
        share >= EQUAL,
        f"{near.sum():,} of {len(sample):,} sampled items have a nearly equal item in {name} (cosine at least {NEAR})",
        "Reposts of one item in train and test are found by content alone, which is not taste.",
        "keep reposts of an item in one split, or merge them",
        {"sampled": len(sample)},
    )


def _narrow_cone(name: str, features: Features, sample: np.ndarray) -> Finding:
    """Compares the mean cosine of two sampled items with 0, its value for directions without a common part.

    The mean over pairs is (|sum of unit vectors|^2 - n) / (n (n - 1)); for random directions in d dimensions its
    standard error is sqrt(2 / (d n (n - 1))).
    """
    unit = _unit(features.values[sample])
    n, d = unit.shape
    cosine = float((np.square(unit.sum(axis=0, dtype=np.float64)).sum() - n) / (n * (n - 1)))
    error = float(np.sqrt(2 / (d * n * (n - 1))))
    return Finding(
        f"{name}-narrow-cone",
        cosine,
        0.0,
        error,
        exceeds(cosine, 0, error, size=NARROW),
        f"the mean cosine similarity of two items is {cosine:.2f} in {name}, 0 if directions have nothing in common",
        "All items then look alike to a cosine or an inner product, and what differs between them is drowned.",
        "centre or whiten the features: train with feature_scale=pca-whitening-32, or extract with scale=...",
        {"sampled": n},
    )


def _mean_and_range(features: Features, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean (d_m,) float32 and the range (d_m,) of the present rows."""
    total = np.zeros(features.values.shape[1])
    low, high = np.full(len(total), np.inf), np.full(len(total), -np.inf)
    for first in range(0, len(rows), BLOCK):
        block = features.values[rows[first : first + BLOCK]].astype(np.float32)
        total += block.sum(axis=0, dtype=np.float64)
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    return (total / len(rows)).astype(np.float32), high - low


def _groups_of_equal_rows(features: Features, rows: np.ndarray) -> np.ndarray:
    """Returns a number for each present row, the same for rows with the same bytes."""
    number: dict[bytes, int] = {}
    group = np.empty(len(rows), dtype=np.int64)
    for first in range(0, len(rows), BLOCK):
        block = np.ascontiguousarray(features.values[rows[first : first + BLOCK]]) + 0  # -0 is 0
        for place, row in enumerate(block, start=first):
            group[place] = number.setdefault(blake2b(row.tobytes(), digest_size=16).digest(), len(number))
    return group


def _unit(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float32).tiny)
