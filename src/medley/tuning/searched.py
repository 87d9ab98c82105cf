"""Which options and settings a search changes, and to what."""

import math
from collections.abc import Mapping
from typing import Any

from medley import models
from medley.errors import InputError
from medley.models.spaces import Choice, Space, Whole
from medley.runs import Recipe
from medley.runs.settings import SETTINGS

# what every trial has in common: with another metric or other candidates, trials could not be compared
UNSEARCHED = ("model", "seed", "device", "metric", "candidates", "train_on", "deterministic", "precision")


def space_of(base: Recipe, given: Mapping[str, Space], fixed: Mapping[str, Any]) -> dict[str, Space]:
    """Returns the search space: that of the model, changed, less what is fixed, widened to hold the defaults.

    Raises:
        InputError: an unknown option, one that cannot be searched, or a value that the model refuses.
    """
    values = base.flat()
    for name in given:
        if name in fixed:
            raise InputError(f"option {name!r}", expected="fixed or searched", got="both", remedy="leave one out")
        if name in UNSEARCHED or name not in values:
            listed = ", ".join(each for each in values if each not in UNSEARCHED)
            raise InputError("option to search", expected=listed, got=repr(name))
    declared = {**models.find(base.model).search_space, **given}
    space = {}
    for name, one in declared.items():
        if name in fixed or (name in SETTINGS and not models.learns(base.model)):
            continue
        space[name] = one.including(values[name])
        for value in _samples(one):
            base.changed({name: value})
    return space


def _samples(space: Space) -> tuple[Any, ...]:
    """Returns the choices, or the ends and a number between them: an option of whole numbers refuses this number."""
    if isinstance(space, Choice):
        return space.values
    ends = (space.low, space.high)
    return ends if isinstance(space, Whole) else (*ends, space.low + (space.high - space.low) / math.pi)
