"""Vectors of items without train interactions, from the vectors of warm items with similar content.

An item i that nobody has seen in train has a vector that no interaction has shaped. With `cold` = "neighbours" such
items are scored by the warm items that are most similar to them. For scores alone: the training never reads the rule.

    w_im = the K warm items most similar to i in modality m, weighted by the cosine (negative: 0; all 0: equally),
           sum 1; features less their mean over warm items
    x_i  = sum_j w_ij x_j        w_i = mean of w_im over the modalities that i has
    s_ui = u . x_i + cold_offset sigma_u

sigma_u is the standard deviation over warm items of the scores of u. With this unit one value of `cold_offset` means
the same for all users and models: how far, in deviations of a user's scores, all cold items are moved up. Without the
unit, the users with the longest vectors would get all of them. All parts of a score have the same weights w_i, so they
still sum to the score; the offset is a part of its own, `cold`.

An item keeps the vector of the model if it has no modality, or none in which warm items have features that differ.

Shapes: U users, I items, c cold items that follow the rule, d columns, K = NUM_NEIGHBOURS.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from medley.errors import InputError
from medley.graphs.warm import nearest
from medley.nn.chosen import COLD_VALUE, ChosenNumber, Offset
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Features, Inputs

Cold = Literal["model", "neighbours"]

NUM_NEIGHBOURS = 10
OFFSETS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, -1.0)  # 0, the start, is judged already; the first of equals wins
LEAST = 1e-6  # share of the length of the mean: shorter deviations from it are rounding


class ColdItems(nn.Module):
    """The rule of one model. It has no effect with `cold` = "model", or if no item is cold."""

    row: Tensor  # (c,) int64, the items that follow the rule
    is_warm: Tensor  # (I,) bool

    def __init__(self, inputs: Inputs, cold: Cold, cold_offset: Offset):
        """Finds the neighbours of all cold items.

        Args:
            inputs: all that the model is built from.
            cold: "model" turns the rule off.
            cold_offset: "auto" is chosen on validation after training.

        Raises:
            InputError: an offset without the rule, or no features.
        """
        super().__init__()
        self.w: SparseMatrix | None = None
        if cold == "model":
            if cold_offset != "auto":
                raise InputError("cold_offset", expected="cold=neighbours with it", got="cold=model")
            return
        if not inputs.features:
            remedy = "import features with the interactions, or choose cold=model"
            raise InputError(
                "cold=neighbours", expected="a data set with at least one modality", got="none", remedy=remedy
            )
        is_warm = inputs.train.users_per_item() > 0
        w = neighbours_of_cold(inputs.features, is_warm)
        row = np.flatnonzero(np.diff(w.indptr))
        if not len(row):
            return
        self.w = SparseMatrix(sp.csr_array(w[row]))  # (c, I)
        self.register_buffer("row", torch.from_numpy(row), persistent=False)
        self.register_buffer("is_warm", torch.from_numpy(is_warm), persistent=False)
        self.cold_offset = ChosenNumber(cold_offset, among=OFFSETS, start=0.0, cold_value=COLD_VALUE)

    def score(self, x: Embeddings) -> Embeddings:
        """Applies the rule to final vectors: (U, d) and (I, d) -> (U, d + 1) and (I, d + 1)."""
        if self.w is None:
            return x
        item, offset = self._placed(x.item), self._offset(x)
        return Embeddings(torch.cat([x.user, offset.user], dim=1), torch.cat([item, offset.item], dim=1))

    def parts(self, parts: Mapping[str, Embeddings]) -> dict[str, Embeddings]:
        """Applies the rule to parts of the score, and adds the offset as the part `cold`."""
        if self.w is None:
            return dict(parts)
        users, items = zip(*parts.values(), strict=True)
        offset = self._offset(Embeddings(torch.cat(users, dim=1), torch.cat(items, dim=1)))
        placed = {name: Embeddings(x.user, self._placed(x.item)) for name, x in parts.items()}
        return placed | {"cold": offset}

    def _placed(self, item: Tensor) -> Tensor:
        """Returns item vectors (I, d) with those of the neighbours in the rows of the rule."""
        assert self.w is not None, "only called with a rule"
        return item.index_copy(0, self.row, (self.w @ item).to(item.dtype))

    def _offset(self, x: Embeddings) -> Embeddings:
        """Returns sigma_u (U, 1), and the offset of each item (I, 1)."""
        warm = x.item[self.is_warm]
        warm = warm - warm.mean(dim=0)
        covariance = warm.T @ warm / len(warm)  # (d, d)
        sigma = ((x.user @ covariance) * x.user).sum(dim=1, keepdim=True).clamp(min=0).sqrt()
        item = x.item.new_zeros(len(x.item), 1)
        return Embeddings(sigma, item.index_fill(0, self.row, 1.0) * self.cold_offset())


def neighbours_of_cold(
    features: Mapping[str, Features], is_warm: np.ndarray, *, k: int = NUM_NEIGHBOURS
) -> sp.csr_array:
    """Returns w (I, I) float32: the weights of the neighbours of cold items, rows of sum 1; all other rows are empty.

    Args:
        features: modality -> raw features, at least one modality.
        is_warm: (I,) bool, the items of train.
        k: neighbours per modality.
    """
    each = [_nearest(raw, is_warm, k) for raw in features.values()]
    total = each[0]
    for w_m in each[1:]:
        total = total + w_m
    count = np.sum([np.diff(w_m.indptr) > 0 for w_m in each], axis=0)
    total.data /= np.repeat(np.maximum(count, 1), np.diff(total.indptr))
    return total.astype(np.float32)


def _nearest(features: Features, is_warm: np.ndarray, k: int) -> sp.csr_array:
    """Returns w_m (I, I) float64 of one modality; rows of cold items that lack the modality are empty."""
    num_items = len(is_warm)
    warm, cold = np.flatnonzero(is_warm & features.present), np.flatnonzero(~is_warm & features.present)
    if not len(warm) or not len(cold):
        return sp.csr_array((num_items, num_items))
    mean = features.values[warm].mean(axis=0, dtype=np.float64)
    least = LEAST * max(float(np.linalg.norm(mean)), 1e-30)
    centred = np.asarray(features.values, dtype=np.float32) - mean.astype(np.float32)
    cold, near, cosine = nearest(centred, cold, warm, k, least=least)  # (c,), (c, k), (c, k)
    k = near.shape[1]
    weight = np.maximum(cosine.astype(np.float64), 0)
    total = weight.sum(axis=1, keepdims=True)
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1), 1 / max(k, 1))
    return sp.csr_array((weight.ravel(), (np.repeat(cold, k), near.ravel())), shape=(num_items, num_items))
