"""Runs: what was trained (`recipe`, `settings`), how it went (`history`), and the folder that holds it all (`run`)."""

from medley.runs.history import Epoch, History
from medley.runs.recipe import Recipe
from medley.runs.run import DataRecord, Run, RunRecord
from medley.runs.settings import TrainSettings, check_settings

__all__ = ["DataRecord", "Epoch", "History", "Recipe", "Run", "RunRecord", "TrainSettings", "check_settings"]
