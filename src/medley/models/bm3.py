"""BM3. Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation", WWW 2023,
https://arxiv.org/abs/2207.05969.

IDs travel as in LightGCN, R^ = D_u^-1/2 R D_i^-1/2; items keep their own ID besides; features are projected:

    h_u = mean_l h_u(l)      h_i = mean_l h_i(l) + h_i(0)      l = 0..L      h_m = W_m f_m + b_m

One linear predictor makes a view h~ = W h + b of each, dropout another, h., which is taken as given: no gradient goes
through it. With the distance C(x, y) = 1 - cos(x, y), for an interaction (u, i), without any negative:

    rec = C(h~_u, h._i) + C(h~_i, h._u)                        IDs, users and items
    align_m = C(h~_m, h._i)                                    features and IDs of the item
    mask_m = C(h~_m, h._m)                                     features and themselves
    loss = rec + content_weight sum_m (align_m + mask_m) + reg (|h_u|^2 + |h_i|^2) / 2      mean over the batch

    s_ui = h~_u . h~_i

Features enter no score: all they do is to train the predictor that makes the views of users and items.

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, L = num_layers, B triplets, whose negatives are not
read.
The paper leaves open: an item that lacks m (here: no align_m, no mask_m; the mean is over those that have it).
Differs from the authors' code: raw features are fixed (there they are trained too); reg weighs the squared norms of the
rows of the batch (there the norms, not squared, of the whole matrices over the number of items). content_weight is that
code's.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Recommender, at_least
from medley.nn.init import affine, xavier
from medley.nn.modalities import FeatureScale, ItemFeatures, item_features
from medley.nn.propagation import Rows, distinct_rows, propagate_rows
from medley.types import Embeddings, Inputs, Triplets


class BM3(Recommender):
    """LightGCN that learns from positives alone: two views of users, items and features are to agree.

    Choose it when negatives cannot be trusted or drawn: it learns from positives alone.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: int = 64,
        num_layers: int = 2,  # the authors' settings: 1, 2
        dropout: float = 0.3,  # the authors' settings: 0.3, 0.5
        content_weight: float = 2.0,  # the authors' code
        reg: float = 1e-2,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        at_least(0, "bm3", num_layers=num_layers)
        if not 0 <= dropout < 1:
            raise InputError("dropout of bm3", expected="0 or more and less than 1", got=dropout)
        self.num_layers, self.dropout, self.content_weight, self.reg = num_layers, dropout, content_weight, reg
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        self.predictor = affine(dim, dim)
        features = item_features(inputs, feature_scale) if content_weight else {}
        self.content = nn.ModuleDict({m: _Content(f, dim) for m, f in features.items()})

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors h~."""
        user, item = self._travelled()
        return Embeddings(self.predictor(user), self.predictor(item))

    def loss(self, batch: Triplets) -> Tensor:
        """Distances of the two views, and L2 of h."""
        rows, places = distinct_rows(batch._replace(neg=batch.neg[:0]))  # it needs no negatives
        h = self._travelled(rows)
        h_u, h_i = h.user.index_select(0, places.user), h.item.index_select(0, places.pos)  # (B, d)
        view_u, view_i = self._dropped(h_u), self._dropped(h_i)
        loss = (_distance(self.predictor(h_u), view_i) + _distance(self.predictor(h_i), view_u)).mean()
        for content in self.content.values():
            h_m, has = content(batch.pos)  # (B, d), (B,)
            predicted = self.predictor(h_m)
            distance = _distance(predicted, view_i) + _distance(predicted, self._dropped(h_m))
            loss = loss + self.content_weight * (distance * has).sum() / has.sum().clamp(min=1)
        return loss + self.reg * (h_u.square().sum() + h_i.square().sum()) / (2 * len(batch.user))

    def _travelled(self, rows: Rows | None = None) -> Embeddings:
        """h_u and h_i of all or of some users and items, (n, d)."""
        e, L = Embeddings(self.e_user, self.e_item), self.num_layers
        x, e = propagate_rows(self.graph, e, [1 / (L + 1)] * (L + 1), rows)
        return Embeddings(x.user, x.item + e.item)

    def _dropped(self, h: Tensor) -> Tensor:
        """The view that is taken as given."""
        return F.dropout(h.detach(), self.dropout, self.training)


class _Content(nn.Module):
    """Projected features of one modality."""

    def __init__(self, features: ItemFeatures, dim: int):
        super().__init__()
        self.f, self.project = features, affine(features.dim, dim)

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Items (B,) -> h_m (B, d), and which of them have the modality (B,)."""
        return self.project(self.f.values[items]), self.f.present[items, 0]


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """1 - cos of the rows, (B, d), (B, d) -> (B,)."""
    return 1 - F.cosine_similarity(x, y, dim=1)
