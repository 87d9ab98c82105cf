"""LUDP. Lei et al., "Learning the User's Deeper Preferences for Multi-modal Recommendation Systems", TOMM 19(3s), 2023,
https://doi.org/10.1145/3573010.

Interactions: LightGCN whose layers are summed, R^ = D_u^-1/2 R D_i^-1/2, L = num_layers:

    e_u(l+1) = R^ e_i(l)        e_i(l+1) = R^T e_u(l)                                                      (eq. 1)
    E = sum_l e(l), l = 0..L                                                                               (eq. 2)

Items, per modality m: e_i is propagated on the graph of each item's k nearest by cosine; the last layer is h_i^m:

    S(i, j) = cos(e_i^m, e_j^m), kept where it is in the top k of row i                                    (eq. 3, 4)
    h_i(l+1) = sum_{j in N_i} h_j(l) / sqrt|N_i|,  h(0) = e_i                                              (eq. 5)
    w_i^m = q . tanh(W_m h_i^m + b),  alpha_i = softmax_m(w_i),  H_i = sum_m alpha_i^m h_i^m               (eq. 6-8)

Users, per modality m: the mean feature of the items they have seen, mapped to the space of the IDs:

    p^m = LeakyReLU(mean_{j in N_u} W_1 e_j^m),  p^^m = LeakyReLU(W_2 p^m) + e_u                           (eq. 9-11)
    P_u = sum_m beta_u^m p^^m,  beta as alpha in eq. 6-7, with its own q, W, b                             (eq. 12)

    e_u* = E_u + P_u,  e_i* = E_i + H_i,  s_ui = e_u* . e_i*                                               (eq. 13, 14)
    mean BPR + reg ||Theta||^2                                                                             (eq. 15)

H and P are sums over modalities, so s_ui = (E_u + sum_m P_m) . (E_i + sum_m H_m) has the parts

    part_id = E_u . E_i        part_m = P_m . (E_i + H / 2) + (E_u + P / 2) . H_m

which sum to it: products of two modalities are halved between the two (these are their Shapley values).

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, M modalities, n rows of users or items, B triplets.
The paper leaves open: the width d'_m (here d); what is shared among modalities in eq. 6 (here, as its indices say, q
and b); the weight of an edge (eq. 4 keeps S_ij, eq. 5 does not use it: `edge_weight`) and why eq. 5 lengthens vectors
by up to sqrt(k) (`normalisation`: sqrt is as printed, symmetric the one of LightGCN); whether an item is its own
neighbour (by eq. 4 it is, S_ii = 1 being the largest); what "sum" and "concat" of Fig. 5 compute (here: all weights 1;
one bias-free linear layer on the concatenation); what Theta is (here all parameters); an item that lacks m (here: no
edges in the graph of m, no part in the mean of eq. 10; softmax and sums run over the modalities it has, for a user
over those of the items seen. Users and items without any modality keep E alone).
Differs from the paper: nothing that changes results. W_1 is applied after the mean of eq. 10, which is the same and
leaves (U, d_m) fixed means to read; P and H are computed once for each user and item of a batch. No code was published.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Count, Insight, Layers, Recommender, Weight
from medley.models.cold import Cold, ColdItems
from medley.models.spaces import LR, REG, Choice, Space, Whole
from medley.nn.chosen import Offset
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_parameters
from medley.nn.modalities import FeatureScale, ItemFeatures, by_name, item_features, masked_softmax, sum_of
from medley.nn.propagation import Rows, distinct_rows, lightgcn, take
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Features, Inputs, Triplets

Fusion = Literal["attention", "sum", "concat"]
EdgeWeight = Literal["one", "cosine"]
Normalisation = Literal["sqrt", "symmetric"]


class LUDP(Recommender):
    """LightGCN with items smoothed over similarity graphs and users over the content they have seen, per modality.

    Choose it where similar items please the same users; try use_user_graph=false if validation jumps.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,  # Sec. 5.1.4
        "reg": REG,  # Sec. 5.1.4
        "num_item_layers": Whole(1, 3),  # Table 5
        "k": Choice((5, 10, 20, 50)),  # Fig. 6
        "fusion": Choice(("attention", "sum", "concat")),  # Fig. 5
        "normalisation": Choice(("sqrt", "symmetric")),  # eq. 5
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,  # Sec. 5.1.4
        num_layers: Layers = 2,  # Sec. 5.4.1: fixed
        num_item_layers: Count = 1,  # Table 5: one is best on TikTok, two on MovieLens
        k: Count = 10,
        fusion: Fusion = "attention",  # Fig. 5: best on both
        edge_weight: EdgeWeight = "one",
        normalisation: Normalisation = "sqrt",
        use_item_graph: bool = True,
        use_user_graph: bool = True,
        reg: Weight = 1e-5,
        feature_scale: FeatureScale = "none",
        cold: Cold = "model",
        cold_offset: Offset = "auto",
    ):
        super().__init__(inputs)
        if not (use_item_graph or use_user_graph):
            raise InputError(
                "ludp without item graph and without user graph",
                expected="one of use_item_graph, use_user_graph, or both",
                got="neither",
                remedy="that is LightGCN with summed layers: choose the model lightgcn, combine=sum",
            )
        self.num_layers, self.reg = num_layers, reg
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        with_graph = inputs.features if use_item_graph else {}
        similarity = {m: _similarity(raw, k, edge_weight, normalisation) for m, raw in with_graph.items()}
        features = item_features(inputs, feature_scale)  # after the graphs, whose construction needs memory too
        self.item_side = _ItemSide(similarity, num_item_layers, dim, fusion) if use_item_graph else None
        self.user_side = _UserSide(inputs, features, dim, fusion) if use_user_graph else None
        self.cold = ColdItems(inputs, cold, cold_offset)

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, d) and item (I, d) vectors; with `rows` these alone."""
        (E_u, P), (E_i, H) = self._terms(rows)
        x = Embeddings(sum_of([E_u, *P.values()]), sum_of([E_i, *H.values()]))  # eq. 8, 12, 13
        return self.cold.score(x) if rows is None else x

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of all parameters (eq. 15)."""
        rows, places = distinct_rows(batch)
        return bpr_loss(self(rows), places) + self.reg * l2_of_parameters(self.parameters())

    def parts(self) -> dict[str, Embeddings]:
        """`id` -> E_u and E_i; modality -> P_m || E_u + P / 2 and E_i + H / 2 || H_m, without the half of a graph that
        is left out."""
        (E_u, P), (E_i, H) = self._terms()
        half_u, half_i = E_u + sum(P.values()) / 2, E_i + sum(H.values()) / 2
        parts = {"id": Embeddings(E_u, E_i)}
        for m in P | H:
            halves = [(P[m], half_i)] if m in P else []
            halves += [(half_u, H[m])] if m in H else []
            parts[m] = Embeddings(*(torch.cat(side, dim=1) for side in zip(*halves, strict=True)))
        return self.cold.parts(parts)

    def about_user(self, user: int) -> list[Insight]:
        """Weights of attention in the user's P (beta of eq. 12)."""
        return _weights(self.user_side, self.e_user, user)

    def about_item(self, item: int) -> list[Insight]:
        """Weights of attention in the item's H (alpha of eq. 7)."""
        return _weights(self.item_side, self.e_item, item)

    def _terms(self, rows: Rows | None = None) -> tuple["_Terms", "_Terms"]:
        """Returns (E_u, modality -> P_m) and (E_i, modality -> H_m), (n, d) each; with `rows` these alone."""
        e = Embeddings(self.e_user, self.e_item)
        rows = rows or Rows(*(torch.arange(len(x), device=x.device) for x in e))
        E, _ = lightgcn(self.graph, e, self.num_layers, rows, combine="sum")  # eq. 1, 2
        H = self.item_side.fusion(*self.item_side(self.e_item, rows.item)) if self.item_side else {}
        P = self.user_side.fusion(*self.user_side(self.e_user, rows.user)) if self.user_side else {}
        return (E.user, P), (E.item, H)


