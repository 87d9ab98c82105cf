"""GraphSAGE. Hamilton, Ying & Leskovec, "Inductive Representation Learning on Large Graphs", NIPS 2017,
https://arxiv.org/abs/1706.02216.

Algorithm 1 on the interaction graph: for k = 1..K and every node v, user or item,

    n_v = mean_{w in N_v} h_w                         aggregation = "mean"                            (line 4)
    n_v = max_{w in N_v} ReLU(W_pool h_w + b)         aggregation = "max", per dimension                (eq. 3)
    h_v <- ReLU(W (h_v || n_v))                       without ReLU for k = K                          (line 5)
    h_v <- h_v / |h_v|                                normalise = True                                (line 7)

h_v is at first a learned vector for a user and a linear map of all features for an item; n_v is 0 where v has no
neighbour. s_ui = h_u . h_i.

Shapes: U users, I items, d = dim, K = num_layers, B triplets.
The paper leaves open: nodes without features, as users are.
Differs from the paper: all neighbours, not a sample; BPR instead of a loss on random walks; no ReLU in the last layer,
like the authors' code, for otherwise no score could be negative. Line 7 is in every layer, as printed (in the authors'
code only after the last).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.models.base import Count, Recommender, Weight
from medley.models.spaces import LR, REG, Choice, Space, Whole
from medley.nn.edges import Pattern, neighbour_max
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.propagation import Rows, distinct_rows, take_rows
from medley.types import Embeddings, Inputs, Interactions, Triplets


class GraphSAGE(Recommender):
    """Every node combines its own vector with the mean, or the maximum, of its neighbours' vectors.

    Choose it when new items must be scored by their features through a learned aggregation.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "num_layers": Whole(1, 3),  # Sec. 4: two
        "aggregation": Choice(("mean", "max")),  # Table 1
        "normalise": Choice((True, False)),  # line 7 of Algorithm 1
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Count = 2,  # Sec. 4: two
        aggregation: Literal["mean", "max"] = "mean",
        normalise: bool = True,
        reg: Weight = 1e-4,  # docs/results/defaults.md
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.normalise, self.reg = normalise, reg
        self.user = xavier(self.num_users, dim)  # (U, d)
        self.content = Content(item_features(inputs, feature_scale), dim)  # -> (I, d)
        self.neighbours = _Mean(inputs.train) if aggregation == "mean" else _Max(inputs.train)
        num_pools = num_layers if aggregation == "max" else 0
        self.W_pool = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_pools))
        self.W = nn.ModuleList(linear(2 * dim, dim) for _ in range(num_layers))

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        return self._layers(self._inputs())

    def loss(self, batch: Triplets) -> Tensor:
        """BPR; L2 of the layer-0 rows in the batch, and of the matrices."""
        h, (rows, places) = self._inputs(), distinct_rows(batch)
        l2 = l2_of_batch(h, batch) + l2_of_parameters([*self.W.parameters(), *self.W_pool.parameters()])
        return bpr_loss(self._layers(h, rows), places) + self.reg * l2

    def _inputs(self) -> Embeddings:
        return Embeddings(self.user, self.content())

    def _layers(self, h: Embeddings, rows: Rows | None = None) -> Embeddings:
        """Returns the last layer; with `rows` of these users and items alone."""
        last = len(self.W) - 1
        for k, W in enumerate(self.W):
            sent = Embeddings(*(F.relu(self.W_pool[k](x)) for x in h)) if self.W_pool else h
            n = self.neighbours(*sent)  # line 4 or eq. 3
            if k == last:  # the other rows are not needed
                h, n = take_rows(h, rows), take_rows(n, rows)
            h = Embeddings(*(W(torch.cat(pair, dim=1)) for pair in zip(h, n, strict=True)))  # line 5
            h = h if k == last else Embeddings(*map(F.relu, h))
            h = Embeddings(*map(F.normalize, h)) if self.normalise else h  # line 7
        return h


class _Mean(nn.Module):
    """Averages the items of each user and the users of each item (line 4)."""

    def __init__(self, train: Interactions):
        super().__init__()
        self.graph = graphs.mean_over_neighbours(train)

    def forward(self, user: Tensor, item: Tensor) -> Embeddings:
        return Embeddings(self.graph.users_from_items @ item, self.graph.items_from_users @ user)


class _Max(nn.Module):
    """Takes the maximum per dimension over the items of each user and the users of each item (eq. 3 without W_pool)."""

    def __init__(self, train: Interactions):
        super().__init__()
        self.items_of_users = Pattern(train.csr())
        self.users_of_items = self.items_of_users.T

    def forward(self, user: Tensor, item: Tensor) -> Embeddings:
        return Embeddings(neighbour_max(self.items_of_users, item), neighbour_max(self.users_of_items, user))
