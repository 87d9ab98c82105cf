"""The data on which searches are tested."""

import pytest

from medley.data.dataset import Dataset
from medley.data.simulate import preset, simulate


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Dataset:
    settings = preset("demo", num_users=40, num_items=90, num_interactions=600, num_clusters=4)
    return simulate(tmp_path_factory.mktemp("tuning") / "data", settings=settings, seed=1)
