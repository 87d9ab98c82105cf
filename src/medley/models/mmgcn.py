"""MMGCN. Wei et al., "MMGCN: Multi-modal Graph Convolution Network for Personalized Recommendation of Micro-video",
MM 2019, https://doi.org/10.1145/3343031.3351034.

Per modality m, on the interaction graph G_m, for l = 1..L, users and items alike (u stands for both):

    h = LeakyReLU(mean_{j in N_u} W1 j_m)         aggregation = "mean"                                      (eq. 2)
    h = LeakyReLU(max_{j in N_u} W1 j_m)          aggregation = "max", per dimension                        (eq. 3)
    u^_m = LeakyReLU(W2 u_m) + u_id                                                                        (eq. 5)
    u_m <- LeakyReLU(W3 (h || u^_m))     combination = "concat"                                            (eq. 6)
    u_m <- LeakyReLU(W3 h + u^_m)        combination = "element-wise"                                      (eq. 7)

u_m^(0) is a trained vector of size d_m for a user and the raw feature for an item. Last, u* = sum_m u_m^(L) (eq. 9),
s_ui = u* . i*, so an item's modality m has the part u* . i_m of the score.

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, L = num_layers, B triplets.
The paper leaves open: the sizes d'_m (here d in every layer), where lambda ||Theta||^2 applies (here to all
trained parameters), how an item that lacks m is treated (here: its edges are not in G_m, its i_m is left out of eq. 9).
Differs from the authors' code: user vectors and IDs are trained (there they never reached the optimiser:
`freeze_vectors` = True); modalities are summed as in eq. 9 (there averaged); any number of layers (there three whatever
the option says); `combination` is what it says (there `concate='False'` is a true string, so the published command runs
"concat"); rows of layer 0 keep their length, of items as `feature_scale` leaves it (there users and items have length
one); W2 and W3 have no biases, as in eq. 5-7; every modality has the same layers (there visual features pass a trained
layer of 256 first, and W1 of layer 1 is d_m x d_m); L2 is of all trained parameters (there weight times the mean
squares of the IDs of the batch and of all visual user vectors, which nothing trained: a constant).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.models.base import Count, Recommender, Weight
from medley.models.spaces import LR, Choice, Log, Space, Whole
from medley.nn.edges import Pattern, neighbour_max
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_parameters
from medley.nn.modalities import FeatureScale, ItemFeatures, item_features, sum_of
from medley.nn.propagation import Rows, distinct_rows, take
from medley.types import Embeddings, Inputs, Interactions, Triplets

Aggregation = Literal["mean", "max"]
Combination = Literal["element-wise", "concat"]

# The paper's grid of lambda, at most 0.1 beside a sum over at most 512 triplets, is at most 2e-4 beside the mean here.
# tools/mmgcn_reg.py, validation Recall@20 with the settings of the README's lines, seed 0 (docs/log.md, 2026-11-26):
#
#              popularity   0     1e-5   1e-4   1e-3   1e-2
#     demo           .039  .199   .204   .195   .085   .040
#     lfm2k          .132  .361   .356   .345   .234   .136
#     TikTok         .063  .060   .053   .054   .048   .067   where two items decide, and all are near popularity
REG = 1e-5


class MMGCN(Recommender):
    """One graph convolution network per modality, joined by shared ID vectors and a sum.

    Choose it as the baseline of its field, on dense data: where items have few users, its means trust these too much.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-7, 2e-4),  # Sec. 4.1.3, divided by its 512 triplets, as that loss is a sum: docs/log.md
        "num_layers": Whole(1, 3),  # Table 4
        "aggregation": Choice(("mean", "max")),  # eq. 2, 3
        "combination": Choice(("element-wise", "concat")),  # Table 3
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 2e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Count = 2,  # Table 4: two is best on all three data sets
        aggregation: Aggregation = "mean",
        combination: Combination = "element-wise",  # Table 3: best on all three
        use_id: bool = True,
        freeze_vectors: bool = False,  # of users and IDs, as in the authors' code
        reg: Weight = REG,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.reg = reg
        self.id_user = xavier(self.num_users, dim) if use_id else None  # (U, d)
        self.id_item = xavier(self.num_items, dim) if use_id else None  # (I, d)
        self.branches = nn.ModuleDict()
        for m, features in item_features(inputs, feature_scale).items():
            edges = graphs.with_modality(inputs.train, inputs.features[m])  # of G_m
            neighbours = _Mean(edges) if aggregation == "mean" else _Max(edges)
            self.branches[m] = _Branch(neighbours, features, self.num_users, dim, num_layers, combination)
        if freeze_vectors:
            for vectors in (self.id_user, self.id_item, *(branch.user for branch in self.branches.values())):
                if vectors is not None:
                    vectors.requires_grad_(False)

    def _last_layers(self, rows: Rows | None = None) -> dict[str, Embeddings]:
        """Modality -> u_m^(L) (U, d) and i_m^(L) (I, d); with `rows` these alone."""
        return {m: branch(self.id_user, self.id_item, rows) for m, branch in self.branches.items()}

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, d) and item (I, d) vectors (eq. 9); with `rows` these alone."""
        users, items = zip(*self._last_layers(rows).values(), strict=True)
        return Embeddings(sum_of(users), sum_of(items))

    def parts(self) -> dict[str, Embeddings]:
        """Modality -> u* and i_m."""
        last = self._last_layers()
        user = sum_of(x.user for x in last.values())  # eq. 9
        return {m: Embeddings(user, x.item) for m, x in last.items()}

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of all trained parameters (eq. 11)."""
        rows, places = distinct_rows(batch)
        trained = (parameter for parameter in self.parameters() if parameter.requires_grad)
        return bpr_loss(self(rows), places) + self.reg * l2_of_parameters(trained)


