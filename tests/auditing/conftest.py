"""Data sets with a planted fault, and the same data sets without it."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from medley.data.dataset import Dataset

NUM_USERS, NUM_ITEMS, PER_USER = 600, 300, 10
SPLITS = ["train"] * 7 + ["valid"] + ["test"] * 2


@pytest.fixture
def make(tmp_path) -> Callable[..., Dataset]:
    """Makes a data set from rows (user, item, split), and optionally times and features."""

    def made(rows, *, name="made", **options) -> Dataset:
        names = ["user", "item", "split", "timestamp"][: len(rows[0])]
        log = pl.DataFrame(rows, schema=names, orient="row")
        return Dataset.from_frames(log, split="given", out=tmp_path / name, name=name, **options)

    return made


@pytest.fixture
def tastes() -> list[np.ndarray]:
    """The items of each user in random order: popular items more often, and no relation between order and item."""
    rng = np.random.default_rng(7)
    weight = rng.permutation(1 / np.arange(1, NUM_ITEMS + 1) ** 0.7)
    return [rng.choice(NUM_ITEMS, PER_USER, replace=False, p=weight / weight.sum()) for _ in range(NUM_USERS)]


def rows_of(tastes, *, key=None, splits=SPLITS):
    """Rows (user, item, split); `key` orders the items of a user, the last are held out."""
    return [
        (user, int(item), split)
        for user, items in enumerate(tastes)
        for item, split in zip(items if key is None else sorted(items, key=key), splits, strict=True)
    ]
