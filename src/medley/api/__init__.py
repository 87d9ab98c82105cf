"""The Python interface; the command line, the demo and the studies call the same functions.

import medley

data = medley.load("data/mine")                                    # or medley.Dataset.from_frames(...)
run = medley.train("mmgcn", data, out="runs/mmgcn", dim=64, lr=1e-3, num_epochs=100, patience=10)
print(medley.evaluate(run, split="test").metrics)
for item in medley.recommend(run, user="42", k=10, explain=True):
    print(item.title, item.score, item.shares)
for finding in medley.about_user(run, user="42"):
    print(finding.topic, finding.weights)
"""

from medley.api.datasets import audit, extract, load
from medley.api.evaluation import Compared, compare, evaluate
from medley.api.serving import about_item, about_user, export, open_service, recommend, recommend_all, similar
from medley.api.training import build, fit, refit, train
from medley.api.training import models as models  # not in __all__: `medley.models` is the package of the models
from medley.auditing import Audit
from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.simulate import SimulationSettings, planted, preset, simulate
from medley.evaluation.evaluator import Evaluation
from medley.media.extract import Extracted
from medley.models import Recommender
from medley.runs import History, Recipe, Run, TrainSettings
from medley.serving.explain import Finding
from medley.serving.recommend import Recommendation, write_recommendations
from medley.serving.service import Service

__all__ = [
    "Audit",
    "Compared",
    "Dataset",
    "Evaluation",
    "Extracted",
    "Finding",
    "History",
    "Recipe",
    "Recommendation",
    "Recommender",
    "Run",
    "Service",
    "SimulationSettings",
    "TrainSettings",
    "about_item",
    "about_user",
    "audit",
    "build",
    "compare",
    "evaluate",
    "export",
    "extract",
    "fit",
    "import_dataset",
    "load",
    "open_service",
    "planted",
    "preset",
    "recommend",
    "recommend_all",
    "refit",
    "similar",
    "simulate",
    "train",
    "write_recommendations",
]