class _Mean(nn.Module):
    """Mean over neighbours (eq. 2, inside): users average their items, items their users."""

    def __init__(self, edges: Interactions):
        super().__init__()
        self.graph = graphs.mean_over_neighbours(edges)

    def forward(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        return self.graph.users_from_items @ item, self.graph.items_from_users @ user


class _Max(nn.Module):
    """Maximum over neighbours in every dimension (eq. 3, inside)."""

    def __init__(self, edges: Interactions):
        super().__init__()
        self.items_of_users = Pattern(edges.csr())
        self.users_of_items = self.items_of_users.T

    def forward(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        return neighbour_max(self.items_of_users, item), neighbour_max(self.users_of_items, user)


class _Branch(nn.Module):
    """The graph convolution network of one modality."""

    def __init__(
        self,
        neighbours: _Mean | _Max,
        features: ItemFeatures,
        num_users: int,
        dim: int,
        num_layers: int,
        combination: Combination,
    ):
        super().__init__()
        self.neighbours, self.features = neighbours, features
        self.user = xavier(num_users, features.dim)  # (U, d_m)
        dims_in = [features.dim] + [dim] * (num_layers - 1)
        dim_w3 = 2 * dim if combination == "concat" else dim
        self.concat = combination == "concat"
        self.W1 = nn.ModuleList(linear(dim_in, dim) for dim_in in dims_in)
        self.W2 = nn.ModuleList(linear(dim_in, dim) for dim_in in dims_in)
        self.W3 = nn.ModuleList(linear(dim_w3, dim) for _ in dims_in)

    def forward(self, id_user: Tensor | None, id_item: Tensor | None, rows: Rows | None) -> Embeddings:
        user, item, present = self.user, self.features.values, self.features.present  # (U, d_m), (I, d_m), (I, 1)
        last = len(self.W1) - 1
        for layer, (W1, W2, W3) in enumerate(zip(self.W1, self.W2, self.W3, strict=True)):
            h_user, h_item = self.neighbours(W1(user), W1(item))  # (U, d), (I, d)
            if layer == last and rows is not None:  # the other rows are not needed
                h_user, user = take(h_user, rows.user), take(user, rows.user)
                h_item, item, present = (take(x, rows.item) for x in (h_item, item, present))
                if id_user is not None and id_item is not None:
                    id_user, id_item = take(id_user, rows.user), take(id_item, rows.item)
            user = self._combine(W2, W3, act(h_user), user, id_user)  # eq. 2 or 3
            item = self._combine(W2, W3, act(h_item), item, id_item)
        return Embeddings(user, item * present)

    def _combine(self, W2: nn.Module, W3: nn.Module, h: Tensor, x: Tensor, x_id: Tensor | None) -> Tensor:
        hat = act(W2(x)) if x_id is None else act(W2(x)) + x_id  # eq. 5
        if self.concat:
            return act(W3(torch.cat([h, hat], dim=1)))  # eq. 6
        return act(W3(h).add_(hat))  # eq. 7


def act(x: Tensor) -> Tensor:
    """Applies LeakyReLU in place: every x here is a new product that nothing else reads."""
    return F.leaky_relu(x, inplace=True)
