"""GAT. Veličković, Cucurull, Casanova, Romero, Liò & Bengio, "Graph Attention Networks", ICLR 2018,
https://arxiv.org/abs/1710.10903.

For every layer, on the interaction graph with every node v, user or item, a neighbour of itself:

    e_vw = LeakyReLU(a . (W h_v || W h_w))        alpha_vw = softmax over w in N_v of e_vw          (eq. 1-3)
    h_v <- ||_k ELU(sum_{w in N_v} alpha^k_vw W^k h_w)        K heads, side by side                (eq. 4, 5)
    h_v <- (1/K) sum_k sum_{w in N_v} alpha^k_vw W^k h_w      the last layer                          (eq. 6)

h_v is at first a learned vector for a user and a linear map of all features for an item; s_ui = h_u . h_i. With
a = (a1 || a2), e_vw needs a1 . W h_v and a2 . W h_w alone: two numbers per node.

Shapes: U users, I items, N = U + I, n edges including self-loops, d = dim, K = num_heads, B triplets.
The paper leaves open: nodes without features, as users are.
Differs from the paper: BPR; no softmax or sigmoid after the last layer; `dropout` (of the layers' inputs and of alpha,
Sec. 3.3) is 0.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.errors import InputError
from medley.models.base import Count, Insight, Rate, Recommender, Weight
from medley.models.spaces import LR, REG, Choice, Space, Uniform, Whole
from medley.nn.edges import Pattern, edge_dot, edge_product, edge_softmax
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.types import Embeddings, Inputs, Interactions, Triplets


class GAT(Recommender):
    """Every node weighs itself and its neighbours by attention, with several heads.

    Choose it when the importance of each neighbour must be learned and shown per edge.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "num_layers": Whole(1, 3),  # Sec. 3.3: two
        "num_heads": Choice((1, 2, 4, 8)),  # Sec. 3.3: 8, 4
        "dropout": Uniform(0.0, 0.6),  # Sec. 3.3: 0.6
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Count = 2,  # Sec. 3.3: two
        num_heads: Count = 4,
        dropout: Rate = 0.0,
        reg: Weight = 1e-5,  # docs/results/defaults.md
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        if dim % num_heads:
            raise InputError(
                "option 'dim' of gat",
                expected=f"a multiple of num_heads ({num_heads})",
                got=dim,
                remedy="change dim or num_heads",
            )
        self.reg = reg
        self.edges = Pattern(_with_self_loops(inputs.train))  # (N, N)
        self.user = xavier(self.num_users, dim)  # (U, d)
        self.content = Content(item_features(inputs, feature_scale), dim)  # -> (I, d)
        dims = [dim // num_heads] * (num_layers - 1) + [dim]  # of a head
        self.layers = nn.ModuleList(_Layer(dim, dim_head, num_heads, dropout) for dim_head in dims)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        return self._layers(self._inputs())[0]

    def loss(self, batch: Triplets) -> Tensor:
        """BPR; L2 of the layer-0 rows in the batch, and of the parameters of the layers."""
        h = self._inputs()
        l2 = l2_of_batch(h, batch) + l2_of_parameters(self.layers.parameters())
        return bpr_loss(self._layers(h)[0], batch) + self.reg * l2

    def about_user(self, user: int) -> list[Insight]:
        """The last layer's attention to the user's items, mean over the heads; the rest is attention to the user."""
        with torch.no_grad():
            alpha = torch.stack(self._layers(self._inputs())[1]).mean(dim=0)  # (n,)
        nodes, weights = self.edges.by_row.weighted(alpha).entries(user)
        items, weights = nodes[nodes != user] - self.num_users, weights[nodes != user]
        return [Insight.ranked("attention to earlier items", items, weights, kind="items")] if len(items) else []

    def _inputs(self) -> Embeddings:
        return Embeddings(self.user, self.content())

    def _layers(self, inputs: Embeddings) -> tuple[Embeddings, list[Tensor]]:
        """Final vectors, and alpha (n,) of every head in the last layer."""
        h = torch.cat(inputs)  # (N, d)
        *hidden, last = self.layers
        for layer in hidden:
            h = F.elu(torch.cat(layer(self.edges, h)[0], dim=1))  # eq. 5
        heads, alphas = last(self.edges, h)
        user, item = torch.stack(heads).mean(dim=0).split([self.num_users, self.num_items])  # eq. 6
        return Embeddings(user, item), alphas


class _Layer(nn.Module):
    """Attention with K heads: (N, d) -> K x (N, dim_head), and alpha, K x (n,)."""

    def __init__(self, dim: int, dim_head: int, num_heads: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.W = nn.ModuleList(linear(dim, dim_head) for _ in range(num_heads))
        self.a = nn.ParameterList(xavier(2, dim_head) for _ in range(num_heads))  # a1, a2

    def forward(self, edges: Pattern, h: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        h = F.dropout(h, self.dropout, self.training)
        heads, alphas = [], []
        for W, a in zip(self.W, self.a, strict=True):
            Wh = W(h)  # (N, dim_head)
            of_v, of_w = (Wh @ a.T).split(1, dim=1)  # (N, 1) each
            one = torch.ones_like(of_v)
            e = edge_dot(edges, torch.cat([of_v, one], dim=1), torch.cat([one, of_w], dim=1))  # of_v + of_w
            alpha = edge_softmax(edges, F.leaky_relu(e, 0.2))  # eq. 3
            heads.append(edge_product(edges, F.dropout(alpha, self.dropout, self.training), Wh))  # eq. 4
            alphas.append(alpha)
        return heads, alphas


def _with_self_loops(train: Interactions) -> sp.csr_array:
    """Users and items in one graph with self-loops, (N, N)."""
    R = train.csr()
    users, items = sp.eye_array(train.num_users), sp.eye_array(train.num_items)
    return sp.csr_array(sp.block_array([[users, R], [R.T, items]]))
