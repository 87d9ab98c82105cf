"""EgoGCN. Chen et al., "Breaking Isolation: Multimodal Graph Fusion for Multimedia Recommendation by Edge-wise
Modulation", MM 2022, https://doi.org/10.1145/3503161.3548399.

Every modality m has its interaction graph G_m, with u_m(0) trained and i_m(0) = LeakyReLU(W_m f_im + b_m). In layer 1 a
node aggregates its neighbours fused with their other modalities. For a user (an item aggregates users in the same way):

    s_iu = softmax_{i in N_u}(i_m(0) . u_m(0))                                                             (eq. 1)
    i^_m,u = mean_m' i_m'(0) where s_iu > epsilon, else i_m(0)                     fusion = "hard"         (eq. 2)
    g_i^hm = sigmoid(w^hm . i_h(0) + b^hm)                                                                 (eq. 3)
    i^_m = (i_m(0) + sum_{h != m} g_i^hm i_h(0)) / M                               fusion = "soft"         (eq. 4)
    s^_iu = softmax_{i in N_u}(i^_m,u . u_m(0))                                                            (eq. 5)
    u_m(1) = sum_{i in N_u} s^_iu i^_m,u                                                                   (eq. 6)
    u_m(k+1) = u_m(k) + sum_{i in N_u} softmax_{i in N_u}(i_m(k) . u_m(k)) i_m(k),  k = 1..K-1             (eq. 7, 8)

Beside it IDs are propagated as in LightGCN, their layers are summed, and the parts of the score add up:

    e_u(l+1) = sum_{i in N_u} e_i(l) / sqrt(|N_u| |N_i|),  e_u = sum_l e_u(l),  l = 0..L                   (eq. 10, 11)
    s_ui = e_u . e_i + sum_m u_m(K) . i_m(K)                                                           (eq. 9, 12, 13)

No vector is held per edge: the gate of eq. 3 reads the neighbour alone, so eq. 4 is one vector per node; eq. 2 chooses
between two vectors per node, so eq. 6 is two sparse products with complementary weights.

Variants (Table 4): fusion = "merge" leaves out eq. 1-4, i^ = i. "align" is one graph of users and of a node per item
and modality, those of one item joined; eq. 7-8 from layer 0 on, and u_m is the same for all m. "none": IDs alone.
soft_pruning replaces the weights of eq. 10 by relu(max_m c_im s^_iu) with a learned confidence c, as GRCN does.
With one modality the mean of eq. 2 and the sum of eq. 4 are i_m itself: hard and soft are then "merge".

Shapes: U users, I items, M modalities, d = dim, K = num_layers, L = num_id_layers, n edges of a graph, B triplets;
N nodes of one kind (users or items), R nodes that aggregate C others.
The paper leaves open: the projection of f_im (here GRCN's, which the authors' code has too); the scale of u_m and i_m
(`unit_layers`: length one at layer 0 and after every layer, as in the authors' code; without it they swamp the IDs);
what theta is in lambda ||theta|| (here the rows of layer 0 in the batch); c (here of the source node, 1 at first); an
item that lacks m (here: no edges in G_m, no part in the mean of eq. 2 and the sum of eq. 4, which are divided by the
number of modalities it has, none in eq. 12).
Differs from the paper: `self_loops` adds u_m(0) to eq. 6, which the paper tried. Differs from the authors' code: IDs
keep their length (there it is one, which the paper does not say and which loses a fifth of the recall); gates are
numbers with own weights for users and items (there vectors of size d, shared); any L, each layer fed from the one
before (there three, the third fed from the first); any number of modalities, of any names.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Count, Insight, Layers, Recommender, Share, Weight
from medley.models.cold import Cold, ColdItems
from medley.models.spaces import LR, REG, Choice, Space, Uniform, Whole
from medley.nn.chosen import Offset
from medley.nn.edges import Pattern, edge_dot, edge_product, edge_softmax
from medley.nn.init import affine, xavier
from medley.nn.lengths import unit
from medley.nn.losses import bpr_loss, l2_of_batch, squared_rows
from medley.nn.modalities import FeatureScale, ItemFeatures, by_name, item_features, sum_of
from medley.nn.propagation import Rows, distinct_rows, lightgcn, take_rows
from medley.types import Embeddings, Inputs, Triplets

Fusion = Literal["hard", "soft", "merge", "align", "none"]
PerModality = Mapping[str, Tensor]
Gates = Mapping[str, Mapping[str, nn.Linear]]  # h -> m -> w^hm and b^hm, m != h
Affinities = dict[str, tuple[Tensor, Tensor]]  # m -> s^_iu and s^_ui (eq. 5) on the edges of G_m and G_m.T, (n,) each


class EgoGCN(Recommender):
    """Routing on a graph per modality, whose first layer aggregates neighbours fused with their other modalities.

    Choose it to add content to the IDs of LightGCN: the best of all on TikTok, at ten times the cost of IDs alone.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "num_layers": Whole(1, 4),  # Fig. 4
        "num_id_layers": Whole(1, 3),  # Fig. 4
        "fusion": Choice(("soft", "hard")),  # Table 3
        "epsilon": Uniform(0.3, 0.7),  # Fig. 3; of fusion=hard alone
        "self_loops": Choice((False, True)),
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Count = 2,  # Table 2: 2 on TikTok, 4 on MovieLens
        num_id_layers: Layers = 2,  # Table 2: 2 on TikTok, 3 on MovieLens
        fusion: Fusion = "soft",  # Table 3: best on TikTok; hard on MovieLens
        epsilon: Share = 0.6,  # Table 2: 0.6 on TikTok, 0.4 on MovieLens
        soft_pruning: bool = False,
        self_loops: bool = False,
        unit_layers: bool = True,
        reg: Weight = 1e-2,
        feature_scale: FeatureScale = "standard",
        cold: Cold = "model",
        cold_offset: Offset = "auto",
    ):
        super().__init__(inputs)
        if soft_pruning and fusion in ("align", "none"):
            raise InputError(
                "soft_pruning of egogcn",
                expected="affinities of modalities, from fusion = hard, soft or merge",
                got=f"fusion = {fusion}",
                remedy="choose another fusion, or soft_pruning = false",
            )
        self.num_id_layers, self.unit_layers, self.reg = num_id_layers, unit_layers, reg
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        f = {} if fusion == "none" else item_features(inputs, feature_scale)
        self.f = by_name(f)
        self.W = nn.ModuleDict({m: affine(f_m.dim, dim) for m, f_m in self.f.items()})
        self.u = nn.ParameterDict({m: xavier(self.num_users, dim) for m in (["all"] if fusion == "align" else f)})
        gated = fusion == "soft" and len(f) > 1
        self.user_gates = _gates(f, dim) if gated else None
        self.item_gates = _gates(f, dim) if gated else None
        sizes = {"user": self.num_users, "item": self.num_items} if soft_pruning else {}
        self.c = nn.ParameterDict({kind: torch.ones(size, len(f)) for kind, size in sizes.items()})  # (U, M), (I, M)
        # The modules below hold graphs and no parameters: old weights lie under the names above.
        self.aligned = _AlignedGraph(inputs, num_layers, unit_layers) if fusion == "align" else None
        self.content = _Content(inputs, f, num_layers, fusion, epsilon, self_loops, unit_layers)
        self.pruned_ids = _PrunedIds(inputs, f, self.content.G, num_id_layers) if soft_pruning else None
        self.cold = ColdItems(inputs, cold, cold_offset)

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, (1 + M) d) and item (I, (1 + M) d) vectors (eq. 12); with `rows` these alone."""
        users, items = zip(*self.parts(rows).values(), strict=True)
        return Embeddings(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def parts(self, rows: Rows | None = None) -> dict[str, Embeddings]:
        """`id` -> e_u and e_i; modality -> u_m(K) and i_m(K) (eq. 9-13); with `rows` these alone."""
        users, items = self._layer_0()
        if self.aligned is not None:
            content, affinities = self.aligned(users["all"], items), {}
        else:
            content, affinities = self.content(users, items, self.user_gates, self.item_gates)
        e = Embeddings(self.e_user, self.e_item)
        if self.pruned_ids is not None:
            ids = take_rows(self.pruned_ids(e, self.c, affinities), rows)
        else:
            ids, _ = lightgcn(self.graph, e, self.num_id_layers, rows, combine="sum")  # eq. 10, 11
        parts = {"id": ids} | {m: take_rows(x, rows) for m, x in content.items()}
        return self.cold.parts(parts) if rows is None else parts

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the layer-0 rows of the batch (eq. 14)."""
        l2 = l2_of_batch(Embeddings(self.e_user, self.e_item), batch)
        for u in self.u.values():
            l2 = l2 + squared_rows(u, batch.user) / (2 * len(batch.user))
        rows, places = distinct_rows(batch)
        return bpr_loss(self(rows), places) + self.reg * l2

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """For each item that the user has seen: its affinity if it is fused (hard), or its gates (soft)."""
        users, items = self._layer_0()
        present = {m: f.present[:, 0] for m, f in self.f.items()}
        near = _Neighbours("items", self.content.G, users, items, self.item_gates, present)
        return self.content.about(user, near)

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """For each user who has seen the item: its affinity if it is fused (hard), or its gates (soft)."""
        users, items = self._layer_0()
        present = {m: f.present.new_ones(self.num_users) for m, f in self.f.items()}
        graphs_of_items = {m: G.T for m, G in self.content.G.items()}
        near = _Neighbours("users", graphs_of_items, items, users, self.user_gates, present)
        return self.content.about(item, near)

    def _layer_0(self) -> tuple[PerModality, PerModality]:
        """m -> u_m(0) (U, d), and i_m(0) (I, d): 0 where the item lacks m, which no edge and no sum reads."""
        items = {m: F.leaky_relu(self.W[m](f.values).mul_(f.present), inplace=True) for m, f in self.f.items()}
        users = {m: _scaled(u, self.unit_layers) for m, u in self.u.items()}
        return users, {m: _scaled(i, self.unit_layers) for m, i in items.items()}


