"""CB2CF. Barkan et al., "CB2CF: A Neural Multiview Content-to-Collaborative Filtering Model for Completely Cold Item
Recommendations", RecSys 2019, https://arxiv.org/abs/1611.00384.

    p, q minimise BPR on p_u . q_i                        collaborative vectors, without content
    phi minimises mean_i |phi(f_i) - q_i|^2               over the items that have interactions, q held fixed
    phi(f) = W2 relu(W1 f + b1) + b2
    s_ui = p_u . phi(f_i)

f_i is the concatenation of all modalities. Items are scored by content alone, so new items are scored like all others.

Shapes: U users, I items, d = dim, h = hidden_dim, d_m raw dimension of modality m, B triplets.
Differs from the paper: both stages run side by side, as one loss. Neither stage has a gradient from the other (q is
detached in the second), so both problems stay the same, but phi follows q while q still changes, and training ends when
s_ui no longer improves. The collaborative vectors come from BPR, and phi is one MLP on given features (there a
network per view, for text, tags and numbers, joined by another network). Where an item lacks m, a learned vector stands
in for W1_m f_im.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models.base import Count, Recommender, Weight
from medley.models.spaces import LR, Log, Space
from medley.nn.init import affine, xavier
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.types import Embeddings, Inputs, Triplets


class CB2CF(Recommender):
    """Matrix factorisation, and an MLP that predicts its item vectors from features; the predictions make the score.

    Choose it when new items must be placed among vectors that were learned from interactions.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-4, 1.0),  # as of mf, whose vectors are the targets
        "reg_content": Log(1e-6, 1e-2),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 3e-3}  # docs/results/defaults.md

    warm: Tensor  # (I,) bool, items with interactions

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        hidden_dim: Count = 128,
        reg: Weight = 1e-2,
        reg_content: Weight = 1e-4,
        feature_scale: FeatureScale = "standard",
    ):
        super().__init__(inputs)
        self.reg, self.reg_content = reg, reg_content
        self.p = xavier(self.num_users, dim)  # (U, d)
        self.q = xavier(self.num_items, dim)  # (I, d)
        self.W1 = Content(item_features(inputs, feature_scale), hidden_dim, bias=True)
        self.W2 = affine(hidden_dim, dim)
        self.register_buffer("warm", torch.from_numpy(inputs.train.users_per_item() > 0), persistent=False)

    def forward(self) -> Embeddings:
        """User (U, d) and mapped item (I, d) vectors."""
        return Embeddings(self.p, self.W2(F.relu(self.W1())))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the rows in the batch; mean squared distance of phi from q, and L2 of phi."""
        collaborative = Embeddings(self.p, self.q)
        distance = (self().item - self.q.detach()).square().sum(dim=1)[self.warm].mean()
        phi = l2_of_parameters([*self.W1.parameters(), *self.W2.parameters()])
        first = bpr_loss(collaborative, batch) + self.reg * l2_of_batch(collaborative, batch)
        return first + distance + self.reg_content * phi