_Terms = tuple[Tensor, dict[str, Tensor]]


class _ItemSide(nn.Module):
    """Item IDs, propagated on the similarity graph of every modality."""

    has: Tensor  # (I, M) bool

    def __init__(self, graph: dict[str, sp.csr_array], num_layers: int, dim: int, fusion: Fusion):
        super().__init__()
        has = np.stack([np.diff(G.indptr) > 0 for G in graph.values()], axis=1)
        self.register_buffer("has", torch.from_numpy(has), persistent=False)
        self.graph = by_name({m: SparseMatrix(G) for m, G in graph.items()})  # (I, I) each
        self.num_layers = num_layers
        self.fusion = _Fusion(list(graph), dim, fusion)

    def forward(self, e: Tensor, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Propagates IDs.

        Args:
            e: (I, d), ID vectors of all items.
            rows: (n,), the items of the result.

        Returns:
            modality -> h^m (n, d), and which modalities each item has, (n, M) bool.
        """
        x = {}
        for m, G in self.graph.items():
            h = e
            for _ in range(self.num_layers):
                h = G @ h  # eq. 5
            x[m] = take(h, rows)
        return x, self.has[rows]


class _UserSide(nn.Module):
    """Mean features of the items that users have seen in every modality, mapped to the space of the IDs."""

    has: Tensor  # (U, M) bool
    mean: Tensor  # (U, sum of d_m), over the seen items that have the modality

    def __init__(self, inputs: Inputs, features: dict[str, ItemFeatures], dim: int, fusion: Fusion):
        super().__init__()
        self.dims = [f.dim for f in features.values()]
        self.W, means, has = nn.ModuleDict(), [], []  # W_1 and W_2 of eq. 10, 11
        for m, f in features.items():
            G = graphs.mean_over_neighbours(inputs.train, of=inputs.features[m]).users_from_items  # (U, I)
            means.append(G @ f.values)  # (U, d_m)
            has.append(torch.diff(G.by_row.start) > 0)  # (U,)
            self.W[m] = nn.Sequential(linear(f.dim, dim), nn.LeakyReLU(), linear(dim, dim), nn.LeakyReLU())
        self.register_buffer("mean", torch.cat(means, dim=1), persistent=False)
        self.register_buffer("has", torch.stack(has, dim=1), persistent=False)
        self.fusion = _Fusion(list(features), dim, fusion)

    def forward(self, e: Tensor, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Maps mean features.

        Args:
            e: (U, d), ID vectors of all users.
            rows: (n,), the users of the result.

        Returns:
            modality -> p^^m (n, d), and which modalities each user has, (n, M) bool.
        """
        e, means = take(e, rows), self.mean[rows].split(self.dims, dim=1)
        x = {m: W(mean) + e for (m, W), mean in zip(self.W.items(), means, strict=True)}  # eq. 10, 11
        return x, self.has[rows]


class _Fusion(nn.Module):
    """Weighs the vectors of the modalities, which then sum to the fused vector."""

    def __init__(self, modalities: list[str], dim: int, fusion: Fusion):
        super().__init__()
        self.concat = fusion == "concat"
        self.attends = fusion == "attention" and len(modalities) > 1  # one modality needs no weights
        self.W = nn.ModuleDict({m: linear(dim, dim) for m in modalities if self.concat or self.attends})
        if self.attends:
            self.b, self.q = nn.Parameter(torch.zeros(dim)), xavier(dim, 1)

    def forward(self, x: dict[str, Tensor], has: Tensor) -> dict[str, Tensor]:
        """Weighs modality vectors.

        Args:
            x: modality -> (n, d).
            has: (n, M) bool, which modalities each row has.

        Returns:
            modality -> (n, d), zero where the modality is missing.
        """
        weight = self.weights(x, has)
        if self.concat:
            x = {m: self.W[m](vectors) for m, vectors in x.items()}  # W (x_1 || x_2 ...) by blocks of W
        return {m: weight[:, [column]] * vectors for column, (m, vectors) in enumerate(x.items())}

    def weights(self, x: dict[str, Tensor], has: Tensor) -> Tensor:
        """Weights (n, M), 0 for missing modalities; with attention, the rest of a row sums to 1. Arguments as above."""
        if not self.attends:
            return has.to(next(iter(x.values())).dtype)
        w = torch.cat([torch.tanh(self.W[m](vectors) + self.b) @ self.q for m, vectors in x.items()], dim=1)  # eq. 6
        return masked_softmax(w, has)  # eq. 7


def _similarity(features: Features, k: int, edge_weight: EdgeWeight, normalisation: Normalisation) -> sp.csr_array:
    """Returns the weights of eq. 5, (I, I)."""
    graph = graphs.item_knn(features, k)  # eq. 3, 4
    graph = graph if edge_weight == "cosine" else graphs.binarise(graph)
    return graphs.normalise_rows(graph, power=-0.5) if normalisation == "sqrt" else graphs.normalise_symmetric(graph)


def _weights(side: _ItemSide | _UserSide | None, e: Tensor, row: int) -> list[Insight]:
    """Returns the weights of attention of one user or item; empty without attention."""
    if side is None or not side.fusion.attends:
        return []
    x, has = side(e, torch.tensor([row], device=e.device))
    return [Insight.ranked("weights of the modalities", x, side.fusion.weights(x, has)[0])]
