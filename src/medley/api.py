"""The Python interface: load, build, fit, evaluate, recommend. The command line calls the same functions.

import medley

data = medley.load("data/tiktok")
model = medley.build("mmgcn", data, dim=64, num_layers=2)
medley.fit(model, data, lr=1e-3, num_epochs=100, patience=10)
print(medley.evaluate(model, data, split="test").metrics)
for item in medley.recommend(model, data, user="42", k=10, explain=True):
    print(item.title, item.score, item.shares)
for finding in medley.about_user(model, data, user="42"):
    print(finding.topic, finding.weights)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medley import models
from medley.data.dataset import Dataset
from medley.data.simulate import SimulationSettings, simulate
from medley.data.sources import import_dataset
from medley.evaluation import evaluator
from medley.evaluation.evaluator import Evaluation
from medley.models import Recommender
from medley.runs import Run
from medley.serving.explain import about_item, about_user
from medley.serving.recommend import Recommendation, recommend
from medley.training import fit as training
from medley.training.fit import History
from medley.training.progress import ProgressBar
from medley.training.settings import check_settings

__all__ = [
    "Dataset",
    "Evaluation",
    "History",
    "Recommendation",
    "Recommender",
    "Run",
    "SimulationSettings",
    "about_item",
    "about_user",
    "build",
    "evaluate",
    "fit",
    "import_dataset",
    "load",
    "recommend",
    "simulate",
]


def load(folder: str | Path) -> Dataset:
    """Opens a data set folder made by `import_dataset`, `simulate` or their commands."""
    return Dataset(folder)


def build(name: str, data: Dataset, *, seed: int = 0, **options: Any) -> Recommender:
    """A new model on the train split and the item features of a data set.

    Args:
        name: `mf`, `vbpr`, `lightgcn`, `mmgcn`, ...: see `medley models`.
        data: validation and test interactions in it are not looked at.
        seed: of the initial parameters.
        options: of the model, e.g. `dim=64, num_layers=2, reg=1e-4`; for models that read features also
            `modalities=["visual"]` and `random_features=True`.
    """
    return models.build(name, data.inputs(), seed=seed, **options)


def fit(
    model: Recommender,
    data: Dataset,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    **settings: Any,
) -> History:
    """Trains a model until validation no longer improves; the best parameters are left in it.

    Args:
        model: made by `build`.
        data: the data set that it was built from.
        out: folder of the run; None keeps everything in memory.
        resume: go on with the run in `out`.
        progress: show a bar on standard error.
        settings: `lr, batch_size, num_epochs, patience, metric, seed, device`: see `TrainSettings`.
    """
    checked = check_settings(settings)
    watcher = ProgressBar(type(model).__name__, checked.metric) if progress else None
    return training.fit(model, data, checked, out=out, resume=resume, progress=watcher)


def evaluate(
    model: Recommender, data: Dataset, *, split: str = "test", at: Sequence[int] = (10, 20), **protocol_options: Any
) -> Evaluation:
    """Ranks what was held out. `protocol_options` are those of `medley.evaluation.evaluator.evaluate`."""
    with torch.no_grad():
        return evaluator.evaluate(model.scorer(), data, split=split, at=at, **protocol_options)
