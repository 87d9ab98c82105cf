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

Shapes: U users, I items, M modalities, d = dim, K = num_layers, L = num_id_layers, n edges of a graph, B triplets, k
recommended items; N nodes of one kind (users or items), R nodes that hear C others.
The paper leaves open: the projection of f_im (here GRCN's, which the authors' code has too); the scale of u_m and i_m
(`unit_layers`: length one at layer 0 and after every layer, as in the authors' code; without it they swamp the IDs);
what theta is in lambda ||theta|| (here the rows of layer 0 that the batch touches); c (here of the node that sends, 1
at first); an item that lacks m (here: no edges in G_m, no part in the mean of eq. 2 and the sum of eq. 4, which are
divided by the number of modalities it has, none in eq. 12).
Differs from the paper: `self_loops` adds u_m(0) to eq. 6, which the paper tried. Differs from the authors' code: IDs
keep their length (there it is one, which the paper does not say and which loses a fifth of the recall); gates are
numbers with own weights for users and items (there vectors of size d, shared); any L, each layer fed from the one
before (there three, the third fed from the first); any number of modalities, of any names.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Insight, Recommender, at_least
from medley.nn.edges import Pattern, edge_dot, edge_product, edge_softmax
from medley.nn.init import affine, xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.modalities import FeatureScale, by_name, item_features, sum_of
from medley.nn.parts import inner_products
from medley.nn.propagation import Rows, distinct_rows, propagate_rows, take_rows
from medley.types import Embeddings, Inputs, Triplets

Fusion = Literal["hard", "soft", "merge", "align", "none"]
PerModality = dict[str, Tensor]
Gates = Mapping[str, Mapping[str, nn.Linear]]  # h -> m -> w^hm and b^hm, m != h
Affinities = dict[str, tuple[Tensor, Tensor]]  # m -> s^_iu and s^_ui (eq. 5) on the edges of G_m and G_m.T, (n,) each


class EgoGCN(Recommender):
    """Routing on a graph per modality, whose nodes first hear their neighbours fused with the other modalities.

    Choose it to add content to the IDs of LightGCN: the best of all on TikTok, at ten times the cost of IDs alone.
    """

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
        reg: float = 1e-2,
        feature_scale: FeatureScale = "standard",
    ):
        super().__init__(inputs)
        at_least(1, "egogcn", num_layers=num_layers)
        at_least(0, "egogcn", num_id_layers=num_id_layers)
        if not 0 <= epsilon <= 1:
            expected = "0 to 1, as the affinities that it is compared with"
            raise InputError("epsilon of egogcn", expected=expected, got=epsilon)
        if soft_pruning and fusion in ("align", "none"):
            raise InputError(
                "soft_pruning of egogcn",
                expected="affinities of modalities, from fusion = hard, soft or merge",
                got=f"fusion = {fusion}",
                remedy="choose another fusion, or soft_pruning = false",
            )
        self.num_layers, self.num_id_layers, self.reg = num_layers, num_id_layers, reg
        self.fusion, self.epsilon, self.self_loops, self.unit_layers = fusion, epsilon, self_loops, unit_layers
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        f = {} if fusion == "none" else item_features(inputs, feature_scale)
        self.f = by_name(f)
        self.W = nn.ModuleDict({m: affine(f_m.dim, dim) for m, f_m in self.f.items()})
        self.u = nn.ParameterDict({m: xavier(self.num_users, dim) for m in (["all"] if fusion == "align" else f)})
        self.aligned = Pattern(_aligned(inputs)) if fusion == "align" else None  # (U + M I, U + M I)
        self.G = by_name({} if fusion == "align" else _graphs(inputs, f))  # (U, I) each
        gated = fusion == "soft" and len(f) > 1
        self.user_gates = _gates(f, dim) if gated else None
        self.item_gates = _gates(f, dim) if gated else None
        self.pruned = Pattern(inputs.train.csr()) if soft_pruning else None  # (U, I)
        sizes = {"user": self.num_users, "item": self.num_items} if soft_pruning else {}
        self.c = nn.ParameterDict({kind: torch.ones(size, len(f)) for kind, size in sizes.items()})  # (U, M), (I, M)

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, (1 + M) d) and item (I, (1 + M) d) vectors (eq. 12); with `rows` these alone."""
        users, items = zip(*self._parts(rows).values(), strict=True)
        return Embeddings(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the layer-0 rows that the batch touches (eq. 14)."""
        l2 = l2_of_batch(Embeddings(self.e_user, self.e_item), batch)
        for u in self.u.values():
            l2 = l2 + u.index_select(0, batch.user).square().sum() / (2 * len(batch.user))
        rows, places = distinct_rows(batch)
        return bpr_loss(self(rows), places) + self.reg * l2

    def contributions(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """`id` and every modality, u_m . i_m -> (B, k)."""
        return inner_products(self._parts(), users, items)

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """Of the items it touched: those heard fused, with their affinity (hard), or their gates (soft)."""
        return self._about(user, "items")

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """Of the users who touched it: those heard fused, with their affinity (hard), or their gates (soft)."""
        return self._about(item, "users")

    def _parts(self, rows: Rows | None = None) -> dict[str, Embeddings]:
        """Part of the score -> the vectors whose inner product it is (eq. 9-13), of all or of some."""
        users, items = self._layer_0()
        if self.aligned is not None:
            content, affinities = self._align(self.aligned, users["all"], items), {}
        else:
            content, affinities = self._content(users, items)
        ids = self._ids(rows) if self.pruned is None else take_rows(self._pruned_ids(self.pruned, affinities), rows)
        return {"id": ids} | {m: take_rows(part, rows) for m, part in content.items()}

    def _layer_0(self) -> tuple[PerModality, PerModality]:
        """m -> u_m(0) (U, d), and i_m(0) (I, d): 0 where the item lacks m, which no edge and no sum reads."""
        items = {m: F.leaky_relu(self.W[m](f.values).mul_(f.present), inplace=True) for m, f in self.f.items()}
        return {m: self._scaled(u) for m, u in self.u.items()}, {m: self._scaled(i) for m, i in items.items()}

    def _scaled(self, x: Tensor) -> Tensor:
        """Rows of length one, where that is wanted."""
        return F.normalize(x) if self.unit_layers else x

    def _content(self, users: PerModality, items: PerModality) -> tuple[dict[str, Embeddings], Affinities]:
        """m -> u_m(K) (U, d), i_m(K) (I, d); and the affinities of layer 1."""
        content, affinities = {}, {}
        num_owned = sum_of(f.present.float() for f in self.f.values()).clamp(min=1) if items else 0  # (I, 1)
        users_fused = self._fused(users, self.user_gates, len(users))
        items_fused = self._fused(items, self.item_gates, num_owned)
        for m, G in self.G.items():
            user, s_user = self._hear(G, users[m], items[m], items_fused[m])
            item, s_item = self._hear(G.T, items[m], users[m], users_fused[m])
            if self.self_loops:
                user, item = user + users[m], item + items[m]
            content[m] = self._route(G, Embeddings(self._scaled(user), self._scaled(item)))
            affinities[m] = s_user, s_item
        return content, affinities

    def _fused(self, x: PerModality, gates: Gates | None, num_owned: Tensor | int) -> PerModality:
        """m -> what a node may be heard as instead of x_m(0), (N, d); num_owned: modalities that it has, (N, 1)."""
        if self.fusion == "merge" or len(x) < 2:
            return x
        if gates is None:
            return dict.fromkeys(x, sum_of(x.values()) / num_owned)  # eq. 2, upper case
        g = {h: {m: torch.sigmoid(w(x[h])) for m, w in gates[h].items()} for h in x}  # eq. 3, (N, 1) each
        return {m: sum_of([x[m], *(g[h][m] * x[h] for h in x if h != m)]) / num_owned for m in x}  # eq. 4

    def _hear(self, G: Pattern, x: Tensor, y: Tensor, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the neighbours of x (R, d): y (C, d), or `fused` (C, d) where it matters much; and the affinities."""
        if self.fusion != "hard":
            return _attend(G, x, fused)
        score = edge_dot(G, x, y)
        fuse = edge_softmax(G, score.detach()) > self.epsilon  # eq. 1, 2: a choice, without a gradient
        s = edge_softmax(G, torch.where(fuse, edge_dot(G, x, fused), score))  # eq. 5
        return edge_product(G, s * fuse, fused) + edge_product(G, s * ~fuse, y), s  # eq. 6

    def _route(self, G: Pattern, x: Embeddings) -> Embeddings:
        """Layer K from layer 1."""
        for _ in range(self.num_layers - 1):
            score = edge_dot(G, x.user, x.item)
            s_user, s_item = edge_softmax(G, score), edge_softmax(G.T, G.transposed(score))
            user = x.user + edge_product(G, s_user, x.item)  # eq. 7
            item = x.item + edge_product(G.T, s_item, x.user)  # eq. 8
            x = Embeddings(self._scaled(user), self._scaled(item))
        return x

    def _align(self, G: Pattern, users: Tensor, items: PerModality) -> dict[str, Embeddings]:
        """Layer K from layer 0 on the graph of users and of a node per item and modality."""
        x = torch.cat([users, *items.values()])  # (U + M I, d)
        for _ in range(self.num_layers):
            x = self._scaled(x + _attend(G, x, x)[0])  # eq. 7, 8
        user, *rest = x.split([self.num_users, *[self.num_items] * len(items)])
        return {m: Embeddings(user, item) for m, item in zip(items, rest, strict=True)}

    def _ids(self, rows: Rows | None) -> Embeddings:
        """e_u and e_i, (n, d)."""
        e = Embeddings(self.e_user, self.e_item)
        return propagate_rows(self.graph, e, [1.0] * (self.num_id_layers + 1), rows)[0]  # eq. 10, 11

    def _pruned_ids(self, G: Pattern, affinities: Affinities) -> Embeddings:
        """The same with the weights max(0, max_m c_m s^_m), c being of the node that sends."""
        sender_user, sender_item = G.rows.row(), G.rows.index  # (n,)
        nothing = self.e_user.new_zeros(len(G))
        w_user, w_item = nothing, nothing
        for k, (m, (s_user, s_item)) in enumerate(affinities.items()):
            has = self.f[m].present[sender_item, 0]  # (n,), which edges are in G_m
            w_user = w_user.maximum(nothing.masked_scatter(has, s_user) * self.c["item"][sender_item, k])
            s_item = self.G[m].T.transposed(s_item)  # in the order of G_m
            w_item = w_item.maximum(nothing.masked_scatter(has, s_item) * self.c["user"][sender_user, k])
        w_item = G.transposed(w_item)
        e = total = Embeddings(self.e_user, self.e_item)
        for _ in range(self.num_id_layers):
            e = Embeddings(edge_product(G, w_user, e.item), edge_product(G.T, w_item, e.user))  # eq. 10
            total = Embeddings(total.user + e.user, total.item + e.item)  # eq. 11
        return total

    def _about(self, row: int, kind: Literal["items", "users"]) -> list[Insight]:
        """What layer 1 does with the neighbours, which are of this kind, of one user or item."""
        users, items = self._layer_0()
        x, y, gates = (users, items, self.item_gates) if kind == "items" else (items, users, self.user_gates)
        insights = []
        for m, G in self.G.items() if len(self.f) > 1 else ():
            side = G.rows if kind == "items" else G.columns
            near = side.index[side.start[row] : side.start[row + 1]].long()  # rows of y
            if self.fusion == "hard":
                s = torch.softmax(y[m][near] @ x[m][row], dim=0)  # eq. 1
                fused = s > self.epsilon
                insights.append(Insight.ranked(f"{m}: {kind} heard fused", near[fused], s[fused], kind=kind))
            for h, w in (gates or {}).items():
                if h != m:
                    have = near[self.f[h].present[near, 0]] if kind == "items" else near
                    g = torch.sigmoid(w[m](y[h][have]))[:, 0]  # eq. 3
                    insights.append(Insight.ranked(f"{m}: gates of {kind} for {h}", have, g, kind=kind))
        return [insight for insight in insights if insight.weights]


def _attend(G: Pattern, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the neighbours y (C, d) of x (R, d), weighted by the softmax of y . x; and these weights (n,)."""
    s = edge_softmax(G, edge_dot(G, x, y))  # eq. 5
    return edge_product(G, s, y), s  # eq. 6


def _gates(modalities: Iterable[str], dim: int) -> Gates:
    """Of users or of items."""
    gates = {h: nn.ModuleDict({m: affine(dim, 1) for m in modalities if m != h}) for h in modalities}
    return nn.ModuleDict(gates)  # pyrefly: ignore[bad-return]


def _graphs(inputs: Inputs, f: Iterable[str]) -> dict[str, Pattern]:
    """m -> G_m (U, I); the modalities that no item lacks share one."""
    complete = Pattern(inputs.train.csr())
    part = {m: graphs.with_modality(inputs.train, inputs.features[m]) for m in f}
    return {m: complete if len(edges) == len(inputs.train) else Pattern(edges.csr()) for m, edges in part.items()}


def _aligned(inputs: Inputs) -> sp.csr_array:
    """Users beside items in every modality, those of one item joined (Table 4, EgoGCN-NA), (U + M I, U + M I)."""
    R = inputs.train.csr()
    present = [sp.diags_array(features.present.astype(np.float32)) for features in inputs.features.values()]
    blocks = [[None, *(R @ p for p in present)]]
    blocks += [[(R @ p).T, *(None if p is q else p @ q for q in present)] for p in present]
    adjacency = sp.csr_array(sp.block_array(blocks))
    adjacency.eliminate_zeros()
    return adjacency
