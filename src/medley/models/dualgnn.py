"""DualGNN. Wang et al., "DualGNN: Dual Graph Neural Network for Multimedia Recommendation", IEEE Transactions on
Multimedia 2023 (online 2021), https://doi.org/10.1109/TMM.2021.3138298.

Per modality m, on the interaction graph G_m:

    u_m(l+1) = sum_{i in N_u} i_m(l) / sqrt(|N_u| |N_i|)      i_m(l+1) likewise from users                 (eq. 1)
    u_m = sum_l u_m(l)      i_m = sum_l i_m(l)      l = 0..L                                               (eq. 2)

Every user weighs the modalities, alpha_um = 1 at first, and aggregates the users with whom it shares most items:

    u_mul = W_m (||_m alpha_um u_m) + b_m      construction = "concat"                                     (eq. 3)
    u_mul = sum_m alpha_um u_m                 construction = "sum"                                        (eq. 4)
    u_mul = max_m alpha_um u_m                 construction = "max", per dimension                         (eq. 5)
    u_mul <- u_mul + mean of u'_mul            aggregation = "mean", over N_u,c: the top K users by C_uu'  (eq. 6)
    u_mul <- u_mul + sum_u' a_uu' u'_mul       aggregation = "softmax", a = softmax of C_uu' over N_u,c    (eq. 7)

Last, u* = u_mul after L' of these steps, i* = sum_m i_m (eq. 8), s_ui = u* . i* (eq. 9), so an item's modality m has
the part u* . i_m of the score. The loss is the mean of -ln sigmoid(s_ui - s_uj) + reg ||theta||^2 (eq. 11).

Variants: Dual-U is num_user_layers = 0; Dual-A is construction = "mean", without alpha; Dual-A-U is both (Table IV).
Dual/v is a data set with that modality alone (Fig. 3), Fig. 9 one whose items lack modalities.

Shapes: U users, I items, M modalities, d = dim, d_m raw dimension of modality m, L = num_layers,
L' = num_user_layers, K = k, B triplets.
The paper leaves open: how raw features become i_m(0) of size d (`projection`); the scale of u_m(0) and i_m(0)
(`unit_input`: all of length one, as in the authors' code); where lambda ||theta||_2 applies (here half the squared norm
of the rows of users in the batch, per triplet, and of whole matrices); an item that lacks m (here, as in Fig. 9: no
edges in G_m, no i_m in eq. 8, and neighbours count it in no |N| of G_m); a user who shares no item with anybody (here:
nothing is added in eq. 6-7). How to read alpha: it scales a u_m whose size is learned too, so alpha alone does not show
which users a modality attracts; the margins of the modalities do (`medley.serving.explain`).
Differs from the authors' code: alpha starts at 1 (there at a softmax of random numbers); ln, not log2, in the loss;
any L and L' (there 2 and 1 whatever the options say); a user with fewer than K neighbours has fewer (there some are
repeated at random, which changes their weights); edges of missing items are dropped (there the shortened lists of edges
are made but not read). C is never formed: its top K per row are counted directly.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Count, Insight, Layers, Recommender, Weight
from medley.models.spaces import LR, REG, Choice, Space
from medley.nn.init import affine, linear, xavier
from medley.nn.losses import bpr_loss, l2_of_parameters, squared_rows
from medley.nn.modalities import FeatureScale, by_name, item_features, sum_of
from medley.nn.propagation import Rows, distinct_rows, lightgcn, take
from medley.nn.sparse import SparseMatrix, product_rows
from medley.types import Embeddings, Inputs, Triplets

Construction = Literal["sum", "max", "concat", "mean"]
Aggregation = Literal["softmax", "mean"]
Projection = Literal["linear", "mlp", "none"]


class DualGNN(Recommender):
    """Light graph convolution per modality, each user's own weights of the modalities, and a graph of similar users.

    Choose it where users care for different modalities and items are many, new or short-lived: items have no ID.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,  # Sec. V-D goes on to 0.1 and 1e-5
        "reg": REG,  # Sec. V-D
        "construction": Choice(("sum", "max", "concat", "mean")),  # Fig. 4, Table IV
        "aggregation": Choice(("softmax", "mean")),  # Fig. 5
        "k": Choice((10, 20, 40, 50)),  # Sec. V-D: 40, 50
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 2e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 2,  # Sec. V-D
        construction: Construction = "sum",  # Fig. 4: best on both data sets
        aggregation: Aggregation = "softmax",  # Fig. 5: best on both
        num_user_layers: Layers = 1,  # Sec. V-D
        k: Count = 40,  # Sec. V-D: 40 on MovieLens, 50 on TikTok
        projection: Projection = "linear",
        unit_input: bool = False,
        reg: Weight = 1e-2,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.construction, self.num_user_layers, self.reg = construction, num_user_layers, reg
        self.num_layers, self.unit_input = num_layers, unit_input
        features = item_features(inputs, feature_scale)
        self.f = nn.ModuleDict(features)  # m -> (I, d_m)
        self.project = nn.ModuleDict({m: _projection(projection, m, f.dim, dim) for m, f in features.items()})
        self.u = nn.ParameterDict({m: xavier(self.num_users, dim) for m in features})  # m -> u_m(0), (U, d)
        whole = graphs.symmetric(inputs.train)  # one for all modalities that no item lacks
        graph = {}
        for m, of in inputs.features.items():
            graph[m] = whole if of.present.all() else graphs.symmetric(graphs.with_modality(inputs.train, of))
        self.graph = by_name(graph)  # m -> (U, I)
        weighted, num_modalities = construction != "mean", len(features)
        self.alpha = nn.Parameter(torch.ones(self.num_users, num_modalities)) if weighted else None  # (U, M)
        self.W_m = affine(num_modalities * dim, dim) if construction == "concat" else None
        self.neighbours = None
        if num_user_layers:
            C = graphs.user_cooccurrence(inputs.train, k)  # its top K per row
            weights = {"mean": graphs.normalise_rows(graphs.binarise(C)), "softmax": graphs.softmax_rows(C)}
            self.neighbours = SparseMatrix(weights[aggregation])  # (U, U), eq. 6 or 7

    def _convolved(self) -> dict[str, Embeddings]:
        """Modality -> u_m (U, d) and i_m (I, d) (eq. 1, 2)."""
        convolved = {}
        for m, f in self.f.items():
            user, item = self.u[m], self.project[m](f.values) * f.present
            if self.unit_input:
                user, item = F.normalize(user), F.normalize(item)
            convolved[m], _ = lightgcn(self.graph[m], Embeddings(user, item), self.num_layers, combine="sum")
        return convolved

    def _fused(self, users: Sequence[Tensor], rows: Tensor | None = None) -> Tensor:
        """u_m of every modality, (U, d) each -> u* (U, d); with `rows` (n,) of these users alone, (n, d)."""
        if self.alpha is None:
            user = sum_of(users) / len(users)  # Table IV
        else:
            users = [weight * user for weight, user in zip(self.alpha.split(1, dim=1), users, strict=True)]
            if self.W_m is not None:
                user = self.W_m(torch.cat(users, dim=1))  # eq. 3
            elif self.construction == "sum":
                user = sum_of(users)  # eq. 4
            else:
                user = reduce(torch.maximum, users)  # eq. 5
        if self.neighbours is not None:
            num_whole = self.num_user_layers if rows is None else self.num_user_layers - 1
            for _ in range(num_whole):
                user = user + self.neighbours @ user  # eq. 6 or 7
            if rows is not None:
                return take(user, rows) + product_rows(self.neighbours, user, rows)
        return user if rows is None else take(user, rows)

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, d) and item (I, d) vectors (eq. 8); with `rows` these alone."""
        users, items = zip(*self._convolved().values(), strict=True)  # M x (U, d), M x (I, d)
        if rows is None:
            return Embeddings(self._fused(users), sum_of(items))
        return Embeddings(self._fused(users, rows.user), take(sum_of(items), rows.item))

    def parts(self) -> dict[str, Embeddings]:
        """Modality -> u* and i_m."""
        convolved = self._convolved()
        user = self._fused([x.user for x in convolved.values()])
        return {m: Embeddings(user, x.item) for m, x in convolved.items()}

    def loss(self, batch: Triplets) -> Tensor:
        """BPR; L2 of the rows of users in the batch and of whole matrices (eq. 11)."""
        tables = [*self.u.values(), *([] if self.alpha is None else [self.alpha])]
        matrices = [*self.project.parameters(), *([] if self.W_m is None else self.W_m.parameters())]
        of_users = sum_of(squared_rows(table, batch.user) for table in tables)
        l2 = of_users / (2 * len(batch.user)) + (l2_of_parameters(matrices) if matrices else 0)
        rows, places = distinct_rows(batch)
        return bpr_loss(self(rows), places) + self.reg * l2

    def about_user(self, user: int) -> list[Insight]:
        """The user's alpha, and the users whose vectors it aggregates."""
        insights = []
        if self.alpha is not None:
            insights.append(Insight.ranked("weights of the modalities", self.f, self.alpha[user]))
        if self.neighbours is not None:
            users, weights = self.neighbours.by_row.arrays.entries(user)
            insights.append(Insight.ranked("users with the same items", users, weights, kind="users"))
        return insights


def _projection(kind: Projection, modality: str, dim_in: int, dim: int) -> nn.Module:
    """f_im (I, d_m) -> i_m(0) (I, d)"""
    if kind == "mlp":
        return nn.Sequential(affine(dim_in, 4 * dim), nn.LeakyReLU(), affine(4 * dim, dim))
    if kind == "linear":
        return linear(dim_in, dim)
    if dim_in != dim:
        raise InputError(
            f"dim of {modality} without a projection",
            expected=f"dim = {dim}",
            got=dim_in,
            remedy="choose projection=linear or mlp",
        )
    return nn.Identity()
