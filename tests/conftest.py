"""Data that many tests share."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from medley.data.dataset import Dataset
from medley.data.simulate import preset, simulate
from medley.types import Features, Inputs, Interactions

settings.register_profile("medley", deadline=None)  # the first call of a compiled loop takes a second
settings.load_profile("medley")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Where the real data sets lie; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("MEDLEY_DATA", Path(__file__).parents[1] / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set MEDLEY_DATA to its folder")
    return folder


@pytest.fixture
def five_nodes() -> Inputs:
    """Two users, three items; item 2 lacks the acoustic modality, and user 1 has touched it alone.

    user 0: items 0, 1          user 1: item 2
    """
    rng = np.random.default_rng(5)
    train = Interactions(np.array([0, 0, 1], "i4"), np.array([0, 1, 2], "i4"), num_users=2, num_items=3)
    visual, acoustic = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(3, 2)).astype("f4")
    acoustic[2] = 0
    return Inputs(
        train,
        {
            "visual": Features(visual, np.ones(3, dtype=bool)),
            "acoustic": Features(acoustic, np.array([True, True, False])),
        },
    )


@pytest.fixture
def checkerboard() -> Inputs:
    """Users and items of two colours; everyone touched three quarters of the items of their colour, and no others.

    The features tell the colour, with noise. One item has no interaction, and one lacks a modality.
    """
    rng = np.random.default_rng(0)
    num_users, num_items = 24, 32
    user_colour, item_colour = np.arange(num_users) % 2, np.arange(num_items) % 2
    touched = (user_colour[:, None] == item_colour) & (
        (np.arange(num_users)[:, None] // 2 + np.arange(num_items) // 2) % 4 > 0
    )
    touched[:, num_items - 1] = False
    user, item = np.nonzero(touched)
    train = Interactions(user.astype("i4"), item.astype("i4"), num_users, num_items)
    colour = np.where(item_colour[:, None] == 0, 1.0, -1.0)
    features = {}
    for name, dim in (("visual", 6), ("acoustic", 3), ("mood", 4)):
        values = (colour + 0.3 * rng.normal(size=(num_items, dim))).astype("f4")
        present = np.ones(num_items, dtype=bool)
        if name == "mood":
            present[3], values[3] = False, 0
        features[name] = Features(values, present)
    return Inputs(train, features)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Dataset:
    """A small data set on disk: 60 users, 90 items, three modalities."""
    settings = preset("demo", num_users=60, num_items=90, num_interactions=1200, num_clusters=6)
    return simulate(tmp_path_factory.mktemp("simulated") / "data", settings=settings, seed=1)
