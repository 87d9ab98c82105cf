"""MF with BPR. Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009,
https://arxiv.org/abs/1205.2618.

    s_ui = p_u . q_i

Shapes: U users, I items, d = dim, B triplets.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from medley.models.base import Count, Recommender, Weight
from medley.models.spaces import LR, Log, Space
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.types import Embeddings, Inputs, Triplets


class MF(Recommender):
    """Matrix factorisation: one vector per user and one per item, nothing else.

    Choose it as the plain baseline of collaborative filtering: it is small and fast, and cannot score new items.
    """

    reads_features = False
    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-4, 1.0),  # beside a mean over triplets: more than the papers, whose losses are sums
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(self, inputs: Inputs, *, dim: Count = 64, reg: Weight = 1e-2):
        super().__init__(inputs)
        self.reg = reg
        self.p = xavier(self.num_users, dim)  # (U, d)
        self.q = xavier(self.num_items, dim)  # (I, d)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        return Embeddings(self.p, self.q)

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the rows in the batch."""
        return bpr_loss(self(), batch) + self.reg * l2_of_batch(self(), batch)
