"""Modules side by side."""

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def by_name(modules: Mapping[str, M]) -> Mapping[str, M]:
    """An `nn.ModuleDict`, so that they move and are saved with the model, whose type still says what they are."""
    return nn.ModuleDict(modules)  # pyrefly: ignore[bad-return]
