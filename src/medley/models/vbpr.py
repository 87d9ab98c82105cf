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
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from medley.models.base import Count, Recommender, Weight
from medley.models.spaces import LR, Choice, Log, Space
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.nn.modalities import FeatureScale, ItemFeatures, item_features, sum_of
from medley.nn.propagation import Rows, distinct_rows, take_rows
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
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

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
        return self._joined(self._trained(), self._contents())

    def parts(self) -> dict[str, Embeddings]:
        """`id` and every modality, with the biases: user and item vectors (., d + 1)."""
        trained = self._trained()
        one = self.p.new_ones(self.num_users, 1)
        theta = torch.cat([trained.theta, one], dim=1)  # (U, d + 1)
        identity = Embeddings(torch.cat([trained.p, one], dim=1), torch.cat([trained.q, trained.beta], dim=1))
        return {"id": identity} | {m: Embeddings(theta, content) for m, content in self._contents().items()}

    def loss(self, batch: Triplets) -> Tensor:
        """BPR; L2 of the rows in the batch and of the content matrices."""
        rows, places = distinct_rows(batch)
        trained = self._trained(rows)
        penalised = Embeddings(
            torch.cat([trained.p, trained.theta], dim=1), torch.cat([trained.q, trained.beta], dim=1)
        )
        l2 = l2_of_batch(penalised, places) + l2_of_parameters([*self.E.parameters(), *self.beta_content.parameters()])
        return bpr_loss(self._joined(trained, self._contents(rows)), places) + self.reg * l2

    def _trained(self, rows: Rows | None = None) -> "_Trained":
        """Returns the vectors and biases of all users and items; with `rows` of these alone."""
        p, q = take_rows(Embeddings(self.p, self.q), rows)
        theta, beta = take_rows(Embeddings(self.theta, self.beta), rows)
        return _Trained(p, theta, q, beta)

    def _contents(self, rows: Rows | None = None) -> dict[str, Tensor]:
        """Returns modality -> E_m f_im and beta'_m . f_im, (I, d + 1); with `rows` of these items alone."""
        contents = {}
        for m, f in self.f.items():
            values, _ = cast(ItemFeatures, f).at(None if rows is None else rows.item)
            contents[m] = torch.cat([self.E[m](values), self.beta_content[m](values)], dim=1)
        return contents

    def _joined(self, trained: "_Trained", contents: Mapping[str, Tensor]) -> Embeddings:
        """Returns the vectors whose inner product is the score (eq. 4)."""
        one = trained.p.new_ones(len(trained.p), 1)
        user = torch.cat([trained.p, one, trained.theta, one], dim=1)
        return Embeddings(user, torch.cat([trained.q, trained.beta, sum_of(contents.values())], dim=1))


class _Trained(NamedTuple):
    """Vectors and biases of n users and k items."""

    p: Tensor  # (n, d)
    theta: Tensor  # (n, d)
    q: Tensor  # (k, d)
    beta: Tensor  # (k, 1)
