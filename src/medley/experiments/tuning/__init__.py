"""Tuning: settings of a model, searched on validation. `tune` is `medley.tune`; docs/tuning.md explains the folder."""

from medley.experiments.tuning.result import Finalist, Tuned, document_of
from medley.experiments.tuning.trials import Trial
from medley.experiments.tuning.tuner import tune

__all__ = ["Finalist", "Trial", "Tuned", "document_of", "tune"]