class _Neighbours(NamedTuple):
    """All that layer 1 reads to explain what N nodes aggregate from C neighbours of the other kind."""

    kind: Literal["items", "users"]  # of the neighbours
    G: Mapping[str, Pattern]  # m -> (N, C)
    x: PerModality  # m -> (N, d)
    y: PerModality  # m -> (C, d)
    gates: Gates | None  # of the neighbours
    present: Mapping[str, Tensor]  # m -> (C,) bool, whether each neighbour has m


class _Content(nn.Module):
    """Layers 1..K of every modality (eq. 1-8), from layer 0."""

    def __init__(
        self,
        inputs: Inputs,
        f: Mapping[str, ItemFeatures],
        num_layers: int,
        fusion: Fusion,
        epsilon: float,
        self_loops: bool,
        unit_layers: bool,
    ):
        super().__init__()
        self.num_layers, self.fusion, self.epsilon = num_layers, fusion, epsilon
        self.self_loops, self.unit_layers = self_loops, unit_layers
        self.f = by_name(f)
        self.G = by_name({} if fusion == "align" else _graphs(inputs, f))  # (U, I) each

    def forward(
        self, users: PerModality, items: PerModality, user_gates: Gates | None, item_gates: Gates | None
    ) -> tuple[dict[str, Embeddings], Affinities]:
        """m -> u_m(K) (U, d), i_m(K) (I, d); and the affinities of layer 1."""
        content, affinities = {}, {}
        num_owned = sum_of(f.present.float() for f in self.f.values()).clamp(min=1) if items else 0  # (I, 1)
        users_fused = self._fused(users, user_gates, len(users))
        items_fused = self._fused(items, item_gates, num_owned)
        for m, G in self.G.items():
            user, s_user = self._aggregate(G, users[m], items[m], items_fused[m])
            item, s_item = self._aggregate(G.T, items[m], users[m], users_fused[m])
            if self.self_loops:
                user, item = user + users[m], item + items[m]
            layer_1 = Embeddings(_scaled(user, self.unit_layers), _scaled(item, self.unit_layers))
            content[m] = self._route(G, layer_1)
            affinities[m] = s_user, s_item
        return content, affinities

    def _fused(self, x: PerModality, gates: Gates | None, num_owned: Tensor | int) -> PerModality:
        """m -> x_m(0) fused with the other modalities, (N, d); num_owned: how many modalities a node has, (N, 1)."""
        if self.fusion == "merge" or len(x) < 2:
            return x
        if gates is None:
            return dict.fromkeys(x, sum_of(x.values()) / num_owned)  # eq. 2, upper case
        g = {h: {m: torch.sigmoid(w(x[h])) for m, w in gates[h].items()} for h in x}  # eq. 3, (N, 1) each
        return {m: sum_of([x[m], *(g[h][m] * x[h] for h in x if h != m)]) / num_owned for m in x}  # eq. 4

    def _aggregate(self, G: Pattern, x: Tensor, y: Tensor, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Layer 1 of x (R, d) from its neighbours y (C, d), or `fused` (C, d); and the affinities (n,)."""
        if self.fusion != "hard":
            return _attend(G, x, fused)
        score = edge_dot(G, x, y)
        fuse = edge_softmax(G, score.detach()) > self.epsilon  # eq. 1, 2: a choice, without a gradient
        s = edge_softmax(G, torch.where(fuse, edge_dot(G, x, fused), score))  # eq. 5
        return edge_product(G, s * fuse, fused) + edge_product(G, s * ~fuse, y), s  # eq. 6

    def _route(self, G: Pattern, x: Embeddings) -> Embeddings:
        """Computes layer K from layer 1."""
        for _ in range(self.num_layers - 1):
            score = edge_dot(G, x.user, x.item)
            s_user, s_item = edge_softmax(G, score), edge_softmax(G.T, G.transposed(score))
            user = x.user + edge_product(G, s_user, x.item)  # eq. 7
            item = x.item + edge_product(G.T, s_item, x.user)  # eq. 8
            x = Embeddings(_scaled(user, self.unit_layers), _scaled(item, self.unit_layers))
        return x

    def about(self, row: int, neighbours: _Neighbours) -> list[Insight]:
        """Returns insights about the fusion of one node's neighbours in layer 1."""
        kind, graph, x, y, gates, present = neighbours
        insights = []
        for m, G in graph.items() if len(self.f) > 1 else ():
            near = G.by_row.arrays.entries(row)[0].long()
            if self.fusion == "hard":
                s = torch.softmax(y[m][near] @ x[m][row], dim=0)  # eq. 1
                fused = s > self.epsilon
                insights.append(Insight.ranked(f"{m}: fused {kind}", near[fused], s[fused], kind=kind))
            for h, w in (gates or {}).items():
                if h != m:
                    have = near[present[h][near]]
                    g = torch.sigmoid(w[m](y[h][have]))[:, 0]  # eq. 3
                    insights.append(Insight.ranked(f"{m}: gates of {kind} for {h}", have, g, kind=kind))
        return [insight for insight in insights if insight.weights]


class _AlignedGraph(nn.Module):
    """One graph of users and of a node per item and modality, those of one item joined (Table 4, EgoGCN-NA)."""

    def __init__(self, inputs: Inputs, num_layers: int, unit_layers: bool):
        super().__init__()
        self.num_layers, self.unit_layers = num_layers, unit_layers
        R = inputs.train.csr()
        present = [sp.diags_array(features.present.astype(np.float32)) for features in inputs.features.values()]
        blocks = [[None, *(R @ p for p in present)]]
        blocks += [[(R @ p).T, *(None if p is q else p @ q for q in present)] for p in present]
        adjacency = sp.csr_array(sp.block_array(blocks))
        adjacency.eliminate_zeros()
        self.G = Pattern(adjacency)  # (U + M I, U + M I)

    def forward(self, users: Tensor, items: PerModality) -> dict[str, Embeddings]:
        """Layer K from layer 0: u (U, d) and m -> i_m (I, d)."""
        x = torch.cat([users, *items.values()])  # (U + M I, d)
        for _ in range(self.num_layers):
            x = _scaled(x + _attend(self.G, x, x)[0], self.unit_layers)  # eq. 7, 8
        user, *rest = x.split([len(users), *(len(item) for item in items.values())])
        return {m: Embeddings(user, item) for m, item in zip(items, rest, strict=True)}


class _PrunedIds(nn.Module):
    """IDs propagated with the weights max(0, max_m c_m s^_m) of GRCN, c of the source node (Table 4, soft pruning)."""

    def __init__(self, inputs: Inputs, f: Mapping[str, ItemFeatures], G_m: Mapping[str, Pattern], num_layers: int):
        super().__init__()
        self.num_layers = num_layers
        self.f, self.G_m = by_name(f), G_m  # G_m: (U, I) each
        self.G = Pattern(inputs.train.csr())  # (U, I)

    def forward(self, e: Embeddings, c: Mapping[str, Tensor], affinities: Affinities) -> Embeddings:
        """e_u (U, d) and e_i (I, d) from e(0), the confidences c of users (U, M) and items (I, M), and eq. 5."""
        source_user, source_item = self.G.by_row.row_of_entry(), self.G.by_row.index  # (n,)
        nothing = e.user.new_zeros(len(self.G))
        w_user, w_item = nothing, nothing
        for k, (m, (s_user, s_item)) in enumerate(affinities.items()):
            has = self.f[m].present[source_item, 0]  # (n,), which edges are in G_m
            w_user = w_user.maximum(nothing.masked_scatter(has, s_user) * c["item"][source_item, k])
            s_item = self.G_m[m].T.transposed(s_item)  # in the order of G_m
            w_item = w_item.maximum(nothing.masked_scatter(has, s_item) * c["user"][source_user, k])
        w_item = self.G.transposed(w_item)
        total = e
        for _ in range(self.num_layers):
            e = Embeddings(edge_product(self.G, w_user, e.item), edge_product(self.G.T, w_item, e.user))  # eq. 10
            total = Embeddings(total.user + e.user, total.item + e.item)  # eq. 11
        return total


def _scaled(x: Tensor, to_unit: bool) -> Tensor:
    """Rows of length one, if `to_unit`."""
    return unit(x) if to_unit else x


def _attend(G: Pattern, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the neighbours y (C, d) of x (R, d), weighted by the softmax of y . x; and these weights (n,)."""
    s = edge_softmax(G, edge_dot(G, x, y))  # eq. 5
    return edge_product(G, s, y), s  # eq. 6


def _gates(modalities: Iterable[str], dim: int) -> Gates:
    """w^hm and b^hm of users or of items."""
    gates = {h: nn.ModuleDict({m: affine(dim, 1) for m in modalities if m != h}) for h in modalities}
    return nn.ModuleDict(gates)  # pyrefly: ignore[bad-return]


def _graphs(inputs: Inputs, f: Iterable[str]) -> dict[str, Pattern]:
    """m -> G_m (U, I); the modalities that no item lacks share one pattern."""
    complete = Pattern(inputs.train.csr())
    edges = {m: graphs.with_modality(inputs.train, inputs.features[m]) for m in f}
    return {m: complete if len(e) == len(inputs.train) else Pattern(e.csr()) for m, e in edges.items()}
