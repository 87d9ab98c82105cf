"""HUIGN. Wei et al., "Hierarchical User Intent Graph Network for Multimedia Recommendation", IEEE Transactions on
Multimedia 2022, https://arxiv.org/abs/2110.14925.

Per modality m, on the graph A of items that enough users have in common (eq. 2), from the raw features X(0), A(0) = A:

    Z(l) = D^-1/2 A(l) D^-1/2 X(l)                  within a level                                         (eq. 4)
    X(l+1) = K(l+1) supernodes, trained: the intents of the level above                                    (eq. 5)
    Gamma(l+1) = softmax over the supernodes k of z_i(l) . x_k(l+1)                                        (eq. 6, 7)
    A(l) = Gamma(l)^T A(l-1) Gamma(l)               what joins the supernodes                              (eq. 8)
    L1(l) = -1/K sum_k gamma_ik ln gamma_ik         small where a node belongs to one intent               (eq. 9)
    L2(l) = 1/K || X(l) X(l)^T - I ||               small where intents are independent                    (eq. 10)

An item is its distribution over the intents of all levels, a user one weight for each of them; IDs are appended:

    x^_i(l) = row i of Gamma(1) Gamma(2) .. Gamma(l)      v_im = x^_i(1) || .. || x^_i(L)                  (eq. 11, 12)
    v_i = v^_i || sum_m v_im      u = u^_u || u*          s_ui = u . v_i                                   (eq. 13-15)
    L = entropy_reg sum L1 + independence_reg sum L2 + BPR + reg ||theta||^2                               (eq. 17, 18)

so an item's modality m has the part u* . v_im of the score. HUIGN-C, -I and -C-I are entropy_reg = 0,
independence_reg = 0 and both.

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, L levels of K1..KL intents, K = K1 + .. + KL.
The paper leaves open: whether a node is its own neighbour (eq. 1 says yes, eq. 2 does not say): self_loops. By default
an item that shares its users with no other, whose z would be 0, keeps its own features; with "none" it belongs to all
intents alike. Also open: the node i of eq. 9 (here the mean over nodes), the norm of eq. 10 (here Frobenius), where
lambda_3 applies (here to the rows of IDs and users in a batch), what an item that lacks m does (here: its edges are
not in A, it is no part of eq. 8, 9 and 14).
Differs from the paper: u* is one vector, not a sum of one per modality that occurs nowhere else (eq. 14).
Differs from the authors' code: eq. 4 as written (there a mean over neighbours with a weight matrix and LeakyReLU,
twice); one 1/K in eq. 10 (there 1/K^2) and in eq. 9 (there none); A is sparse, and Z(0), which no parameter changes, is
computed once.
"""

from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Insight, Recommender
from medley.nn.features import FeatureScale, item_features
from medley.nn.init import xavier
from medley.nn.losses import rows_of_batch
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Inputs, Triplets

SelfLoops = Literal["isolated", "all", "none"]
SMALLEST_DEGREE = 1e-12  # of a supernode: its degree is 0 where no item has an edge
NUM_EXAMPLES = 5  # items that show people what an intent is


class Level(NamedTuple):
    """The supernodes of one level and how the nodes of the level below belong to them."""

    X: Tensor  # (K(l), d_m)
    gamma: Tensor  # (nodes, K(l)); rows sum to 1, or are 0 where an item lacks the modality
    log_gamma: Tensor  # (nodes, K(l)), before rows are set to 0


