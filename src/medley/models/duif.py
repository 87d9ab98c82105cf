"""DUIF. Geng et al., "Learning Image and User Features for Recommendation in Social Networks", ICCV 2015,
https://doi.org/10.1109/ICCV.2015.486.

    s_ui = p_u . phi(f_i)      phi(f) = W2 relu(W1 f + b1)

f_i is the concatenation of all modalities. Items have no ID vector, so new items are scored like all others.

Shapes: U users, I items, d = dim, h = hidden_dim, d_m raw dimension of modality m, B triplets.
Differs from the paper: features are given (there a convolutional network is learned with the users); phi is an MLP and
the objective is BPR, as in the papers that compare with DUIF; a bias of phi's second layer would cancel in BPR. Where
an item lacks m, a learned vector stands in for W1_m f_im.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from medley.models.base import Count, Recommender, Weight
from medley.models.spaces import LR, REG, Choice, Space
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.propagation import Rows, distinct_rows, take
from medley.types import Embeddings, Inputs, Triplets


class DUIF(Recommender):
    """User vectors in a space that item features are mapped to; items have no ID vector.

    Choose it when features alone must decide, so that new items compete with known ones; else it ranks far behind.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "feature_scale": Choice(("standard", "l2", "none")),  # docs/results/feature-scale.md
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 2e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        hidden_dim: Count = 128,
        reg: Weight = 1e-2,
        feature_scale: FeatureScale = "standard",
    ):
        super().__init__(inputs)
        self.reg = reg
        self.p = xavier(self.num_users, dim)  # (U, d)
        self.W1 = Content(item_features(inputs, feature_scale), hidden_dim, bias=True)
        self.W2 = linear(hidden_dim, dim)

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, d) and item (I, d) vectors; with `rows` these alone."""
        p, item = (self.p, None) if rows is None else (take(self.p, rows.user), rows.item)
        return Embeddings(p, self.W2(nn.functional.relu(self.W1(item))))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the vectors of the batch."""
        rows, places = distinct_rows(batch)
        vectors = self(rows)
        return bpr_loss(vectors, places) + self.reg * l2_of_batch(vectors, places)
