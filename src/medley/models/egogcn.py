"""EgoGCN. Chen et al., "Breaking Isolation: Multimodal Graph Fusion for Multimedia Recommendation by Edge-wise
Modulation", MM 2022, https://doi.org/10.1145/3503161.3548399.

Every modality m has its interaction graph G_m, with u_m(0) trained and i_m(0) = LeakyReLU(W_m f_im + b_m). In layer 1 a
node hears its neighbours fused with their other modalities. For a user (an item hears users in the same way):

    s_iu = softmax_{i in N_u}(i_m(0) . u_m(0))                                                             (eq. 1)
    i^_m,u = mean_m' i_m'(0) where s_iu > epsilon, else i_m(0)                     fusion = "hard"         (eq. 2)
    g_i^hm = sigmoid(w^hm . i_h(0) + b^hm)                                                                 (eq. 3)
    i^_m = (i_m(0) + sum_{h != m} g_i^hm i_h(0)) / M                               fusion = "soft"         (eq. 4)
    s^_iu = softmax_{i in N_u}(i^_m,u . u_m(0))                                                            (eq. 5)
    u_m(1) = sum_{i in N_u} s^_iu i^_m,u                                                                   (eq. 6)
    u_m(k+1) = u_m(k) + sum_{i in N_u} softmax_{i in N_u}(i_m(k) . u_m(k)) i_m(k),  k = 1..K-1             (eq. 7, 8)

Beside it IDs travel as in LightGCN, their layers are summed, and the parts of the score add up:

    e_u(l+1) = sum_{i in N_u} e_i(l) / sqrt(|N_u| |N_i|),  e_u = sum_l e_u(l),  l = 0..L                   (eq. 10, 11)
    s_ui = e_u . e_i + sum_m u_m(K) . i_m(K)                                                           (eq. 9, 12, 13)

No vector is held per edge: the gate of eq. 3 reads the neighbour alone, so eq. 4 is one vector per node; eq. 2 chooses
between two vectors per node, so eq. 6 is two sparse products with complementary weights.

Variants (Table 4): fusion = "merge" leaves out eq. 1-4, i^ = i. "align" is one graph of users and of a node per item
and modality, those of one item joined; eq. 7-8 from layer 0 on, and u_m is the same for all m. "none": IDs alone.
soft_pruning replaces the weights of eq. 10 by relu(max_m c_im s^_iu) with a learned confidence c, as GRCN does.
With one modality the mean of eq. 2 and the sum of eq. 4 are i_m itself: hard and soft are then "merge".

Shapes: U users, I items, M modalities, d = dim, d_m raw dimension of modality m, K = num_layers, L = num_id_layers,
R rows, C columns and n edges of a graph, B triplets, k recommended items.
The paper leaves open: the projection of f_im (here GRCN's, which the authors' code has too); the scale of the vectors
(`unit_layers`: length one at layer 0 and after every layer, as in the authors' code); what theta is in lambda ||theta||
(here the rows of layer 0 that the batch touches); c (here of the node that sends, 1 at first); an item that lacks m
(here: no edges in G_m, no part in the mean of eq. 2 and the sum of eq. 4, which are divided by the number of
modalities it has, none in eq. 12).
Differs from the paper: `self_loops` adds u_m(0) to eq. 6, which the paper tried. Differs from the authors' code: gates
are numbers with own weights for users and items (there vectors of size d, shared); any L, each layer fed from the one
before (there three, the third fed from the first); any number of modalities, of any names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Insight, Recommender
from medley.nn.edges import Pattern, edge_dot, edge_product, edge_softmax
from medley.nn.features import FeatureScale, ItemFeatures, item_features
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.propagation import Rows, propagate_combined, rows_of
from medley.types import Embeddings, Features, Inputs, Interactions, Triplets

Fusion = Literal["hard", "soft", "merge", "align", "none"]


class Content(NamedTuple):
    """What comes out of the modalities."""

    parts: dict[str, Embeddings]  # m -> u_m(K) (U, d), i_m(K) (I, d)
    affinities: dict[str, tuple[Tensor, Tensor]]  # m -> s^_iu and s^_ui (eq. 5) on the edges of G_m, (n,) each


class EgoGCN(Recommender):
    """Routing on a graph per modality, whose nodes first hear their neighbours fused with the other modalities."""

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: int = 64,
        num_layers: int = 2,  # Table 2: 2 on TikTok, 4 on MovieLens
        num_id_layers: int = 2,  # Table 2: 2 on TikTok, 3 on MovieLens
        fusion: Fusion = "soft",  # Table 3: best on TikTok; hard on MovieLens
        epsilon: float = 0.6,  # Table 2: 0.6 on TikTok, 0.4 on MovieLens
        soft_pruning: bool = False,
        self_loops: bool = False,
        unit_layers: bool = True,
        reg: float = 1e-3,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        _check(num_layers, num_id_layers, fusion, epsilon, soft_pruning)
        self.num_id_layers, self.unit_layers, self.reg = num_id_layers, unit_layers, reg
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        features = {} if fusion == "none" else item_features(inputs, feature_scale)
        if fusion == "none":
            self.content = None
        elif fusion == "align":
            self.content = _Aligned(inputs, features, dim, num_layers, unit_layers)
        else:
            self.content = _Ego(inputs, features, dim, num_layers, unit_layers, fusion, epsilon, self_loops)
        self.pruning = _SoftPruning(inputs, list(features)) if soft_pruning else None

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, (1 + M) d) and item (I, (1 + M) d) vectors (eq. 12); with `rows` the IDs of others are 0."""
        users, items = zip(*self._parts(rows).values(), strict=True)
        return Embeddings(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the layer-0 rows that the batch touches (eq. 14)."""
        l2 = l2_of_batch(Embeddings(self.e_user, self.e_item), batch)
        for u in [] if self.content is None else self.content.user.values():
            l2 = l2 + u.index_select(0, batch.user).square().sum() / (2 * len(batch.user))
        return bpr_loss(self(rows_of(batch)), batch) + self.reg * l2

    def contributions(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """`id` and every modality, u_m . i_m -> (B, k)."""
        return {m: (part.user[users][:, None] * part.item[items]).sum(dim=2) for m, part in self._parts().items()}

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """Of the items it touched: those heard fused, with their affinity (hard), or their gates (soft)."""
        return self.content.about(user, "items") if isinstance(self.content, _Ego) else []

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """Of the users who touched it: those heard fused, with their affinity (hard), or their gates (soft)."""
        return self.content.about(item, "users") if isinstance(self.content, _Ego) else []

    def _parts(self, rows: Rows | None = None) -> dict[str, Embeddings]:
        """Part of the score -> the vectors whose inner product it is (eq. 9-13)."""
        content = Content({}, {}) if self.content is None else self.content()
        e = Embeddings(self.e_user, self.e_item)
        if self.unit_layers:
            e = Embeddings(F.normalize(e.user), F.normalize(e.item))
        if self.pruning is None:
            e = propagate_combined(self.graph, e, [1.0] * (self.num_id_layers + 1), rows=rows)  # eq. 10, 11
        else:
            e = self.pruning(e, self.num_id_layers, content.affinities)
        return {"id": e, **content.parts}


class _Modalities(nn.Module):
    """Layer 0 of every modality."""

    def __init__(
        self, num_users: int, f: dict[str, ItemFeatures], users: Iterable[str], dim: int, num_layers: int, unit: bool
    ):
        super().__init__()
        self.num_layers, self.unit = num_layers, unit
        self.f: Mapping[str, ItemFeatures] = nn.ModuleDict(f)  # pyrefly: ignore[bad-assignment]
        self.W = nn.ModuleDict({m: _affine(features.dim, dim) for m, features in f.items()})
        self.user = nn.ParameterDict({name: xavier(num_users, dim) for name in users})  # (U, d) each

    def items(self) -> dict[str, Tensor]:
        """m -> i_m(0) (I, d); 0 where the item lacks m, which no edge and no sum reads as a feature."""
        return {m: self.scaled(F.leaky_relu(self.W[m](f.values)) * f.present) for m, f in self.f.items()}

    def users(self) -> dict[str, Tensor]:
        """m -> u_m(0) (U, d)"""
        return {name: self.scaled(u) for name, u in self.user.items()}

    def scaled(self, x: Tensor) -> Tensor:
        """Rows of length one, where that is wanted."""
        return F.normalize(x) if self.unit else x


class _Ego(_Modalities):
    """A graph per modality; its first layer carries vectors that are fused with the other modalities (eq. 1-9)."""

    def __init__(
        self,
        inputs: Inputs,
        f: dict[str, ItemFeatures],
        dim: int,
        num_layers: int,
        unit: bool,
        fusion: Fusion,
        epsilon: float,
        self_loops: bool,
    ):
        super().__init__(inputs.train.num_users, f, f, dim, num_layers, unit)
        self.fusion, self.epsilon, self.self_loops = fusion, epsilon, self_loops
        complete = Pattern(inputs.train.csr())  # shared by the modalities that no item lacks
        G = {m: _with_modality(inputs.train, inputs.features[m], complete) for m in f}
        self.G: Mapping[str, Pattern] = nn.ModuleDict(G)  # (U, I) each  # pyrefly: ignore[bad-assignment]
        gated = fusion == "soft" and len(f) > 1
        self.user_gates = _Gates(list(f), dim) if gated else None
        self.item_gates = _Gates(list(f), dim) if gated else None

    def forward(self) -> Content:
        users, items, parts, affinities = self.users(), self.items(), {}, {}
        users_fused, items_fused = self._fused(users, items)
        for m, G in self.G.items():
            if self.fusion == "hard":
                score = edge_dot(G, users[m], items[m])
                user, s_user = self._hear(G, users[m], items[m], items_fused[m], score)
                item, s_item = self._hear(G.T, items[m], users[m], users_fused[m], G.transposed(score))
            else:
                user, s_user = _attend(G, users[m], items_fused[m])
                item, s_item = _attend(G.T, items[m], users_fused[m])
            if self.self_loops:
                user, item = user + users[m], item + items[m]
            parts[m] = self._route(G, Embeddings(self.scaled(user), self.scaled(item)))
            affinities[m] = s_user, G.T.transposed(s_item)
        return Content(parts, affinities)

    def _fused(self, users: dict[str, Tensor], items: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a node may be heard as instead of u_m(0) and i_m(0), per modality, (U, d) and (I, d)."""
        M, M_i = len(items), self._num_modalities()
        if self.fusion == "hard":  # upper case of eq. 2
            return dict.fromkeys(users, sum_of(users.values()) / M), dict.fromkeys(items, sum_of(items.values()) / M_i)
        if self.user_gates is None or self.item_gates is None:
            return users, items
        return self.user_gates(users, M), self.item_gates(items, M_i)

    def _num_modalities(self) -> Tensor:
        """(I, 1) number of modalities that an item has, 1 where it has none."""
        return sum_of(f.present.float() for f in self.f.values()).clamp(min=1)

    def _hear(self, G: Pattern, x: Tensor, y: Tensor, fused: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the neighbours of x (R, d): y (C, d), or `fused` (C, d) where it matters much; and the affinities."""
        fuse = edge_softmax(G, score.detach()) > self.epsilon  # eq. 1, 2
        s = edge_softmax(G, torch.where(fuse, edge_dot(G, x, fused), score))  # eq. 5
        return edge_product(G, s * fuse, fused) + edge_product(G, s * ~fuse, y), s  # eq. 6

    def _route(self, G: Pattern, x: Embeddings) -> Embeddings:
        """Layer K from layer 1."""
        for _ in range(self.num_layers - 1):
            score = edge_dot(G, x.user, x.item)
            s_user, s_item = edge_softmax(G, score), edge_softmax(G.T, G.transposed(score))
            user = x.user + edge_product(G, s_user, x.item)  # eq. 7
            item = x.item + edge_product(G.T, s_item, x.user)  # eq. 8
            x = Embeddings(self.scaled(user), self.scaled(item))
        return x

    def about(self, row: int, neighbours: Literal["items", "users"]) -> list[Insight]:
        """What layer 1 does with the neighbours of one user (`items`) or of one item (`users`)."""
        users, items = self.users(), self.items()
        x, y, gates = (users, items, self.item_gates) if neighbours == "items" else (items, users, self.user_gates)
        insights = []
        for m, complete in self.G.items():
            rows = (complete if neighbours == "items" else complete.T).rows
            near = rows.index[rows.start[row] : rows.start[row + 1]].long()  # rows of y
            if self.fusion == "hard" and len(self.f) > 1:
                s = torch.softmax(y[m][near] @ x[m][row], dim=0)  # eq. 1
                chosen = s > self.epsilon
                insights.append(_insight(f"{m}: {neighbours} heard fused", near[chosen], s[chosen], neighbours))
            for h in self.f:
                if gates is None or h == m:
                    continue
                have = near[self.f[h].present[near, 0]] if neighbours == "items" else near
                gate = gates.of(h, y[h][have])[m]  # eq. 3
                insights.append(_insight(f"{m}: gates of {neighbours} for {h}", have, gate[:, 0], neighbours))
        return [insight for insight in insights if insight.weights]


class _Gates(nn.Module):
    """Soft modulation of one kind of nodes."""

    def __init__(self, names: list[str], dim: int):
        super().__init__()
        self.others = {h: [m for m in names if m != h] for h in names}
        self.w = nn.ModuleDict({h: _affine(dim, len(names) - 1) for h in names})  # rows w^hm, m != h

    def of(self, h: str, x: Tensor) -> dict[str, Tensor]:
        """x_h (n, d) -> m -> g^hm (n, 1)"""
        return dict(zip(self.others[h], torch.sigmoid(self.w[h](x)).split(1, dim=1), strict=True))  # eq. 3

    def forward(self, x: dict[str, Tensor], num_modalities: Tensor | int) -> dict[str, Tensor]:
        """m -> x_m (n, d) to m -> x^_m (n, d)."""
        gates = {h: self.of(h, x[h]) for h in x}
        return {m: sum_of([x[m], *(gates[h][m] * x[h] for h in x if h != m)]) / num_modalities for m in x}  # eq. 4


class _Aligned(_Modalities):
    """One graph of users and of a node per item and modality (Table 4, EgoGCN-NA)."""

    def __init__(self, inputs: Inputs, f: dict[str, ItemFeatures], dim: int, num_layers: int, unit: bool):
        super().__init__(inputs.train.num_users, f, ["all"], dim, num_layers, unit)
        R = inputs.train.csr()
        present = [sp.diags_array(inputs.features[m].present.astype(np.float32)) for m in f]
        blocks = [[None, *(R @ p for p in present)]]
        blocks += [[(R @ p).T, *(None if p is q else p @ q for q in present)] for p in present]
        adjacency = sp.csr_array(sp.block_array(blocks))
        adjacency.eliminate_zeros()
        self.G = Pattern(adjacency)  # (U + M I, U + M I)

    def forward(self) -> Content:
        items = self.items()
        x = torch.cat([*self.users().values(), *items.values()])  # (U + M I, d)
        for _ in range(self.num_layers):
            x = self.scaled(x + _attend(self.G, x, x)[0])  # eq. 7, 8
        num_users = self.G.shape[0] - sum(len(item) for item in items.values())
        user, *rest = x.split([num_users, *(len(item) for item in items.values())])
        return Content({m: Embeddings(user, item) for m, item in zip(items, rest, strict=True)}, {})


class _SoftPruning(nn.Module):
    """LightGCN whose weights are the affinities of the modalities (Table 4, "ID embeddings with soft pruning")."""

    place: Tensor  # (sum of n over the G_m,) int64: where their edges lie in the flattened (M, n) of the whole graph

    def __init__(self, inputs: Inputs, names: list[str]):
        super().__init__()
        train, M = inputs.train, len(names)
        self.G = Pattern(train.csr())  # (U, I)
        here = np.concatenate([inputs.features[m].present[self.G.rows.index.numpy()] for m in names])  # (M n,)
        self.register_buffer("place", torch.from_numpy(np.flatnonzero(here)), persistent=False)
        self.c_user = nn.Parameter(torch.ones(train.num_users, M))
        self.c_item = nn.Parameter(torch.ones(train.num_items, M))

    def forward(self, e: Embeddings, num_layers: int, affinities: dict[str, tuple[Tensor, Tensor]]) -> Embeddings:
        """Sum of layers 0..L, users (U, d) and items (I, d)."""
        G, (s_user, s_item) = self.G, zip(*affinities.values(), strict=True)
        w_user = self._weights(s_user, self.c_item.index_select(0, G.rows.index))
        w_item = G.transposed(self._weights(s_item, self.c_user.index_select(0, G.rows.row())))
        total = e
        for _ in range(num_layers):
            e = Embeddings(edge_product(G, w_user, e.item), edge_product(G.T, w_item, e.user))  # eq. 10
            total = Embeddings(total.user + e.user, total.item + e.item)  # eq. 11
        return total

    def _weights(self, affinities: Iterable[Tensor], c: Tensor) -> Tensor:
        """relu(max_m c_m s^_m) of every edge, from the s^_m (n of G_m,) and the sender's confidence c (n, M), (n,)."""
        known = torch.cat(list(affinities))
        s = known.new_zeros(c.numel()).index_copy(0, self.place, known).view(c.shape[1], -1)  # (M, n)
        return (s * c.T).amax(dim=0).relu()


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Sum of tensors of one shape, without a copy of all of them."""
    return reduce(torch.add, tensors)


def _attend(G: Pattern, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the neighbours y (C, d) of x (R, d), weighted by the softmax of y . x; and these weights (n,)."""
    s = edge_softmax(G, edge_dot(G, x, y))  # eq. 5
    return edge_product(G, s, y), s  # eq. 6


def _affine(dim_in: int, dim_out: int) -> nn.Linear:
    """x -> W x + b; W Xavier uniform, b = 0."""
    layer = nn.Linear(dim_in, dim_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _with_modality(train: Interactions, features: Features, complete: Pattern) -> Pattern:
    """G_m: the interactions with items that have the modality."""
    kept = features.present[train.item]
    return complete if kept.all() else Pattern(replace(train, user=train.user[kept], item=train.item[kept]).csr())


def _insight(topic: str, rows: Tensor, weights: Tensor, keys: Literal["items", "users"]) -> Insight:
    order = weights.argsort(descending=True)
    return Insight(topic, dict(zip(rows[order].tolist(), weights[order].tolist(), strict=True)), keys)


def _check(num_layers: int, num_id_layers: int, fusion: Fusion, epsilon: float, soft_pruning: bool) -> None:
    if num_layers < 1:
        raise InputError("num_layers of egogcn", expected="1 or more", got=num_layers)
    if num_id_layers < 0:
        raise InputError("num_id_layers of egogcn", expected="0 or more", got=num_id_layers)
    if not 0 <= epsilon <= 1:
        raise InputError(
            "epsilon of egogcn", expected="0 to 1, as the affinities that it is compared with", got=epsilon
        )
    if soft_pruning and fusion in ("align", "none"):
        raise InputError(
            "soft_pruning of egogcn",
            expected="affinities of modalities, from fusion = hard, soft or merge",
            got=f"fusion = {fusion}",
            remedy="choose another fusion, or soft_pruning = false",
        )
