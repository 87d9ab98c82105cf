"""Modalities of items inside a model: fixed features, a linear projection of all modalities, and ways to fuse vectors.

Shapes: I items, d_m raw dimension of modality m, M modalities, n rows.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from medley.errors import InputError
from medley.nn.init import linear, xavier
from medley.nn.scale import FeatureScale, scale
from medley.types import Features, Inputs


class ItemFeatures(nn.Module):
    """Fixed features of all items in one modality."""

    values: Tensor  # (I, d_m) float32; zero where the item lacks the modality
    present: Tensor  # (I, 1) bool

    def __init__(self, scaled: Features):
        super().__init__()
        self.register_buffer("values", torch.from_numpy(scaled.values), persistent=False)
        self.register_buffer("present", torch.tensor(scaled.present)[:, None], persistent=False)

    def at(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns values and presence of the items in these rows, (n, d_m) and (n, 1); None: all items."""
        if rows is None:
            return self.values, self.present
        return self.values.index_select(0, rows), self.present.index_select(0, rows)

    @property
    def dim(self) -> int:
        """d_m, or the dimensions that the scale leaves"""
        return self.values.shape[1]


def item_features(inputs: Inputs, how: FeatureScale) -> dict[str, ItemFeatures]:
    """Returns modality -> `ItemFeatures`.

    Args:
        inputs: all that the model is built from.
        how: see `medley.nn.scale`; statistics are those of the items of train that have the modality.

    Raises:
        InputError: the data set has no modality, or the scale cannot be fitted to it.
    """
    if not inputs.features:
        raise InputError(
            "this model reads item features",
            expected="a data set with at least one modality",
            got="none",
            remedy="import features with the interactions, or choose a model that reads none",
        )
    in_train = inputs.train.users_per_item() > 0
    return {m: ItemFeatures(scale(features, how, train=in_train)) for m, features in inputs.features.items()}


class Content(nn.Module):
    """A linear layer on concatenated features: W [f_1 || f_2 || ...] + b = sum_m W_m f_m + b.

    Where an item lacks modality m, a learned vector replaces W_m f_m, so no zeros pose as features.
    """

    def __init__(self, features: dict[str, ItemFeatures], dim: int, *, bias: bool = False):
        """Args:
        features: modality -> features, at least one, as `item_features` returns them.
        dim: dimensions of the result.
        bias: whether b is learned; else b = 0.
        """
        super().__init__()
        self.f = nn.ModuleDict(features)  # m -> (I, d_m)
        self.W = nn.ModuleDict({m: linear(f.dim, dim) for m, f in features.items()})
        lacking = [m for m, f in features.items() if not f.present.all()]
        self.absent = nn.ParameterDict({m: xavier(1, dim) for m in lacking})
        self.b = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """(I, dim); with `rows` (n,) of the items (n, dim)."""
        parts: list[Tensor] = []
        for m, f in self.f.items():
            values, present = cast(ItemFeatures, f).at(rows)
            part = self.W[m](values)
            parts.append(part.where(present, self.absent[m]) if m in self.absent else part)
        total = torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]
        return total if self.b is None else total + self.b


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Sums one or more tensors of one shape, from left to right, without a stacked copy of all."""
    return reduce(torch.add, tensors)


def masked_softmax(score: Tensor, has: Tensor) -> Tensor:
    """Softmax over the modalities that each row has.

    Args:
        score: (n, M).
        has: (n, M) bool.

    Returns:
        (n, M); 0 for missing modalities, so rows without any modality are 0.
    """
    return score.masked_fill(~has, torch.finfo(score.dtype).min).softmax(dim=1) * has


M = TypeVar("M", bound=nn.Module)


def by_name(modules: Mapping[str, M]) -> Mapping[str, M]:
    """Returns an `nn.ModuleDict`, whose modules move and are saved with the model, under a more exact type."""
    return nn.ModuleDict(modules)  # pyrefly: ignore[bad-return]
