"""DisenGCN. Ma et al., "Disentangled Graph Convolutional Networks", ICML 2019,
https://proceedings.mlr.press/v97/ma19a.html.

A vector has K channels of d / K = channel_dim dimensions, one per reason why nodes may be joined. In a layer, for every
node v and channel k, v's neighbours w are assigned to channels by T rounds of neighbourhood routing (Algorithm 1):

    z_v,k = unit(sigma(W_k x_v + b_k)),  c_v,k = z_v,k
    p_vw,k = softmax_k(z_w,k . c_v,k / tau),  c_v,k <- unit(z_v,k + sum_{w in N_v} p_vw,k z_w,k)      T times
    y_v = c_v,1 || c_v,2 || ...,  dropout, next layer

For recommendation, as in the comparisons of HUIGN and EgoGCN: the graph joins users and items; the input of an item is
its concatenated features and (with use_id) its ID; the input of a user is the ID. So the first W x is a table for
users, and for items a table plus a linear layer. s_ui = y_u . y_i = sum_k c_u,k . c_i,k, a part per channel. Every part
is at most 1, so it takes many channels to separate good items well.

Shapes: U users, I items, d = dim, K channels, T = num_routings, R rows, C columns and n edges of a graph, B
triplets.
The paper leaves open: sigma (here LeakyReLU, as in the second of the authors' implementations: inner products should
have either sign), L2 (here of all parameters).
Differs from the paper: scores instead of classes, BPR; K is the same in all layers (there it may fall). An item that
lacks a modality has a learned vector in place of W_m f_im.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medley.errors import InputError
from medley.models.base import Count, Insight, Positive, Rate, Recommender, Weight
from medley.models.spaces import LR, Choice, Log, Space, Uniform, Whole
from medley.nn.edges import Pattern, edge_dot, edge_product
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_parameters
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.types import Embeddings, Inputs, Triplets

Channels = tuple[Tensor, ...]  # K x (nodes, d / K)
Pair = tuple[Channels, Channels]  # of users and of items


class DisenGCN(Recommender):
    """Graph convolution in channels: every neighbour is assigned to the channels that explain the interaction.

    Choose it when different kinds of interest should fall into separate channels that can be inspected.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-6, 1e-1),
        "num_layers": Whole(1, 3),
        "num_routings": Whole(1, 7),
        "tau": Log(1e-1, 10.0),
        "dropout": Uniform(0.0, 0.7),
        "channel_dim": Choice((4, 8, 16)),  # divides dim = 64
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        channel_dim: Annotated[int, Field(ge=2)] = 4,  # one number has no direction
        num_layers: Count = 1,
        num_routings: Count = 3,
        tau: Positive = 1.0,
        dropout: Rate = 0.0,
        use_id: bool = True,
        reg: Weight = 1e-5,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        if dim % channel_dim:
            raise InputError(
                "option 'channel_dim' of disengcn",
                expected=f"a divisor of dim ({dim})",
                got=channel_dim,
                remedy="change dim or channel_dim",
            )
        self.channel_dim, self.num_routings, self.tau = channel_dim, num_routings, tau
        self.dropout, self.reg = dropout, reg
        self.G = Pattern(inputs.train.csr())  # (U, I)
        self.user = xavier(self.num_users, dim)  # (U, d)
        self.item = xavier(self.num_items, dim) if use_id else None  # (I, d)
        self.content = Content(item_features(inputs, feature_scale), dim)
        self.b = nn.Parameter(torch.empty(dim).uniform_(-0.1, 0.1))  # not 0: a vector of length 0 has no direction
        self.W = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_layers - 1))  # of the layers after the first

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        _, (users, items) = self._last_layer()
        return Embeddings(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def parts(self) -> dict[str, Embeddings]:
        """`channel 1`, `channel 2`, ... -> user (U, d / K) and item (I, d / K) vectors."""
        _, channels = self._last_layer()
        return {f"channel {k}": Embeddings(*pair) for k, pair in enumerate(zip(*channels, strict=True), start=1)}

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of all parameters."""
        return bpr_loss(self(), batch) + self.reg * l2_of_parameters(self.parameters())

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """The mean assignment of the user's items to channels."""
        (_, z), (c, _) = self._last_layer()
        return [_insight(self.G, self._assigned(self.G, c, z), user)]

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """The mean assignment of the item's users to channels."""
        (z, _), (_, c) = self._last_layer()
        return [_insight(self.G.T, self._assigned(self.G.T, c, z), item)]

    def _last_layer(self) -> tuple[Pair, Pair]:
        """Returns z and c of users and items."""
        item = self.content() if self.item is None else self.item + self.content()
        z = self._channels(self.user + self.b), self._channels(item + self.b)
        c = self._route(self.G, *z), self._route(self.G.T, *z[::-1])
        for W in self.W:
            z = self._channels(W(torch.cat(c[0], dim=1))), self._channels(W(torch.cat(c[1], dim=1)))
            c = self._route(self.G, *z), self._route(self.G.T, *z[::-1])
        return z, c

    def _channels(self, x: Tensor) -> Channels:
        """Maps W x + b (nodes, d) to z, K x (nodes, d / K)."""
        return tuple(F.normalize(F.leaky_relu(channel)) for channel in x.split(self.channel_dim, dim=1))

    def _route(self, G: Pattern, z: Channels, neighbours: Channels) -> Channels:
        """Computes c of R nodes from z of these nodes and of their C neighbours."""
        c = z
        for _ in range(self.num_routings):
            p = self._assigned(G, c, neighbours)
            sums = [edge_product(G, p_k, z_k) for p_k, z_k in zip(p, neighbours, strict=True)]
            c = tuple(F.normalize(own + other) for own, other in zip(z, sums, strict=True))
        return tuple(F.dropout(channel, self.dropout, self.training) for channel in c)

    def _assigned(self, G: Pattern, c: Channels, neighbours: Channels) -> Tensor:
        """Returns p (K, n), the assignment of each neighbour to channels."""
        fit = torch.stack([edge_dot(G, c_k, z_k) for c_k, z_k in zip(c, neighbours, strict=True)])
        return (fit / self.tau).softmax(dim=0)


def _insight(G: Pattern, p: Tensor, row: int) -> Insight:
    near = p[:, int(G.by_row.start[row]) : int(G.by_row.start[row + 1])]
    share = near.sum(dim=1) / max(1, near.shape[1])  # (K,)
    return Insight.numbered("channels", "channel", share)
