"""Raw features of items -> tensors that models read."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from medley.errors import InputError
from medley.types import Features, Inputs

FeatureScale = Literal["none", "l2", "standard"]

PART_BYTES = 2**27  # of features that are scaled at a time


class ItemFeatures(nn.Module):
    """Fixed features of all items in one modality."""

    values: Tensor  # (I, d_m) float32; zero where the item lacks the modality
    present: Tensor  # (I, 1) bool

    def __init__(self, features: Features, scale: FeatureScale):
        super().__init__()
        self.register_buffer("values", torch.from_numpy(_scaled(features, scale)), persistent=False)
        self.register_buffer("present", torch.tensor(features.present)[:, None], persistent=False)

    @property
    def dim(self) -> int:
        """d_m"""
        return self.values.shape[1]


def item_features(inputs: Inputs, scale: FeatureScale) -> dict[str, ItemFeatures]:
    """Modality -> `ItemFeatures`.

    Args:
        inputs: what the model is built from.
        scale: `none` as they are; `l2` rows of length one; `standard` columns of mean 0 and variance 1 over the items
            that have the modality.

    Raises:
        InputError: the data set has no modality.
    """
    if not inputs.features:
        raise InputError(
            "this model reads item features",
            expected="a data set with at least one modality",
            got="none",
            remedy="import features with the interactions, or choose a model without them (mf, lightgcn)",
        )
    return {m: ItemFeatures(features, scale) for m, features in inputs.features.items()}


def _scaled(features: Features, scale: FeatureScale) -> np.ndarray:
    """(I, d_m) float32. Items that lack the modality stay zero and do not enter the statistics."""
    there = features.present
    values = np.array(features.values, dtype=np.float32)  # the only copy: they may be gigabytes
    if scale == "l2":
        for rows in _parts(values, axis=0):
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    elif scale == "standard":
        for columns in _parts(values, axis=1):
            known = columns[there]
            columns -= known.mean(axis=0)
            columns /= np.maximum(known.std(axis=0), 1e-6)
    values[~there] = 0
    return values


def _parts(values: np.ndarray, axis: int) -> list[np.ndarray]:
    """Views of about PART_BYTES that make up the whole."""
    return np.array_split(values, 1 + values.nbytes // PART_BYTES, axis=axis)
