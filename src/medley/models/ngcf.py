"""NGCF. Wang, He, Wang, Feng & Chua, "Neural Graph Collaborative Filtering", SIGIR 2019,
https://arxiv.org/abs/1905.08108.

For l = 1..L, for users and with u and i exchanged for items, p_ui = 1 / sqrt(|N_u| |N_i|), all e of layer l - 1:

    m_ui = p_ui (W1 e_i + W2 (e_i * e_u))        m_uu = W1 e_u                                        (eq. 6)
    e_u <- LeakyReLU(m_uu + sum_{i in N_u} m_ui)                                                      (eq. 5)
    e*_u = e_u^(0) || ... || e_u^(L)                                                                  (eq. 9)
    s_ui = e*_u . e*_i                                                                               (eq. 10)

The sum is W1 h + W2 (h * e_u) with h = sum_i p_ui e_i: one sparse product. Message dropout leaves out each m_ui with
probability `dropout` while training, the two directions of an edge and the layers each for themselves. All features of
an item are side information: e_i^(0) = q_i + W f_i.

Shapes: U users, I items, n interactions, d = dim, L = num_layers, B triplets.
The paper leaves open: the slope of LeakyReLU (here 0.2, TensorFlow's and so the authors'); features.
Differs from the authors' code, where each of the two terms has a bias and a LeakyReLU of its own; where both terms
aggregate with D^-1 (A + I), a mean over the neighbours and the node itself, and not with p_ui; where dropout applies to
numbers of the new vectors and not to messages; where layers 1..L are scaled to length one in e* (not between layers),
and L2 is of e*.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.models.base import Count, Layers, Rate, Recommender, Weight
from medley.models.spaces import LR, REG, Space, Uniform, Whole
from medley.nn.edges import Pattern, edge_product
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.propagation import Rows, distinct_rows, take_rows
from medley.types import Embeddings, Inputs, Triplets


class NGCF(Recommender):
    """Graph convolution whose messages depend on the similarity of the two ends of an edge.

    Choose it for comparison with LightGCN, its leaner successor; features enter as side information.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,  # Sec. 4.2.3
        "reg": REG,  # Sec. 4.2.3 goes on to 100
        "num_layers": Whole(1, 4),  # Table 3
        "dropout": Uniform(0.0, 0.8),  # Sec. 4.2.3
    }

    p: Tensor  # (n,)

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 3,  # Sec. 4: three
        dropout: Rate = 0.1,
        reg: Weight = 1e-3,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.dropout, self.reg = dropout, reg
        self.items_of_users = Pattern(inputs.train.csr())
        self.users_of_items = self.items_of_users.T
        self.register_buffer("p", graphs.symmetric(inputs.train).by_row.value, persistent=False)
        self.user = xavier(self.num_users, dim)  # (U, d)
        self.item = xavier(self.num_items, dim)  # (I, d), q
        self.content = Content(item_features(inputs, feature_scale), dim)  # -> (I, d)
        self.W1 = nn.ModuleList(linear(dim, dim) for _ in range(num_layers))
        self.W2 = nn.ModuleList(linear(dim, dim) for _ in range(num_layers))

    def forward(self) -> Embeddings:
        """User (U, (L + 1) d) and item (I, (L + 1) d) vectors."""
        return self._layers(self._inputs())

    def loss(self, batch: Triplets) -> Tensor:
        """BPR; L2 of the layer-0 rows in the batch, and of the matrices (eq. 11)."""
        rows, places = distinct_rows(batch)
        vectors = self._layers(self._inputs(), rows)
        e = Embeddings(*(x[:, : self.user.shape[1]] for x in vectors))
        l2 = l2_of_batch(e, places) + l2_of_parameters([*self.W1.parameters(), *self.W2.parameters()])
        return bpr_loss(vectors, places) + self.reg * l2

    def _inputs(self) -> Embeddings:
        return Embeddings(self.user, self.item + self.content())

    def _layers(self, e: Embeddings, rows: Rows | None = None) -> Embeddings:
        """Returns all layers side by side; with `rows` of these users and items alone."""
        layers, last = [take_rows(e, rows)], len(self.W1) - 1
        p_user, p_item = self.p, self.items_of_users.transposed(self.p)
        for k, (W1, W2) in enumerate(zip(self.W1, self.W2, strict=True)):
            h_user = edge_product(self.items_of_users, self._dropped(p_user), e.item)
            h_item = edge_product(self.users_of_items, self._dropped(p_item), e.user)
            h = Embeddings(h_user, h_item)
            if k == last:  # the other rows are not needed
                e, h = layers[-1], take_rows(h, rows)
            e = Embeddings(
                *(F.leaky_relu(W1(x + h_x) + W2(h_x * x), 0.2) for x, h_x in zip(e, h, strict=True))
            )  # eq. 5, 6
            layers.append(e if k == last else take_rows(e, rows))
        return Embeddings(*(torch.cat(side, dim=1) for side in zip(*layers, strict=True)))  # eq. 9

    def _dropped(self, p: Tensor) -> Tensor:
        """p (n,), with dropout while training."""
        return F.dropout(p, self.dropout, self.training)
