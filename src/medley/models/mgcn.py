"""MGCN. Yu et al., "Multi-View Graph Convolutional Network for Multimedia Recommendation", MM 2023,
https://arxiv.org/abs/2308.03588.

Users and items: LightGCN, R^ = D_u^-1/2 R D_i^-1/2:

    E = mean_l e(l), l = 0..L                                                          the view of behaviour

Per modality m an item's ID, gated by its features, is propagated on the graph S_m of each item's k nearest by cosine
(itself among them, weighted by the cosine; S^_m = D^-1/2 S_m D^-1/2), and then to users:

    x_m = e_i * sigmoid(W_2m (W_1m f_m + b_1m) + b_2m)                                 behaviour-guided purifier
    E_im = S^_m^L' x_m      E_um = sum_{i in N_u} E_im / sqrt(|N_u| |N_i|)             the view of the modality

Users and items alike fuse the shared and the specific content of the M modalities, gated by the view of behaviour:

    alpha = softmax_m(q . tanh(W_4 E_m + b_4))      E_s = sum_m alpha_m E_m            shared
    P_m = sigmoid(W_3m E + b_3m)                                                       preference
    E_mul = E_s + 1/M sum_m (E_m - E_s) * P_m                                          behaviour-aware fuser

    e* = E + E_mul      s_ui = e_u* . e_i*
    loss = BPR + contrast_weight InfoNCE(E_mul, E) + reg (|e_u*|^2 + |e_i*|^2 + |e_j*|^2) / 2

InfoNCE(x, y) is the mean over users of -ln softmax_v(cos(x_u, y_v) / temperature) at v = u, plus that over items; each
user and each positive item of the batch once. E_mul is the sum over m of E_m * (alpha_m (1 - mean_m' P_m') + P_m / M),
so with H_m for these terms the score has the parts

    part_id = E_u . E_i        part_m = H_um . (E_i + H_i / 2) + (E_u + H_u / 2) . H_im

which sum to it: products of two modalities are halved between the two (these are their Shapley values).

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, M modalities, L = num_layers, L' = num_item_layers,
K = k, n rows of users or items, B triplets.
The paper leaves open: an item that lacks m (here: no edges in S_m, no E_m; alpha, 1/M and the sums run over the
modalities it has, for a user over those of the items seen; without any modality E alone remains). With one modality
E_mul is E_m, and there is neither attention nor preference.
Differs from the paper: below InfoNCE's fraction are the pairs of x_u with every y_v, of the batch, as in the authors'
code (the paper prints those of x_v with y_v, of all users); L2 is of e* in the batch, likewise.
Differs from the authors' code: E_mul is the paper's (there, with two modalities, E_s and both terms of the sum weigh
1/3); raw features are fixed (there they are trained, but the graph is not built anew); a user or item that comes twice
in a batch is not its own negative; no schedule of the learning rate.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.models.base import Count, Insight, Layers, Positive, Recommender, Weight
from medley.models.cold import Cold, ColdItems
from medley.models.spaces import LR, Choice, Log, Space, Whole
from medley.nn.chosen import Offset
from medley.nn.init import affine, linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.modalities import FeatureScale, ItemFeatures, item_features, masked_softmax
from medley.nn.propagation import Rows, distinct_rows, lightgcn, take
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Inputs, Triplets


class MGCN(Recommender):
    """LightGCN plus item IDs gated by content and smoothed over similarity graphs, in a fusion gated by behaviour.

    Choose it when raw features are noisy and should be filtered by user behaviour.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-6, 1e-1),
        "contrast_weight": Log(1e-3, 1e-1),  # MMRec
        "temperature": Log(5e-2, 1.0),  # the authors: 0.2
        "num_layers": Whole(1, 4),
        "k": Choice((5, 10, 20)),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    user_has: Tensor  # (U, M) bool
    item_has: Tensor  # (I, M) bool

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 2,
        num_item_layers: Count = 1,
        k: Count = 10,
        contrast_weight: Weight = 1e-2,  # the authors' setting; MMRec tries 1e-3, 1e-2, 1e-1
        temperature: Positive = 0.2,
        reg: Weight = 1e-4,
        feature_scale: FeatureScale = "l2",
        cold: Cold = "model",
        cold_offset: Offset = "auto",
    ):
        super().__init__(inputs)
        self.num_layers, self.reg = num_layers, reg
        self.contrast_weight, self.temperature = contrast_weight, temperature
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        features = item_features(inputs, feature_scale)
        knn = {m: graphs.item_knn(inputs.features[m], k) for m in features}
        self.views = nn.ModuleDict({m: _View(f, dim, knn[m], num_item_layers) for m, f in features.items()})
        self.fuse = _Fuser(list(features), dim)
        item_has = np.stack([np.diff(graph.indptr) > 0 for graph in knn.values()], axis=1)  # (I, M)
        user_has = inputs.train.csr() @ item_has.astype("f4") > 0  # (U, M)
        self.register_buffer("item_has", torch.from_numpy(item_has), persistent=False)
        self.register_buffer("user_has", torch.from_numpy(user_has), persistent=False)
        self.cold = ColdItems(inputs, cold, cold_offset)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors e*."""
        user, item = self._sides()
        return self.cold.score(Embeddings(user.E + user.mul, item.E + item.mul))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR, contrast of the two views, and L2 of the final vectors of the batch."""
        rows, places = distinct_rows(batch)
        user, item = self._sides(rows)
        vectors, positives = Embeddings(user.E + user.mul, item.E + item.mul), places.pos.unique()
        contrast = _info_nce(user.mul, user.E, self.temperature)
        contrast = contrast + _info_nce(take(item.mul, positives), take(item.E, positives), self.temperature)
        return bpr_loss(vectors, places) + self.contrast_weight * contrast + self.reg * l2_of_batch(vectors, places)

    def parts(self) -> dict[str, Embeddings]:
        """`id` -> E_u and E_i; modality -> H_um || E_u + H_u / 2 and E_i + H_i / 2 || H_im."""
        user, item = self._sides()
        half_u, half_i = user.E + user.mul / 2, item.E + item.mul / 2
        parts = {"id": Embeddings(user.E, item.E)}
        for m in self.views:
            parts[m] = Embeddings(torch.cat([user.H[m], half_u], dim=1), torch.cat([half_i, item.H[m]], dim=1))
        return self.cold.parts(parts)

    def about_user(self, user: int) -> list[Insight]:
        """Weights of attention in E_s (alpha)."""
        return self._about(self._sides(self._rows(user, 0))[0])

    def about_item(self, item: int) -> list[Insight]:
        """Weights of attention in E_s (alpha)."""
        return self._about(self._sides(self._rows(0, item))[1])

    def _rows(self, user: int, item: int) -> Rows:
        return Rows(*torch.tensor([[user], [item]], device=self.e_user.device))

    def _about(self, fused: "_Fused") -> list[Insight]:
        return [Insight.ranked("weights of the modalities", self.views, fused.alpha[0])] if self.fuse.has_choice else []

    def _sides(self, rows: Rows | None = None) -> tuple["_Fused", "_Fused"]:
        """Returns the views of users and of items; with `rows` of these alone."""
        E, _ = lightgcn(self.graph, Embeddings(self.e_user, self.e_item), self.num_layers, rows)
        items = {m: view(self.e_item) for m, view in self.views.items()}  # (I, d) each
        users = {m: self.graph @ E_m for m, E_m in items.items()}  # (U, d) each
        at_user, at_item = (None, None) if rows is None else rows
        return self.fuse(E.user, users, self.user_has, at_user), self.fuse(E.item, items, self.item_has, at_item)


