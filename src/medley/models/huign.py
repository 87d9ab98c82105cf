"""HUIGN. Wei et al., "Hierarchical User Intent Graph Network for Multimedia Recommendation", IEEE Transactions on
Multimedia 2022, https://arxiv.org/abs/2110.14925.

Per modality m, on the graph A of items that enough users have in common (eq. 2), from the raw features X(0), A(0) = A:

    Z(l) = D^-1/2 A(l) D^-1/2 X(l)                  within a level                                         (eq. 4)
    X(l+1) = K(l+1) supernodes, trained: the intents of the level above                                    (eq. 5)
    Gamma(l+1) = softmax over the supernodes k of z_i(l) . x_k(l+1)                                        (eq. 6, 7)
    A(l) = Gamma(l)^T A(l-1) Gamma(l)               edges of the supernodes                              (eq. 8)
    L1(l) = -1/K sum_k gamma_ik ln gamma_ik         small where a node belongs to one intent               (eq. 9)
    L2(l) = 1/K || X(l) X(l)^T - I ||               small where intents are independent                    (eq. 10)

An item is its distribution over the intents of all levels, a user one weight for each of them; IDs are appended:

    x^_i(l) = row i of Gamma(1) Gamma(2) .. Gamma(l)      v_im = x^_i(1) || .. || x^_i(L)                  (eq. 11, 12)
    v_i = v^_i || sum_m v_im      u = u^_u || u*          s_ui = u . v_i                                   (eq. 13-15)
    L = entropy_reg sum L1 + independence_reg sum L2 + BPR + reg ||theta||^2                               (eq. 17, 18)

so an item's modality m has the part u* . v_im of the score. HUIGN-C, -I and -C-I are entropy_reg = 0,
independence_reg = 0 and both.

The weights u* of the intents have intent_reg times the reg of the IDs (the paper: once): a reg that keeps K weights per
user from fitting the train triplets may be more than the IDs need.

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, L levels of K1..KL intents, K = K1 + .. + KL.
The paper leaves open: an item without neighbours, for which eq. 4 gives z_i = 0 and so equal shares of all intents
(`self_loops` = False). By default z_i is, as eq. 1 allows, its own features, and an item that users have seen, but none
of the others often enough with it, joins itself, so its intents have an edge in eq. 8; an item without interactions has
no edge, and changes nothing for others. Also open: the node i of eq. 9 (here the mean over nodes), the norm of eq. 10
(here Frobenius), where lambda_3 applies (here half the squared norm of the rows of IDs and users in a batch, per
triplet), how an item that lacks m is treated (here: its edges are not in A, and eq. 8, 9 and 14 leave it out).
Differs from the paper: u* is one vector, not a sum of one per modality that occurs nowhere else (eq. 14).
Differs from the authors' code: eq. 4 as written (there a mean over neighbours with a weight matrix and LeakyReLU,
twice); one 1/K in eq. 10 (there 1/K^2) and in eq. 9 (there none); L1 and L2 count once each (there one tensor has both
names, so each counts twice); A is sparse, and Z(0), which no parameter changes, is computed once.
"""

from collections.abc import Mapping
from itertools import pairwise
from operator import index
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from medley import graphs
from medley.models.base import Count, Insight, Recommender, Weight
from medley.models.spaces import LR, Choice, Log, Space
from medley.nn.init import xavier
from medley.nn.losses import rows_of_batch
from medley.nn.modalities import FeatureScale, ItemFeatures, item_features, sum_of
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Inputs, Triplets

SMALLEST_DEGREE = 1e-12  # of a supernode: its degree is 0 where no item has an edge
NUM_COLUMNS = 64  # of the raw features that are propagated at a time: they may be gigabytes
NUM_EXAMPLES = 5  # items that illustrate an intent


def _parse_levels(value: Any) -> tuple[int, ...]:
    """Parses [32, 8, 4], the text "32,8,4" of a command line, or a single level."""
    sizes = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        levels = tuple(int(size) if isinstance(size, str) else index(size) for size in sizes)
    except (TypeError, ValueError):
        levels = ()
    if not levels or min(levels) < 2:
        raise ValueError("numbers of intents, each 2 or more, such as 32,8,4")
    return levels


IdDim = Annotated[int, Field(ge=0)]  # 0 leaves the IDs out
Levels = Annotated[tuple[int, ...], BeforeValidator(_parse_levels)]


class Level(NamedTuple):
    """The supernodes of one level, and the assignment of the nodes below to these supernodes."""

    X: Tensor  # (K(l), d_m)
    gamma: Tensor  # (nodes, K(l)); rows sum to 1, or are 0 where an item lacks the modality
    log_gamma: Tensor  # (nodes, K(l)), before rows are set to 0


