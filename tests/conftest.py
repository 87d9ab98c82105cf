"""Data that many tests share."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from medley import testing
from medley.data.dataset import Dataset
from medley.data.simulate import preset, simulate
from medley.types import Inputs

settings.register_profile("medley", deadline=None)  # the first call of a compiled loop takes a second
settings.load_profile("medley")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts commands in the background without Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the real data sets; tests that need real data are skipped where the folder is absent."""
    folder = Path(os.environ.get("MEDLEY_DATA", Path(__file__).parents[1] / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set MEDLEY_DATA to its folder")
    return folder


@pytest.fixture
def five_nodes() -> Inputs:
    """Two users, three items; see `medley.testing`."""
    return testing.five_nodes()


@pytest.fixture
def checkerboard() -> Inputs:
    """24 users and 32 items of two colours; see `medley.testing`."""
    return testing.checkerboard()


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Dataset:
    """A small data set on disk: 60 users, 90 items, three modalities."""
    settings = preset("demo", num_users=60, num_items=90, num_interactions=1200, num_clusters=6)
    return simulate(tmp_path_factory.mktemp("simulated") / "data", settings=settings, seed=1)
