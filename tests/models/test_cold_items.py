"""Models for items without interactions: content ranks such items far better than random features do."""

from pathlib import Path

import pytest

from medley import api, models
from medley.data.dataset import Dataset
from medley.data.simulate import preset, simulate
from medley.runs import TrainSettings
from medley.training.fit import fit

SETTINGS = TrainSettings(num_epochs=15, patience=0, lr=1e-2, batch_size=512)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Dataset:
    """The demo preset, smaller, with 60 items that occur in validation and test alone."""
    sizes = {"num_users": 200, "num_items": 300, "num_interactions": 5000, "num_clusters": 8, "cold_items": 0.2}
    folder: Path = tmp_path_factory.mktemp("demo") / "data"
    return simulate(folder, settings=preset("demo", **sizes), seed=1)


def cold_recall(name: str, data: Dataset, **options) -> float:
    model = models.build(name, data.inputs(), dim=16, **options)
    fit(model, data, SETTINGS)
    return api.evaluate(model, data, split="test", groups=True).metrics["cold_recall@20"]


@pytest.mark.parametrize("name", ["dropoutnet", "clcrec"])
def test_content_ranks_items_without_interactions_far_better_than_random_features(name: str, demo: Dataset):
    assert cold_recall(name, demo) > 1.5 * cold_recall(name, demo, random_features=True) + 0.05