class HUIGN(Recommender):
    """Items as distributions over a hierarchy of intents that is learned from items with common users.

    Choose it to show the intents that items share, where content decides; elsewhere it is not better than mf.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,  # Sec. 4.1.4 goes on to 1
        "reg": Log(1e-5, 1.0),  # Sec. 4.1.4; README of the authors' code: 0.1 for TikTok and Kwai
        "intent_reg": Log(1e-2, 1e2),
        "threshold": Choice((1, 2, 5, 10)),  # Sec. 4.1.1: 5
        "entropy_reg": Log(1e-5, 1e-1),  # Sec. 4.1.4
        "independence_reg": Log(1e-5, 1e-1),  # Sec. 4.1.4
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: IdDim = 64,  # Sec. 4.1.4
        levels: Levels = (32, 8, 4),  # Table 3
        threshold: Count = 5,  # Sec. 4.1.1
        self_loops: bool = True,  # False: eq. 2 and 4 as printed
        reg: Weight = 1e-2,  # README of the authors' code: 0.1 for TikTok, Kwai; docs/results/defaults.md
        intent_reg: Weight = 10.0,  # of u*, times reg; the paper: 1
        entropy_reg: Weight = 1e-4,
        independence_reg: Weight = 1e-4,
        feature_scale: FeatureScale = "standard",
    ):
        super().__init__(inputs)
        self.levels = tuple(levels)
        self.reg, self.intent_reg = reg, intent_reg
        self.entropy_reg, self.independence_reg = entropy_reg, independence_reg
        self.id_user = xavier(self.num_users, dim)  # (U, d)
        self.id_item = xavier(self.num_items, dim)  # (I, d)
        self.u = xavier(self.num_users, sum(self.levels))  # (U, K), eq. 13, u* of eq. 14
        adjacency = graphs.binarise(graphs.item_cointeraction(inputs.train, threshold=threshold))  # eq. 2
        if self_loops:
            alone = (np.diff(adjacency.indptr) == 0) & (inputs.train.users_per_item() > 0)
            adjacency += sp.diags_array(alone.astype(np.float32))  # these items join themselves
        A = SparseMatrix(sp.csr_array(adjacency))  # (I, I)
        self.hierarchies = nn.ModuleDict()
        for m, features in item_features(inputs, feature_scale).items():
            _propagate_features(features.values, adjacency, inputs.features[m].present, keep_alone=self_loops)
            self.hierarchies[m] = _Hierarchy(A, features, self.levels)

    def forward(self) -> Embeddings:
        """User (U, d + K) and item (I, d + K) vectors (eq. 15)."""
        v = all_modalities(self._hierarchies())
        return Embeddings(torch.cat([self.id_user, self.u], dim=1), torch.cat([self.id_item, v], dim=1))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR, the two losses of the intents, and L2 of the rows of the batch (eq. 18)."""
        hierarchies = self._hierarchies()
        ids = rows_of_batch(Embeddings(self.id_user, self.id_item), batch)  # users, positives, negatives, (B, d) each
        intents = rows_of_batch(Embeddings(self.u, all_modalities(hierarchies)), batch)  # (B, K) each
        margin = sum_of((user * (pos - neg)).sum(dim=1) for user, pos, neg in (ids, intents))  # (B,), eq. 15
        loss = F.softplus(-margin).mean()  # eq. 17
        for level in [level for hierarchy in hierarchies.values() for level in hierarchy]:
            loss = loss + self.entropy_reg * entropy(level) + self.independence_reg * dependence(level.X)
        squares = [*(x.square().sum() for x in ids), self.intent_reg * intents[0].square().sum()]
        return loss + self.reg * sum_of(squares) / (2 * len(margin))

    def parts(self) -> dict[str, Embeddings]:
        """`id` -> the IDs u^_u and v^_i; modality -> u* and v_im."""
        intents = {m: Embeddings(self.u, over_intents(hierarchy)) for m, hierarchy in self._hierarchies().items()}
        return {"id": Embeddings(self.id_user, self.id_item), **intents}

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """The item's distribution over the intents of each level, for each modality that the item has."""
        shares = {m: over_intents(hierarchy)[item] for m, hierarchy in self._hierarchies().items()}
        owned = {m: share for m, share in shares.items() if share.any()}
        return [insight for m, share in owned.items() for insight in self._by_level(f"{m}: intents", share)]

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """The user's weights of the intents, by level (0 on average), and items of the heaviest intent of level 1."""
        weights = self.u[user].split(self.levels)
        centred = torch.cat([w - w.mean() for w in weights])  # shares sum to 1: adding a constant changes no rank
        favourite = int(weights[0].argmax())
        best = all_modalities(self._hierarchies())[:, favourite].topk(min(NUM_EXAMPLES, self.num_items))
        examples = Insight.ranked(
            f"items of intent {favourite + 1} of level 1", best.indices, best.values, kind="items"
        )
        return [*self._by_level("weights of intents", centred), examples]

    def _by_level(self, what: str, weights: Tensor) -> list[Insight]:
        """Splits weights (K,) into one insight per level."""
        levels = enumerate(weights.split(self.levels), start=1)
        return [Insight.numbered(f"{what} of level {at}", "intent", share) for at, share in levels]

    def _hierarchies(self) -> dict[str, list[Level]]:
        return {m: hierarchy() for m, hierarchy in self.hierarchies.items()}


