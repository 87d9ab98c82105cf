"""ACF. Chen et al., "Attentive Collaborative Filtering: Multimedia Recommendation with Item- and Component-Level
Attention", SIGIR 2017, https://doi.org/10.1145/3077136.3080797.

    s_ui = (p_u + sum_{l in N_u} alpha_ul y_l) . q_i
    alpha_ul = softmax_{l in N_u} w1 . relu(W_u p_u + W_v q_l + W_p y_l + W_x x_ul + b1)      attention to items
    x_ul = sum_m beta_ulm x_lm
    beta_ulm = softmax_m w2 . relu(V_u p_u + V_x x_lm + b2)                                   attention to components

N_u are the items that u has seen in train. The components of an item are its modalities, x_lm = E_m f_lm.

A sum under a relu belongs to a pair (u, l) and is not a product of matrices, but every matrix is applied before pairs
are formed, to users or to items. Pairs are formed for the users of a batch alone, in blocks of bounded size; with
several blocks, the vectors of pairs are computed again for the gradient instead of kept.

Shapes: U users, I items, M modalities, d = dim, d_m raw dimension of modality m, e pairs of some users, B triplets.
The paper leaves open: how modalities of unlike sizes become components (here E_m). An item that lacks m has no beta_m,
an item that lacks all has no term W_x x_ul.
Differs from the paper: modalities instead of regions or frames; the offsets c1 and c2 of the two softmaxes are left
out, for they cancel; with one modality beta is 1, and w2, V and b2 are left out. While training, N_u is without the
positive item of the triplet (`leave_out`): N_u contains that item by definition, so q_i . y_i would leak what is to be
predicted. L2 is of p, and of q and y of the triplet's items, not of the matrices.
The authors' code has less than the paper: alpha comes from p_u and x_ul alone, and x_ul stands in for y_l in the sum.
Their L2 includes the matrices.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medley.models.base import Count, Insight, Recommender, Weight
from medley.models.spaces import LR, Log, Space
from medley.nn.init import affine, linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.modalities import FeatureScale, item_features, masked_softmax
from medley.nn.seen import SeenItems, total
from medley.types import Embeddings, Inputs, Seen, Triplets

BLOCK = 2**22  # numbers in a block of pair vectors: 16 MiB


class ACF(Recommender):
    """User vectors plus the items seen, weighted by attention that reads the modalities.

    Choose it when recommendations must be explained by the user's own items, without a graph; it is slow to train.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-3, 1.0),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    present: Tensor  # (I, M) bool

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        leave_out: bool = True,
        reg: Weight = 1e-2,  # docs/results/defaults.md
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.leave_out, self.reg, features = leave_out, reg, item_features(inputs, feature_scale)
        self.seen = SeenItems(inputs.train)  # N
        self.f = nn.ModuleDict(features)  # m -> (I, d_m)
        self.register_buffer("present", torch.cat([f.present for f in features.values()], dim=1), persistent=False)
        self.p = xavier(self.num_users, dim)  # (U, d)
        self.q = xavier(self.num_items, dim)  # (I, d)
        self.y = xavier(self.num_items, dim)  # (I, d)
        self.E = nn.ModuleDict({m: linear(f.dim, dim) for m, f in features.items()})
        self.W_u, self.w1 = affine(dim, dim), linear(dim, 1)  # W_u has b1
        self.W_v, self.W_p, self.W_x = linear(dim, dim), linear(dim, dim), linear(dim, dim)
        several = len(features) > 1
        self.V_u, self.w2 = (affine(dim, dim), linear(dim, 1)) if several else (None, None)  # V_u has b2
        self.V_x = linear(dim, dim) if several else None

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        own, history = self.parts().values()
        return Embeddings(own.user + history.user, self.q)

    def parts(self) -> dict[str, Embeddings]:
        """`id`, p_u . q_i, and `history`, the inner product of the seen items with q_i."""
        users = torch.arange(self.num_users, device=self.p.device)
        seen, score, _ = self._scores(users)
        return {"id": Embeddings(self.p, self.q), "history": Embeddings(self._history(users, seen, score), self.q)}

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the rows of p, q and y in the batch."""
        users, row = batch.user.unique(return_inverse=True)
        seen, score, _ = self._scores(users)
        if self.leave_out:  # the pairs of every triplet, with the scores of its user's pairs
            first, seen = seen.start[row], self.seen(batch.user)
            pair = torch.arange(len(seen.row), device=row.device) + (first - seen.start)[seen.row]
            score = score[pair].masked_fill(seen.item == batch.pos[seen.row], -torch.inf)
            users, row = batch.user, torch.arange(len(batch.user), device=row.device)
        vectors = Embeddings(self.p.index_select(0, users) + self._history(users, seen, score), self.q)
        l2 = l2_of_batch(Embeddings(self.p, torch.cat([self.q, self.y], dim=1)), batch)
        return bpr_loss(vectors, batch._replace(user=row)) + self.reg * l2

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """The weights of the user's items, and of their modalities: the mean of beta weighted by alpha."""
        seen, score, beta = self._scores(torch.tensor([user], device=self.p.device))
        if not len(seen.item):
            return []
        alpha = score.softmax(dim=0)
        insights = [Insight.ranked("weights of its items", seen.item, alpha, kind="items")]
        if self.w2 is not None:
            insights.append(Insight.ranked("weights of the modalities", self.f, alpha @ beta))
        return insights

    def _history(self, users: Tensor, seen: Seen, score: Tensor) -> Tensor:
        """Returns sum_l alpha_ul y_l (B, d) of users (B,), from their e pairs and the scores (e,) of the pairs."""
        return total(seen, self.y, _softmax(seen.row, score, len(users)))

    def _scores(self, users: Tensor) -> tuple[Seen, Tensor, Tensor]:
        """Returns the e pairs of these users and their items, the logits of alpha (e,), and beta (e, M)."""
        seen, p = self.seen(users), self.p.index_select(0, users)
        x = [self.E[m](f.values) for m, f in self.f.items()]  # M x (I, d)
        w_u, w_l, w_x = self.W_u(p), self.W_v(self.q) + self.W_p(self.y), [self.W_x(x_m) for x_m in x]
        v_u, v_x = (p, x) if self.V_u is None or self.V_x is None else (self.V_u(p), [self.V_x(x_m) for x_m in x])

        def pairs(row: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
            present = self.present[item]
            beta = present.to(p.dtype)
            if self.w2 is not None:
                v = v_u.index_select(0, row)
                score = torch.cat([self.w2(F.relu(v + v_m.index_select(0, item))) for v_m in v_x], dim=1)
                beta = masked_softmax(score, present)
            w = w_u.index_select(0, row) + w_l.index_select(0, item)
            for w_m, beta_m in zip(w_x, beta.split(1, dim=1), strict=True):
                w = w + beta_m * w_m.index_select(0, item)
            return self.w1(F.relu(w))[:, 0], beta

        step = max(1, BLOCK // p.shape[1])
        blocks = list(zip(seen.row.split(step), seen.item.split(step), strict=True))
        kept = len(blocks) == 1 or not torch.is_grad_enabled()
        results = [pairs(*block) if kept else checkpoint(pairs, *block, use_reentrant=False) for block in blocks]
        score, beta = (torch.cat(parts) for parts in zip(*results, strict=True))
        return seen, score, beta


def _softmax(row: Tensor, score: Tensor, num_rows: int) -> Tensor:
    """Computes a softmax over the pairs of each row, (e,) -> (e,); 0 where a score is -inf, even in a whole row."""
    least = torch.finfo(score.dtype).min
    top = score.new_full((num_rows,), least).scatter_reduce_(0, row, score.detach(), "amax")
    weight = (score - top[row]).exp()
    sums = weight.new_zeros(num_rows).index_add(0, row, weight)
    return weight / sums.where(sums > 0, 1)[row]
