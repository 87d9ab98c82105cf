"""BM3. Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation", WWW 2023,
https://arxiv.org/abs/2207.05969.

IDs are propagated as in LightGCN, R^ = D_u^-1/2 R D_i^-1/2; items keep their own ID besides; features are projected:

    h_u = mean_l h_u(l)      h_i = mean_l h_i(l) + h_i(0)      l = 0..L      h_m = W_m f_m + b_m

One linear predictor makes a view h~ = W h + b of each, dropout another view, h., which is a fixed target: it passes no
gradient on. With the distance C(x, y) = 1 - cos(x, y), for an interaction (u, i), without any negative:

    rec = C(h~_u, h._i) + C(h~_i, h._u)                        IDs, users and items
    align_m = C(h~_m, h._i)                                    features and IDs of the item
    mask_m = C(h~_m, h._m)                                     features and themselves
    loss = rec + content_weight sum_m (align_m + mask_m) + reg (|h_u|^2 + |h_i|^2) / 2      mean over the batch

    s_ui = h~_u . h~_i

Features enter no score: they only train the predictor that makes the views of users and items.

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, L = num_layers, B triplets, whose negatives are
ignored.
The paper leaves open: an item that lacks m (here: no align_m, no mask_m; the mean is over those that have it).
Differs from the authors' code: raw features are fixed (there they are trained too); reg weighs the squared norms of the
rows of the batch (there the norms, not squared, of the whole matrices over the number of items). content_weight is that
code's.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.engine.memory import empty_like
from medley.models.base import Count, Layers, Rate, Recommender, Weight
from medley.models.spaces import LR, Choice, Log, Space, Uniform
from medley.nn.init import affine, xavier
from medley.nn.losses import l2_of_batch
from medley.nn.modalities import FeatureScale, ItemFeatures, item_features, sum_of
from medley.nn.propagation import Rows, distinct_rows, lightgcn
from medley.nn.sparse import add_at, select, widened
from medley.types import Embeddings, Inputs, Triplets


class BM3(Recommender):
    """LightGCN that learns from positives alone, by agreement of two views of users, items and features.

    Choose it when negatives cannot be trusted or drawn: it learns from positives alone.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-3, 1.0),  # the authors: 0.1, 0.01
        "num_layers": Choice((1, 2)),  # the authors
        "dropout": Uniform(0.1, 0.6),  # the authors: 0.3, 0.5
        "content_weight": Log(0.1, 10.0),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 1,  # the authors' settings: 1, 2
        dropout: Rate = 0.1,  # the authors' settings: 0.3, 0.5; docs/results/defaults.md
        content_weight: Weight = 2.0,  # the authors' code
        reg: Weight = 1e-3,  # docs/results/defaults.md
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.num_layers, self.dropout, self.content_weight, self.reg = num_layers, dropout, content_weight, reg
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        self.predictor = affine(dim, dim)
        features = item_features(inputs, feature_scale) if content_weight else {}
        self.content = nn.ModuleDict({m: _Content(f, dim) for m, f in features.items()})

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors h~."""
        user, item = self._propagated()
        return Embeddings(self.predictor(user), self.predictor(item))

    def loss(self, batch: Triplets) -> Tensor:
        """Distances of the two views, and L2 of h."""
        rows, places = distinct_rows(batch._replace(neg=batch.neg[:0]))  # the loss needs no negatives
        h = self._propagated(rows)
        u, i, num_triplets = places.user, places.pos, len(batch.user)
        target_u, target_i = self._target(h.user, u), self._target(h.item, i)  # (B, d)
        near = self._agreement(h.user, _total(target_i, u, len(h.user)))
        near = near + self._agreement(h.item, _total(target_u, i, len(h.item)))
        loss = 2 - near / num_triplets
        if self.content:
            loss = loss + self.content_weight * self._content_loss(rows.item, i, target_i)
        return loss + self.reg * l2_of_batch(h, places)

    def _content_loss(self, items: Tensor, i: Tensor, target_i: Tensor) -> Tensor:
        """Sums align_m + mask_m over the modalities, each a mean over the triplets whose item has m.

        Args:
            items: (b,), the distinct items of the batch.
            i: (B,), the item of each triplet among them.
            target_i: (B, d), the view of the item of each triplet.
        """
        aligned, count = _total(target_i, i, len(items)), i.bincount(minlength=len(items))  # (b, d), (b,)
        losses = []
        for content in self.content.values():
            h_m, has = content(items)  # (b, d), (b, 1)
            targets = aligned + _total(self._target(h_m, i), i, len(items))
            num = (count * has[:, 0]).sum()
            losses.append((2 * num - self._agreement(h_m, targets * has)) / num.clamp(min=1))
        return sum_of(losses)

    def _propagated(self, rows: Rows | None = None) -> Embeddings:
        """Returns h_u (U, d) and h_i (I, d); with `rows` these alone."""
        h, h_0 = lightgcn(self.graph, Embeddings(self.e_user, self.e_item), self.num_layers, rows)
        return Embeddings(h.user, h.item + h_0.item)

    def _target(self, h: Tensor, row: Tensor) -> Tensor:
        """Returns h. of length one, the view without a gradient: (n, d), (B,) -> (B, d)."""
        return _unit(F.dropout(select(widened(h), row), self.dropout, self.training))

    def _agreement(self, h: Tensor, targets: Tensor) -> Tensor:
        """Sums the cosines of h~ and targets: those of one row have the sum of the targets, (n, d), as their factor."""
        return (_unit(self.predictor(h)) * targets).sum()


class _Content(nn.Module):
    """Projected features of one modality."""

    def __init__(self, features: ItemFeatures, dim: int):
        super().__init__()
        self.f, self.project = features, affine(features.dim, dim)

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Returns h_m (b, d) of items (b,), and whether each item has the modality (b, 1)."""
        values, present = self.f.at(items)
        return self.project(values), present


def _unit(x: Tensor) -> Tensor:
    """Returns rows of length one, so that C(x, y) = 1 - x . y; 0 stays 0."""
    return F.normalize(x, eps=1e-8)  # as in torch's cosine_similarity


def _total(x: Tensor, row: Tensor, num_rows: int) -> Tensor:
    """Sums the vectors of each row, (B, d), (B,) -> (num_rows, d), without gradient."""
    return add_at(empty_like(x, num_rows, x.shape[1]).zero_(), row, x)