def over_intents(hierarchy: list[Level]) -> Tensor:
    """Returns the distributions of the items over the intents of all levels, (I, K)."""
    shares = [hierarchy[0].gamma]  # eq. 11: x_i is the one-hot vector of item i
    for level in hierarchy[1:]:
        shares.append(shares[-1] @ level.gamma)
    return torch.cat(shares, dim=1)  # eq. 12


def all_modalities(hierarchies: dict[str, list[Level]]) -> Tensor:
    """Sums v_im over modalities, (I, K) (eq. 14)."""
    return sum_of(over_intents(hierarchy) for hierarchy in hierarchies.values())


def entropy(level: Level) -> Tensor:
    """Computes L1, mean over the nodes of the level below (eq. 9)."""
    num_nodes = level.gamma.detach().sum()  # rows sum to 1
    return -(level.gamma * level.log_gamma).sum() / (level.gamma.shape[1] * num_nodes)


def dependence(X: Tensor) -> Tensor:
    """Computes L2 of K supernodes (K, d_m) (eq. 10)."""
    return torch.dist(X @ X.T, torch.eye(len(X), device=X.device)) / len(X)


class _Hierarchy(nn.Module):
    """The intents of one modality."""

    def __init__(self, A: SparseMatrix, Z0: ItemFeatures, levels: tuple[int, ...]):
        super().__init__()
        self.A = A  # (I, I), shared by all modalities: Gamma(1) is 0 where an item lacks m
        self.Z0 = Z0  # (I, d_m)
        self.X = nn.ParameterList(xavier(num_intents, Z0.dim) for num_intents in levels)  # (K(l), d_m), eq. 5

    def forward(self) -> list[Level]:
        first = _assign(self.Z0.values, self.X[0])
        hierarchy = [first._replace(gamma=first.gamma * self.Z0.present)]
        A: SparseMatrix | Tensor = self.A
        for X, X_above in pairwise(self.X):
            A = _coarsened(A, hierarchy[-1].gamma)  # (K(l), K(l))
            weight = A.sum(dim=1, keepdim=True).clamp(min=SMALLEST_DEGREE).rsqrt()
            hierarchy.append(_assign(weight * (A @ (weight * X)), X_above))  # eq. 4
        return hierarchy


def _assign(Z: Tensor, X: Tensor) -> Level:
    log_gamma = torch.log_softmax(Z @ X.T, dim=1)  # eq. 6, 7
    return Level(X, log_gamma.exp(), log_gamma)


def _coarsened(A: SparseMatrix | Tensor, gamma: Tensor) -> Tensor:
    """Computes Gamma^T A Gamma (eq. 8). A fixed A is symmetric and multiplied once: d Gamma = (A Gamma) (G + G^T)."""
    if isinstance(A, Tensor):
        return gamma.T @ A @ gamma
    half = gamma.T @ (A @ gamma.detach())
    return half + half.T - half.detach()


def _propagate_features(X: Tensor, A: sp.csr_array, present: np.ndarray, *, keep_alone: bool) -> None:
    """Turns X(0) into Z(0) in place (eq. 4), without parameters.

    Args:
        X: (I, d_m).
        A: (I, I).
        present: (I,) bool, which items have m.
        keep_alone: an item without neighbours in m keeps its X; else its Z is 0.
    """
    row, column = A.nonzero()
    edge = present[row] & present[column]
    A = sp.csr_array((A.data[edge], (row[edge], column[edge])), shape=A.shape)
    is_propagated = torch.from_numpy((np.diff(A.indptr) > 0) | (not keep_alone))[:, None]
    propagation = SparseMatrix(graphs.normalise_symmetric(A))
    for columns in X.split(NUM_COLUMNS, dim=1):
        columns.copy_((propagation @ columns).where(is_propagated, columns))
