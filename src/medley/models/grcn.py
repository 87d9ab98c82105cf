"""GRCN. Wei et al., "Graph-Refined Convolutional Network for Multimedia Recommendation with Implicit Feedback",
MM 2020, https://doi.org/10.1145/3394171.3413556.

Not every interaction means that the item was liked. Per modality m, a user is a prototype of the items seen, found by
T = num_routings rounds of routing; the edge to an item weighs as much as the item fits the prototype:

    i_m = unit(LeakyReLU(W_m f_im + b_m)),  u_m = unit of a trained vector
    u_m <- unit(u_m + sum_{i in N_u} softmax_{i in N_u}(u_m . i_m) i_m)                          T times
    s_ui,m = softmax_{i in N_u}(u_m . i_m),  s_iu,m = softmax_{u in N_i}(u_m . i_m)              affinities
    w_ui = relu(max_m c_im s_ui,m),  w_iu = relu(max_m c_um s_iu,m)                              soft pruning

c_im and c_um are learned confidences in the modalities of the source node; `edge_weight` = "max" and "mean" have none.
IDs are propagated L = num_layers times on the refined graph, contents once with their affinities:

    e_u(l+1) = sum_{i in N_u} w_ui e_i(l),  e_u = sum_{l = 0..L} e_u(l);  items alike             graph convolution
    u~_m = u_m + sum_{i in N_u} s_ui,m i_m,  i~_m = i_m + sum_{u in N_i} s_iu,m u_m
    s_ui = (e_u || u~_1 || u~_2 ...) . (e_i || i~_1 || i~_2 ...) = e_u . e_i + sum_m u~_m . i~_m  prediction

With `fusion` = "id", s_ui = e_u . e_i: contents only refine the graph, which is better where features carry little.

Shapes: U users, I items, M modalities, d = dim, n edges, B triplets.
The paper leaves open: the L2 term (here, as in the authors' code, of the trained vectors of the batch, c excepted), the
length of e(0) (`unit_id`: one, as in the authors' code), an item that lacks m (here: it is in no neighbourhood of
modality m, and has no part m of the score).
Differs from the authors' code: c starts at 1 (there near 0 with either sign, so that relu cuts some edges for good
before training starts); any number of ID layers (there two); routing changes the users. There the edges of the routing
run from users to items alone, so the sum over N_u is 0, u_m stays as it was, and T = 3 computes T = 0 (`num_routings` =
0): the published figures are of T = 0. MMRec's copy does the same.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.base import Count, Insight, Layers, Recommender, Weight
from medley.models.spaces import LR, REG, Choice, Space, Whole
from medley.nn.edges import Pattern, edge_dot, edge_product, edge_softmax
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_batch, squared_rows
from medley.nn.modalities import FeatureScale, ItemFeatures, by_name, item_features
from medley.types import Embeddings, Inputs, Triplets

EdgeWeight = Literal["confidence", "max", "mean"]
Fusion = Literal["concat", "id"]

NEVER = -1e4  # a score whose softmax is 0 beside any score of unit vectors


class GRCN(Recommender):
    """Graph convolution on interactions weighted by how well the contents of user and item fit.

    Choose it when accidental clicks should lose weight: content and preference refine the graph's edges.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "num_layers": Whole(1, 3),
        "num_routings": Whole(0, 4),  # 0: what the authors' code computes
        "edge_weight": Choice(("confidence", "max", "mean")),
        "fusion": Choice(("concat", "id")),
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 2,
        num_routings: Layers = 3,
        edge_weight: EdgeWeight = "confidence",
        fusion: Fusion = "concat",
        unit_id: bool = True,
        reg: Weight = 1e-3,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.num_layers, self.edge_weight, self.fusion = num_layers, edge_weight, fusion
        self.unit_id, self.reg = unit_id, reg
        self.G = Pattern(inputs.train.csr())  # (U, I)
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        features = item_features(inputs, feature_scale)
        prototypes = {m: _Prototypes(self.G, f, self.num_users, dim, num_routings) for m, f in features.items()}
        self.prototypes = by_name(prototypes)
        learned, M = edge_weight == "confidence", len(features)
        self.c_user = nn.Parameter(torch.ones(self.num_users, M)) if learned else None  # (U, M)
        self.c_item = nn.Parameter(torch.ones(self.num_items, M)) if learned else None  # (I, M)

    def parts(self) -> dict[str, Embeddings]:
        """`id` -> e_u and e_i; modality -> u~_m and i~_m, with fusion = "concat"."""
        contents, affinities = {}, []
        for m, prototypes in self.prototypes.items():
            contents[m], s = prototypes(self.G)
            affinities.append(s)
        w_user, w_item = self._refined(affinities)
        w_item = self.G.transposed(w_item)
        e = Embeddings(self.e_user, self.e_item)
        if self.unit_id:
            e = Embeddings(F.normalize(e.user), F.normalize(e.item))
        total = e
        for _ in range(self.num_layers):
            e = Embeddings(edge_product(self.G, w_user, e.item), edge_product(self.G.T, w_item, e.user))
            total = Embeddings(total.user + e.user, total.item + e.item)
        return {"id": total, **contents} if self.fusion == "concat" else {"id": total}

    def forward(self) -> Embeddings:
        """User (U, (1 + M) d) and item (I, (1 + M) d) vectors; (U, d) and (I, d) with fusion = "id"."""
        users, items = zip(*self.parts().values(), strict=True)
        return Embeddings(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the trained vectors of the batch."""
        l2 = l2_of_batch(Embeddings(self.e_user, self.e_item), batch)
        for prototypes in self.prototypes.values():
            l2 = l2 + squared_rows(prototypes.user, batch.user) / (2 * len(batch.user))
        return bpr_loss(self(), batch) + self.reg * l2

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """The weight w_ui of each item that the user has seen."""
        weight, _ = self._refined([prototypes(self.G)[1] for prototypes in self.prototypes.values()])
        return [_insight(self.G, weight, user, "items")]

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """The weight w_iu of each user who has seen the item."""
        _, weight = self._refined([prototypes(self.G)[1] for prototypes in self.prototypes.values()])
        return [_insight(self.G.T, self.G.transposed(weight), item, "users")]

    def _refined(self, affinities: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Computes w_ui and w_iu, (n,) each, from s_ui and s_iu of every modality, all in the order of G."""
        s_user, s_item = (torch.stack(s) for s in zip(*affinities, strict=True))  # (M, n)
        if self.edge_weight == "mean":
            return s_user.mean(dim=0), s_item.mean(dim=0)
        if self.c_user is not None and self.c_item is not None:
            s_user = s_user * self.c_item.index_select(0, self.G.by_row.index).T
            s_item = s_item * self.c_user.index_select(0, self.G.by_row.row_of_entry()).T
        return s_user.amax(dim=0).relu(), s_item.amax(dim=0).relu()


class _Prototypes(nn.Module):
    """Users as prototypes of the items they have seen, in one modality."""

    has: Tensor | None  # (n,) bool, whether the item of each edge has the modality; None: all have it

    def __init__(self, G: Pattern, f: ItemFeatures, num_users: int, dim: int, num_routings: int):
        super().__init__()
        self.f, self.num_routings = f, num_routings
        self.W = nn.Linear(f.dim, dim)
        self.user = xavier(num_users, dim)  # (U, d)
        has = f.present[G.by_row.index, 0]
        self.register_buffer("has", None if has.all() else has, persistent=False)

    def forward(self, G: Pattern) -> tuple[Embeddings, tuple[Tensor, Tensor]]:
        """Returns u~_m (U, d) and i~_m (I, d), and the affinities s_ui,m and s_iu,m, (n,) each."""
        item = F.normalize(F.leaky_relu(self.W(self.f.values)) * self.f.present)
        user = F.normalize(self.user)
        for _ in range(self.num_routings):
            s_user = self._shares(G, edge_dot(G, user, item))
            user = F.normalize(user + edge_product(G, s_user, item))
        fit = edge_dot(G, user, item)
        s_user, s_item = self._shares(G, fit), self._shares(G, fit, of_items=True)
        neighbours = edge_product(G, s_user, item), edge_product(G.T, G.transposed(s_item), user)
        return Embeddings(user + neighbours[0], item + neighbours[1]), (s_user, s_item)

    def _shares(self, G: Pattern, fit: Tensor, *, of_items: bool = False) -> Tensor:
        """Computes a softmax over the items of each user or the users of each item, (n,); 0 where the item lacks m."""
        if self.has is not None:
            fit = fit.where(self.has, NEVER)
        shares = G.T.transposed(edge_softmax(G.T, G.transposed(fit))) if of_items else edge_softmax(G, fit)
        return shares if self.has is None else shares * self.has


def _insight(G: Pattern, weight: Tensor, row: int, kind: Literal["items", "users"]) -> Insight:
    near, weight = G.by_row.weighted(weight).entries(row)
    return Insight.ranked(f"{kind}, by the weight of their edge", near, weight, kind=kind)