class HUIGN(Recommender):
    """Items as distributions over a hierarchy of intents that is learned from items with common users."""

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: int = 64,  # Sec. 4.1.4
        levels: tuple[int, ...] = (32, 8, 4),  # Table 3
        threshold: int = 5,  # Sec. 4.1.1
        self_loops: SelfLoops = "isolated",
        use_id: bool = True,
        reg: float = 1e-1,  # README of the authors' code: TikTok, Kwai
        entropy_reg: float = 1e-4,
        independence_reg: float = 1e-4,
        feature_scale: FeatureScale = "standard",
    ):
        super().__init__(inputs)
        if not levels or min(levels) < 2:
            raise InputError("levels", expected="one or more levels of 2 or more intents", got=list(levels))
        self.levels = tuple(levels)
        self.reg, self.entropy_reg, self.independence_reg = reg, entropy_reg, independence_reg
        self.id_user = xavier(self.num_users, dim) if use_id else None  # (U, d)
        self.id_item = xavier(self.num_items, dim) if use_id else None  # (I, d)
        self.u = xavier(self.num_users, sum(self.levels))  # (U, K), eq. 13, u* of eq. 14
        features = item_features(inputs, feature_scale)
        joined = graphs.item_cointeraction(inputs.train, threshold=threshold)  # (I, I)
        shared: dict[bytes, tuple[SparseMatrix, SparseMatrix]] = {}  # modalities of the same items share one graph
        self.hierarchies = nn.ModuleDict()
        for m, of in features.items():
            present = inputs.features[m].present
            if present.tobytes() not in shared:
                A = _among(joined, present, self_loops)
                shared[present.tobytes()] = SparseMatrix(A), SparseMatrix(graphs.normalise_symmetric(A))
            A, A_normalised = shared[present.tobytes()]
            self.hierarchies[m] = _Hierarchy(A, A_normalised @ of.values, of.present, self.levels)

    def forward(self) -> Embeddings:
        """User (U, d + K) and item (I, d + K) vectors (eq. 15)."""
        id_user, id_item = self._ids()
        item = all_modalities(self._hierarchies())
        return Embeddings(torch.cat([id_user, self.u], dim=1), torch.cat([id_item, item], dim=1))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR, the two losses of the intents, and L2 of the rows that the batch touches (eq. 18)."""
        hierarchies, ids = self._hierarchies(), self._ids()
        parts = [rows_of_batch(part, batch) for part in (ids, Embeddings(self.u, all_modalities(hierarchies)))]
        user, pos, neg = (torch.cat(rows, dim=1) for rows in zip(*parts, strict=True))  # (B, d + K), eq. 15
        loss = F.softplus(-(user * (pos - neg)).sum(dim=1)).mean()  # eq. 17
        for level in [level for hierarchy in hierarchies.values() for level in hierarchy]:
            loss = loss + self.entropy_reg * entropy(level) + self.independence_reg * dependence(level.X)
        return loss + self.reg * mean_square_norm(user, *parts[0][1:]) / 2

    def contributions(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """`id` (0 without IDs) and every modality, u* . v_im, -> (B, K)."""
        parts = {"id": self._ids()}
        parts |= {m: Embeddings(self.u, over_intents(hierarchy)) for m, hierarchy in self._hierarchies().items()}
        return {m: (part.user[users][:, None] * part.item[items]).sum(dim=2) for m, part in parts.items()}

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """Its distribution over the intents of each modality and level."""
        insights = []
        for m, hierarchy in self._hierarchies().items():
            shares = over_intents(hierarchy)[item].split(self.levels)
            if shares[0].any():  # the item has the modality
                insights += [_insight(f"{m}: intents of level {at}", share) for at, share in enumerate(shares, start=1)]
        return insights

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """How it leans to the intents of each level (0 on average), and items that show its favourite of level 1."""
        weights = self.u[user].split(self.levels)
        leaning = [weight - weight.mean() for weight in weights]  # shares sum to 1: adding a constant changes no rank
        insights = [_insight(f"leaning to intents of level {at}", lean) for at, lean in enumerate(leaning, start=1)]
        favourite = int(weights[0].argmax())
        best = all_modalities(self._hierarchies())[:, favourite].topk(min(NUM_EXAMPLES, self.num_items))
        examples = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return [*insights, Insight(f"items of intent {favourite + 1} of level 1", examples, "items")]

    def _hierarchies(self) -> dict[str, list[Level]]:
        return {m: hierarchy() for m, hierarchy in self.hierarchies.items()}

    def _ids(self) -> Embeddings:
        if self.id_user is None or self.id_item is None:
            return Embeddings(self.u.new_empty(self.num_users, 0), self.u.new_empty(self.num_items, 0))
        return Embeddings(self.id_user, self.id_item)


def over_intents(hierarchy: list[Level]) -> Tensor:
    """Distributions of the items over the intents of all levels, (I, K)."""
    shares = [hierarchy[0].gamma]  # eq. 11: x_i is the one-hot vector of item i
    for level in hierarchy[1:]:
        shares.append(shares[-1] @ level.gamma)
    return torch.cat(shares, dim=1)  # eq. 12


def all_modalities(hierarchies: dict[str, list[Level]]) -> Tensor:
    """Sum over modalities of v_im, (I, K) (eq. 14)."""
    return torch.stack([over_intents(hierarchy) for hierarchy in hierarchies.values()]).sum(dim=0)


def mean_square_norm(*rows: Tensor) -> Tensor:
    """Sum of the squares of B rows each, over B."""
    return torch.stack([row.square().sum() for row in rows]).sum() / len(rows[0])


def entropy(level: Level) -> Tensor:
    """L1, mean over the nodes below (eq. 9)."""
    num_nodes = level.gamma.detach().sum()  # rows sum to 1
    return -(level.gamma * level.log_gamma).sum() / (level.gamma.shape[1] * num_nodes)


def dependence(X: Tensor) -> Tensor:
    """L2 of K supernodes (K, d_m) (eq. 10)."""
    return torch.dist(X @ X.T, torch.eye(len(X), device=X.device)) / len(X)


class _Hierarchy(nn.Module):
    """The intents of one modality."""

    Z0: Tensor  # (I, d_m)
    present: Tensor  # (I, 1) bool

    def __init__(self, A: SparseMatrix, Z0: Tensor, present: Tensor, levels: tuple[int, ...]):
        super().__init__()
        self.A = A  # (I, I), eq. 2
        self.register_buffer("Z0", Z0, persistent=False)  # eq. 4 of the items
        self.register_buffer("present", present, persistent=False)
        self.X = nn.ParameterList(xavier(num_intents, Z0.shape[1]) for num_intents in levels)  # (K(l), d_m), eq. 5

    def forward(self) -> list[Level]:
        first = _assign(self.Z0, self.X[0])
        hierarchy = [first._replace(gamma=first.gamma * self.present)]
        A: SparseMatrix | Tensor = self.A
        for X, X_above in pairwise(self.X):
            A = _coarsened(A, hierarchy[-1].gamma)  # (K(l), K(l))
            hierarchy.append(_assign(_smoothed(A, X), X_above))
        return hierarchy


def _assign(Z: Tensor, X: Tensor) -> Level:
    log_gamma = torch.log_softmax(Z @ X.T, dim=1)  # eq. 6, 7
    return Level(X, log_gamma.exp(), log_gamma)


def _coarsened(A: SparseMatrix | Tensor, gamma: Tensor) -> Tensor:
    """Gamma^T A Gamma (eq. 8). A fixed A, being symmetric, is multiplied once: d Gamma = (A Gamma) (G + G^T)."""
    if isinstance(A, Tensor):
        return gamma.T @ A @ gamma
    half = gamma.T @ (A @ gamma.detach())
    return half + half.T - half.detach()


def _smoothed(A: Tensor, X: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 X of a dense A (eq. 4)."""
    weight = A.sum(dim=1, keepdim=True).clamp(min=SMALLEST_DEGREE).rsqrt()
    return weight * (A @ (weight * X))


def _among(joined: sp.csr_array, present: np.ndarray, self_loops: SelfLoops) -> sp.csr_array:
    """A of eq. 2 (I, I), 0/1: edges between items that have the modality, and loops."""
    row, column = joined.nonzero()
    kept = present[row] & present[column]
    row, column = row[kept], column[kept]
    alone = present & (np.bincount(row, minlength=len(present)) == 0)
    looped = np.flatnonzero({"isolated": alone, "all": present, "none": np.zeros_like(present)}[self_loops])
    index = np.concatenate([row, looped]), np.concatenate([column, looped])
    return sp.csr_array((np.ones(len(index[0]), dtype=np.float32), index), shape=joined.shape)


def _insight(topic: str, weights: Tensor) -> Insight:
    order = weights.argsort(descending=True).tolist()
    return Insight(topic, {f"intent {k + 1}": float(weights[k]) for k in order})
