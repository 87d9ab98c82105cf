"""VBPR. He & McAuley, "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", AAAI 2016,
https://arxiv.org/abs/1510.01784.

    s_ui = beta_i + p_u . q_i + theta_u . (E f_i) + beta' . f_i                                            (eq. 4)

f_i is the concatenation of all modalities, so E f_i = sum_m E_m f_im and every modality has its own part of the score:

    part_id = beta_i + p_u . q_i        part_m = theta_u . (E_m f_im) + beta'_m . f_im

An item that lacks modality m has no part_m. The global offset and the user bias of the paper cancel in BPR.

Shapes: U users, I items, d = dim (of p, q and of theta), d_m raw dimension, B triplets.
Differs from the paper: any number of modalities instead of one; one `reg` for all parameters (the paper has three).
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from medley.models.base import Count, Recommender, Weight
from medley.models.spaces import LR, Choice, Log, Space
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.nn.modalities import FeatureScale, item_features
from medley.types import Embeddings, Inputs, Triplets


class VBPR(Recommender):
    """Matrix factorisation plus an inner product of users with linearly mapped item features.

    Choose it when a linear map of the features is enough and every score must split into ID and modalities.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-4, 1.0),  # as of mf
        "feature_scale": Choice(("l2", "standard", "none")),  # docs/results/feature-scale.md
    }

    def __init__(self, inputs: Inputs, *, dim: Count = 64, reg: Weight = 1e-2, feature_scale: FeatureScale = "l2"):
        super().__init__(inputs)
        self.reg = reg
        features = item_features(inputs, feature_scale)
        self.f = nn.ModuleDict(features)  # m -> (I, d_m)
        self.p = xavier(self.num_users, dim)  # (U, d)
        self.q = xavier(self.num_items, dim)  # (I, d)
        self.beta = nn.Parameter(torch.zeros(self.num_items, 1))  # (I, 1)
        self.theta = xavier(self.num_users, dim)  # (U, d)
        self.E = nn.ModuleDict({m: linear(f.dim, dim) for m, f in features.items()})
        self.beta_content = nn.ModuleDict({m: linear(f.dim, 1) for m, f in features.items()})  # beta'

    def forward(self) -> Embeddings:
        """User (U, 2d + 2) and item (I, 2d + 2) vectors: ID and bias, then content and its bias."""
        identity, *contents = self.parts().values()
        content = torch.stack([part.item for part in contents]).sum(dim=0)  # E f, beta' . f
        return Embeddings(
            torch.cat([identity.user, contents[0].user], dim=1), torch.cat([identity.item, content], dim=1)
        )

    def parts(self) -> dict[str, Embeddings]:
        """`id` and every modality, with the biases: user and item vectors (., d + 1)."""
        one = self.p.new_ones(self.num_users, 1)
        parts = {"id": Embeddings(torch.cat([self.p, one], dim=1), torch.cat([self.q, self.beta], dim=1))}
        theta = torch.cat([self.theta, one], dim=1)  # (U, d + 1)
        for m, f in self.f.items():
            content = torch.cat([self.E[m](f.values), self.beta_content[m](f.values)], dim=1)  # (I, d + 1)
            parts[m] = Embeddings(theta, content)
        return parts

    def loss(self, batch: Triplets) -> Tensor:
        """BPR; L2 of the rows in the batch and of the content matrices."""
        matrices = [*self.E.parameters(), *self.beta_content.parameters()]
        rows = Embeddings(torch.cat([self.p, self.theta], dim=1), torch.cat([self.q, self.beta], dim=1))
        return bpr_loss(self(), batch) + self.reg * (l2_of_batch(rows, batch) + l2_of_parameters(matrices))