class _Fused(NamedTuple):
    """The views of n users or items."""

    E: Tensor  # (n, d)
    H: dict[str, Tensor]  # modality -> (n, d)
    mul: Tensor  # (n, d), E_mul: the sum of H
    alpha: Tensor  # (n, M)


class _View(nn.Module):
    """Item IDs, purified and propagated on the similarity graph of one modality."""

    def __init__(self, features: ItemFeatures, dim: int, knn: sp.csr_array, num_layers: int):
        super().__init__()
        self.f, self.num_layers = features, num_layers
        self.W1, self.W2 = affine(features.dim, dim), affine(dim, dim)
        self.S = SparseMatrix(graphs.normalise_symmetric(knn))

    def forward(self, e: Tensor) -> Tensor:
        """IDs (I, d) -> E_im (I, d); 0 for items that lack the modality: no edge leads to or from them."""
        x = e * torch.sigmoid(self.W2(self.W1(self.f.values)))
        for _ in range(self.num_layers):
            x = self.S @ x
        return x


class _Fuser(nn.Module):
    """Behaviour-aware fuser of the shared and the specific content of modalities."""

    def __init__(self, modalities: list[str], dim: int):
        super().__init__()
        self.has_choice = len(modalities) > 1
        if self.has_choice:
            self.W3 = nn.ModuleDict({m: affine(dim, dim) for m in modalities})
            self.W4, self.q = affine(dim, dim), linear(dim, 1)

    def forward(self, E: Tensor, views: dict[str, Tensor], has: Tensor, rows: Tensor | None) -> _Fused:
        """Fuses the views of users or of items.

        Args:
            E: (n, d), the view of behaviour.
            views: modality -> E_m (N, d).
            has: (N, M) bool, which modalities each row has.
            rows: (n,), the rows that E holds; None: all N.
        """
        if rows is not None:
            has = has[rows]
            views = {m: take(E_m, rows) for m, E_m in views.items()}
        if not self.has_choice:
            (E_m,) = views.values()
            return _Fused(E, views, E_m, has.to(E.dtype))
        score = torch.cat([self.q(torch.tanh(self.W4(E_m))) for E_m in views.values()], dim=1)  # (n, M)
        alpha = masked_softmax(score, has)
        M = has.sum(dim=1, keepdim=True).clamp(min=1)
        P = {m: torch.sigmoid(W3(E)) * has[:, [c]] / M for c, (m, W3) in enumerate(self.W3.items())}  # P_m / M
        rest = 1 - sum(P.values())  # 1 - mean of P, (n, d)
        H = {m: E_m * (alpha[:, [c]] * rest + P[m]) for c, (m, E_m) in enumerate(views.items())}
        return _Fused(E, H, torch.stack(list(H.values())).sum(dim=0), alpha)


def _info_nce(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Returns InfoNCE of x and y, (n, d): small where row i of x is more similar to row i of y than to other rows."""
    similarity = F.normalize(x) @ F.normalize(y).T / temperature  # (n, n)
    return F.cross_entropy(similarity, torch.arange(len(x), device=x.device))
