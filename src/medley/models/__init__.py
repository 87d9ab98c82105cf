"""The models, one file per paper. `registry` finds a model by name, `build` builds it, `base` is the contract."""

from medley.models.base import Recommender, Spec
from medley.models.build import build, check_options, describe
from medley.models.registry import MODELS, find, learns, names

__all__ = ["MODELS", "Recommender", "Spec", "build", "check_options", "describe", "find", "learns", "names"]
