"""A model that keeps the contract, and changed ones. Trained models cite a paper: this one cites https://example.org."""

import torch
from torch import nn

from medley.models import Recommender
from medley.models.base import Count, Layers
from medley.nn.losses import bpr_loss
from medley.types import Embeddings


class Good(Recommender):
    """Matrix factorisation.

    Choose it to try the checks.
    """

    def __init__(self, inputs, *, dim: Count = 8, num_layers: Layers = 0):
        super().__init__(inputs)
        self.p = nn.Parameter(torch.randn(self.num_users, dim) / 10)
        self.q = nn.Parameter(torch.randn(self.num_items, dim) / 10)

    def forward(self):
        return Embeddings(self.p, self.q)

    def loss(self, batch):
        return bpr_loss(self(), batch)


def like_good(**methods) -> type[Good]:
    """Returns a class that differs from `Good` in the given methods."""
    doc = "Matrix factorisation, changed.\n\nChoose it to try the checks."
    return type("Changed", (Good,), {"__doc__": doc, "__module__": __name__, **methods})
