"""LUDP. Lei et al., "Learning the User's Deeper Preferences for Multi-modal Recommendation Systems", TOMM 19(3s), 2023,
https://doi.org/10.1145/3573010.

Interactions: LightGCN whose layers are summed, R^ = D_u^-1/2 R D_i^-1/2, L = num_layers:

    e_u(l+1) = R^ e_i(l)        e_i(l+1) = R^T e_u(l)                                                      (eq. 1)
    E = sum_l e(l), l = 0..L                                                                               (eq. 2)

Items, per modality m: e_i travels on the graph of each item's k nearest by cosine; the last layer is h_i^m:

    S(i, j) = cos(e_i^m, e_j^m), kept where it is in the top k of row i                                    (eq. 3, 4)
    h_i(l+1) = sum_{j in N_i} h_j(l) / sqrt|N_i|,  h(0) = e_i                                              (eq. 5)
    w_i^m = q . tanh(W_m h_i^m + b),  alpha_i = softmax_m(w_i),  H_i = sum_m alpha_i^m h_i^m               (eq. 6-8)

Users, per modality m: the mean feature of what they touched, mapped to the space of the IDs:

    p^m = LeakyReLU(mean_{j in N_u} W_1 e_j^m),  p^^m = LeakyReLU(W_2 p^m) + e_u                           (eq. 9-11)
    P_u = sum_m beta_u^m p^^m,  beta as alpha in eq. 6-7, with its own q, W, b                             (eq. 12)

    e_u* = E_u + P_u,  e_i* = E_i + H_i,  s_ui = e_u* . e_i*                                               (eq. 13, 14)
    mean BPR + reg ||Theta||^2                                                                             (eq. 15)

H and P are sums over modalities, so s_ui = (E_u + sum_m P_m) . (E_i + sum_m H_m) has the parts

    part_id = E_u . E_i        part_m = P_m . (E_i + H / 2) + (E_u + P / 2) . H_m

which sum to it: what two modalities bring about together is halved between them (their Shapley values).

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, M modalities, n rows of users or items, B triplets.
The paper leaves open: the width d'_m (here d); what is shared among modalities in eq. 6 (here, as its indices say, q
and b); the weight of an edge (eq. 4 keeps S_ij, eq. 5 does not use it: `edge_weight`) and why eq. 5 lengthens vectors
by up to sqrt(k) (`normalisation`: sqrt is as printed, symmetric the one of LightGCN); whether an item is its own
neighbour (by eq. 4 it is, S_ii = 1 being the largest); what "sum" and "concat" of Fig. 5 compute (here: all weights 1;
one bias-free linear layer on the concatenation); what Theta is (here all parameters); an item that lacks m (here: no
edges in the graph of m, no part in the mean of eq. 10; softmax and sums run over the modalities it has, for a user
over those of the items touched. Who has none keeps E alone).
Differs from the paper: nothing that changes results. W_1 is applied after the mean of eq. 10, which is the same and
leaves (U, d_m) fixed means to read; P and H are computed once for each user and item of a batch. No code was published.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Insight, Recommender
from medley.nn.features import FeatureScale, item_features
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_parameters
from medley.nn.propagation import Rows, propagate_combined
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Features, Inputs, Interactions, Triplets

Fusion = Literal["attention", "sum", "concat"]
EdgeWeight = Literal["one", "cosine"]
Normalisation = Literal["sqrt", "symmetric"]


class LUDP(Recommender):
    """LightGCN with items smoothed over likeness graphs and users over the content they touched, per modality."""

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: int = 64,  # Sec. 5.1.4
        num_layers: int = 2,  # Sec. 5.4.1: fixed
        num_item_layers: int = 1,  # Table 5: one is best on TikTok, two on MovieLens
        k: int = 10,
        fusion: Fusion = "attention",  # Fig. 5: best on both
        edge_weight: EdgeWeight = "one",
        normalisation: Normalisation = "sqrt",
        use_item_graph: bool = True,
        use_user_graph: bool = True,
        reg: float = 1e-5,
        feature_scale: FeatureScale = "none",
    ):
        super().__init__(inputs)
        if not (use_item_graph or use_user_graph):
            raise InputError(
                "ludp without item graph and without user graph",
                expected="one of use_item_graph, use_user_graph, or both",
                got="neither",
                remedy="that is LightGCN: choose the model lightgcn",
            )
        if num_item_layers < 1:
            remedy = "use_item_graph=false leaves the item graph out"
            raise InputError("num_item_layers", expected="1 or more", got=num_item_layers, remedy=remedy)
        self.num_layers, self.reg = num_layers, reg
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        self.item_side = self.user_side = None
        scaled = item_features(inputs, feature_scale)
        if use_item_graph:
            alike = {
                m: _Likeness(raw, k, edge_weight, normalisation, num_item_layers) for m, raw in inputs.features.items()
            }
            self.item_side = _Side(alike, dim, fusion)
        if use_user_graph:
            liked = {m: _Taste(inputs.train, raw, scaled[m].values, dim) for m, raw in inputs.features.items()}
            self.user_side = _Side(liked, dim, fusion)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        device = self.e_user.device
        return self._vectors(torch.arange(self.num_users, device=device), torch.arange(self.num_items, device=device))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of all parameters (eq. 15)."""
        users, user = batch.user.unique(return_inverse=True)
        items, item = torch.cat([batch.pos, batch.neg]).unique(return_inverse=True)
        bpr = bpr_loss(self._vectors(users, items), Triplets(user, *item.chunk(2)))
        return bpr + self.reg * l2_of_parameters(self.parameters())

    def contributions(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """`id` and every modality -> (B, K)."""
        (E_u, P), (E_i, H) = self._parts(users, items.flatten())
        E_u, P = E_u[:, None], {m: part[:, None] for m, part in P.items()}  # (B, 1, d)
        E_i, H = E_i.view(*items.shape, -1), {m: part.view(*items.shape, -1) for m, part in H.items()}  # (B, K, d)
        user, item, none = E_u + sum(P.values()) / 2, E_i + sum(H.values()) / 2, torch.zeros_like(E_u)
        parts = {"id": E_u * E_i} | {m: P.get(m, none) * item + user * H.get(m, none) for m in P | H}
        return {name: part.sum(dim=2) for name, part in parts.items()}

    def about_user(self, user: int) -> list[Insight]:
        """How attention weighs the user's tastes (beta of eq. 12)."""
        return self.user_side.insights(self.e_user, user) if self.user_side else []

    def about_item(self, item: int) -> list[Insight]:
        """How attention weighs the item's likeness graphs (alpha of eq. 7)."""
        return self.item_side.insights(self.e_item, item) if self.item_side else []

    def _vectors(self, users: Tensor, items: Tensor) -> Embeddings:
        (E_u, P), (E_i, H) = self._parts(users, items)
        return Embeddings(E_u + sum(P.values()), E_i + sum(H.values()))  # eq. 8, 12, 13

    def _parts(self, users: Tensor, items: Tensor) -> tuple["_Parts", "_Parts"]:
        """(E, m -> P_m) of the given users and (E, m -> H_m) of the given items, (n, d) each."""
        e, every_layer = Embeddings(self.e_user, self.e_item), [1.0] * (self.num_layers + 1)
        E = propagate_combined(self.graph, e, every_layer, rows=Rows(users, items))  # eq. 1, 2
        H = self.item_side(self.e_item, items) if self.item_side else {}
        P = self.user_side(self.e_user, users) if self.user_side else {}
        return (E.user.index_select(0, users), P), (E.item.index_select(0, items), H)


_Parts = tuple[Tensor, dict[str, Tensor]]


class _Likeness(nn.Module):
    """ID vectors of items that are alike in one modality, gathered."""

    has: Tensor  # (I, 1) bool

    def __init__(
        self, features: Features, k: int, edge_weight: EdgeWeight, normalisation: Normalisation, num_layers: int
    ):
        super().__init__()
        graph = graphs.item_knn(features, k)  # eq. 3, 4
        self.register_buffer("has", torch.from_numpy(np.diff(graph.indptr) > 0)[:, None], persistent=False)
        graph = graph if edge_weight == "cosine" else graphs.binarise(graph)
        sqrt = normalisation == "sqrt"
        graph = graphs.normalise_rows(graph, power=-0.5) if sqrt else graphs.normalise_symmetric(graph)
        self.graph = SparseMatrix(graph)
        self.num_layers = num_layers

    def forward(self, e: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """ID vectors (I, d) of all items -> h^m (n, d) of some, and whether they have it (n, 1)."""
        for _ in range(self.num_layers):
            e = self.graph @ e  # eq. 5
        return e.index_select(0, rows), self.has.index_select(0, rows)


class _Taste(nn.Module):
    """What users touched in one modality, mapped to the space of the IDs."""

    has: Tensor  # (U, 1) bool
    mean: Tensor  # (U, d_m), of the touched items that have the modality

    def __init__(self, train: Interactions, features: Features, values: Tensor, dim: int):
        super().__init__()
        graph = graphs.mean_over_neighbours(train, of=features).users_from_items
        self.register_buffer("has", torch.from_numpy(train.csr() @ features.present > 0)[:, None], persistent=False)
        self.register_buffer("mean", graph @ values, persistent=False)
        self.W1, self.W2 = linear(values.shape[1], dim), linear(dim, dim)

    def forward(self, e: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """ID vectors (U, d) of all users -> p^^m (n, d) of some, and whether they have it (n, 1)."""
        p = F.leaky_relu(self.W1(self.mean.index_select(0, rows)))  # eq. 10
        p_hat = F.leaky_relu(self.W2(p)) + e.index_select(0, rows)  # eq. 11
        return p_hat, self.has.index_select(0, rows)


class _Side(nn.Module):
    """Users or items: one vector per modality, and their fusion."""

    def __init__(self, branches: Mapping[str, nn.Module], dim: int, fusion: Fusion):
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        attends = fusion == "attention" and len(branches) > 1  # over one modality there is nothing to weigh
        self.attention = _Attention(branches, dim) if attends else None
        self.concat = nn.ModuleDict({m: linear(dim, dim) for m in branches}) if fusion == "concat" else None

    def forward(self, e: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """ID vectors of all -> m -> parts (n, d) of some, which sum to the fused vector."""
        x, weight = self._weighted(e, rows)
        if self.concat is not None:
            x = {m: self.concat[m](vectors) for m, vectors in x.items()}  # W (x_1 || x_2 ...) by blocks of W
        return {m: weight[:, [column]] * vectors for column, (m, vectors) in enumerate(x.items())}

    def insights(self, e: Tensor, row: int) -> list[Insight]:
        """The weights of attention for one user or item."""
        if self.attention is None:
            return []
        x, weight = self._weighted(e, torch.tensor([row], device=e.device))
        weights = dict(zip(x, weight[0].tolist(), strict=True))
        largest_first = sorted(weights.items(), key=lambda pair: pair[1], reverse=True)
        return [Insight("weights of the modalities", dict(largest_first))]

    def _weighted(self, e: Tensor, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """m -> vectors (n, d), and the weight (n, M) of each, 0 where there is nothing of a modality."""
        vectors, has = zip(*(branch(e, rows) for branch in self.branches.values()), strict=True)
        x, has = dict(zip(self.branches, vectors, strict=True)), torch.cat(has, dim=1)
        return x, has.to(e.dtype) if self.attention is None else self.attention(x, has)


class _Attention(nn.Module):
    """Softmax over modalities."""

    def __init__(self, modalities: Iterable[str], dim: int):
        super().__init__()
        self.W = nn.ModuleDict({m: linear(dim, dim) for m in modalities})
        self.b = nn.Parameter(torch.zeros(dim))
        self.q = xavier(dim, 1)

    def forward(self, x: dict[str, Tensor], has: Tensor) -> Tensor:
        """m -> (n, d), and who has what (n, M) bool -> weights (n, M); rows sum to 1, or to 0 for who has nothing."""
        w = torch.cat([torch.tanh(self.W[m](vectors) + self.b) @ self.q for m, vectors in x.items()], dim=1)  # eq. 6
        return torch.softmax(w.masked_fill(~has, torch.finfo(w.dtype).min), dim=1) * has  # eq. 7
