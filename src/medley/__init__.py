# ruff: noqa: F405 - the names come from medley.api, which type checkers read
"""Medley: multi-modal graph recommendation. The interface is described in `medley.api`."""

from typing import TYPE_CHECKING, Any

from medley.engine.waiting import bound_spinning
from medley.version import __version__

if TYPE_CHECKING:
    from medley.api import *  # noqa: F403
    from medley.tuning import tune

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
    "__version__",
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
    "tune",
    "write_recommendations",
]

# The one thing that importing Medley changes: environment variables that OpenMP reads once, when torch loads it.
# Without them idle threads spin for milliseconds, and training on a busy machine is many times slower
# (docs/decisions/0004-busy-machines.md).
bound_spinning()


def __getattr__(name: str) -> Any:
    """Imports the interface, and with it torch, when it is first used: `medley --help` need not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module 'medley' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("medley.tuning" if name == "tune" else "medley.api"), name)
