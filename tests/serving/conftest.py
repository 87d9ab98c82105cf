"""A service of one model of every kind."""

import pytest

import medley
from medley.serving.export import export
from medley.serving.service import Service
from medley.serving.store import Store

MODELS = ("freedom", "itemknn", "macridvae")  # vectors, item-to-item, concepts


@pytest.fixture(scope="session", params=[*MODELS])
def trained(request, simulated):
    """A run, its data set and its bundle."""
    settings = {} if request.param == "itemknn" else {"num_epochs": 3, "batch_size": 256}
    run = medley.train(request.param, simulated, progress=False, **settings)
    return run, simulated, export(run, simulated)


@pytest.fixture
def service(trained):
    """A service without a store."""
    return Service(trained[2])


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    with Store(tmp_path / "shop.sqlite") as store:
        yield store
