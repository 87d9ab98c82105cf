"""Tuning: settings of a model, searched on validation. `tune` is `medley.tune`; docs/tuning.md explains the folder."""

from medley.tuning.result import Finalist, Tuned, document_of
from medley.tuning.trials import Trial
from medley.tuning.tuner import tune

__all__ = ["Finalist", "Trial", "Tuned", "document_of", "tune"]
