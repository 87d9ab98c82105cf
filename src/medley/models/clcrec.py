"""CLCRec. Wei et al., "Contrastive Learning for Cold-Start Recommendation", MM 2021, https://arxiv.org/abs/2107.05315.

    z_u, z_i       collaborative vectors of users and items, one per ID
    x_i = phi(f_i) = W2 leaky_relu(W1 f_i + b1) + b2       content vector of an item

f_i is the concatenation of all modalities. For an interaction (u, i) and a set N of other items, two contrasts, with
nce(s_i, s_N) = -ln(exp(s_i / tau) / (exp(s_i / tau) + sum_{j in N} exp(s_j / tau))):

    user and item (U-I)          nce(z_u . z_i, z_u . z_j)              bound of the mutual information of z_u and z_i
    vectors and content (R-E)    nce(cos(z_i, x_i), cos(z_i, x_j))      bound of the mutual information of z_i and x_i

    loss = content_weight R-E + (1 - content_weight) U-I + reg L2

Hybrid training: in U-I, a share `hybrid` of the vectors z_i and z_j, drawn at random, is replaced by x_i and x_j, so
that users learn to score content vectors too.

    s_ui = z_u . z_i for items with train interactions        s_ui = z_u . x_i for the others

Shapes: U users, I items, d = dim, h = hidden_dim, d_m raw dimension of modality m, B triplets, N negatives, n distinct
items of a batch.
The paper leaves open: an item that lacks a modality (here a learned vector stands in for W1_m f_im; items without any
modality are left out of R-E).
Differs from the authors' code: one set of negatives serves all triplets of a batch: the distinct items with train
interactions among the first `num_negatives` drawn, without the items that the user has seen (there every triplet has
negatives of its own). hidden_dim is 256 there. reg weighs the squared norms of the rows of the batch (there the norms,
not squared). In evaluation mode the loss replaces no vector, because nothing is drawn then.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medley.models.base import Count, Positive, Recommender, Share, Weight
from medley.models.spaces import LR, Choice, Log, Space, Uniform
from medley.nn.init import affine, xavier
from medley.nn.losses import l2_of_batch
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.propagation import take
from medley.nn.seen import SeenItems
from medley.types import Embeddings, Inputs, Triplets


class CLCRec(Recommender):
    """Matrix factorisation whose item vectors and content vectors are pulled together by contrastive learning.

    Choose it when known items should be ranked by interactions and new items by content, in one list.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-4, 1.0),  # as of mf
        "temperature": Choice((0.1, 0.2, 0.5, 1.0, 2.0)),  # 2: the authors, MovieLens
        "content_weight": Uniform(0.1, 0.9),  # 0.5, 0.9: the authors, MovieLens and Amazon
        "hybrid": Uniform(0.0, 0.9),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 2e-3}  # docs/results/defaults.md

    warm: Tensor  # (I,) bool, items with interactions
    cold: Tensor  # (I_cold,) int64, rows of the other items
    described: Tensor  # (I,) bool, items with at least one modality

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        hidden_dim: Count = 128,
        num_negatives: Count = 512,  # the authors, Amazon; 128 for MovieLens
        temperature: Positive = 1.0,
        content_weight: Share = 0.5,  # the authors, MovieLens
        hybrid: Share = 0.5,  # the authors
        reg: Weight = 1e-2,
        feature_scale: FeatureScale = "l2",  # the authors
    ):
        super().__init__(inputs)
        self.num_negatives, self.temperature = num_negatives, temperature
        self.content_weight, self.hybrid, self.reg = content_weight, hybrid, reg
        self.z_user = xavier(self.num_users, dim)  # (U, d)
        self.z_item = xavier(self.num_items, dim)  # (I, d)
        self.W1 = Content(item_features(inputs, feature_scale), hidden_dim, bias=True)
        self.W2 = affine(hidden_dim, dim)
        self.seen = SeenItems(inputs.train)
        warm = inputs.train.users_per_item() > 0
        described = np.any([f.present for f in inputs.features.values()], axis=0)
        for name, array in {"warm": warm, "cold": np.flatnonzero(~warm), "described": described}.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors: z_i, and x_i of items without train interactions."""
        return Embeddings(self.z_user, self.z_item.index_copy(0, self.cold, self._content(self.cold)))

    def loss(self, batch: Triplets) -> Tensor:
        """Both contrasts, and L2 of the rows of z in the batch."""
        others = batch.neg[: self.num_negatives]
        others = others[self.warm[others]].unique()  # (N,)
        items, place = torch.cat([batch.pos, others]).unique(return_inverse=True)
        pos, neg = place.split([len(batch.pos), len(others)])
        z, x = take(self.z_item, items), self._content(items)  # (n, d)
        by_users = self._user_item(batch.user, (z, x), (pos, neg), self._has_seen(batch.user, others))
        by_content = self._vector_content((z, x), (pos, neg), self.described[items])
        l2 = l2_of_batch(Embeddings(self.z_user, self.z_item), batch)
        return self.content_weight * by_content + (1 - self.content_weight) * by_users + self.reg * l2

    def _user_item(
        self, users: Tensor, vectors: tuple[Tensor, Tensor], places: tuple[Tensor, Tensor], seen: Tensor
    ) -> Tensor:
        """U-I, with some z replaced by x.

        Args:
            users: (B,).
            vectors: z and x of the items of the batch, (n, d).
            places: of the positives (B,) and of the negatives (N,) among these items.
            seen: (B, N) bool, negatives that the user has seen.
        """
        user = self.z_user.index_select(0, users)  # (B, d)
        pos, neg = (self._hybrid(*(v.index_select(0, place) for v in vectors)) for place in places)  # (B, d), (N, d)
        return _nce((user * pos).sum(dim=1), user @ neg.T, seen, self.temperature).mean()

    def _vector_content(
        self, vectors: tuple[Tensor, Tensor], places: tuple[Tensor, Tensor], described: Tensor
    ) -> Tensor:
        """R-E of the positives that have a modality; `described` (n,) says which items of the batch have one."""
        (z, x), (pos, neg) = (F.normalize(v, dim=1) for v in vectors), places
        z, has = z.index_select(0, pos), described[pos]
        left_out = (pos[:, None] == neg) | ~described[neg]  # (B, N)
        contrast = _nce(
            (z * x.index_select(0, pos)).sum(dim=1), z @ x.index_select(0, neg).T, left_out, self.temperature
        )
        return (contrast * has).sum() / has.sum().clamp(min=1)

    def _hybrid(self, z: Tensor, x: Tensor) -> Tensor:
        """Replaces a random share of the rows of z by those of x, (n, d)."""
        if not self.training:
            return z
        return x.where(torch.rand(len(z), 1, device=z.device) < self.hybrid, z)

    def _content(self, items: Tensor) -> Tensor:
        """Returns x of items (n,), (n, d)."""
        return self.W2(F.leaky_relu(self.W1(items)))

    def _has_seen(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns whether users (B,) have seen items (N,), which are distinct: (B, N) bool."""
        column = items.new_full((self.num_items,), -1)
        column[items] = torch.arange(len(items), device=items.device)
        seen = self.seen(users)
        among = column[seen.item]
        found = among >= 0
        has = torch.zeros(len(users), len(items), dtype=torch.bool, device=items.device)
        has[seen.row[found], among[found]] = True
        return has


def _nce(pos: Tensor, neg: Tensor, left_out: Tensor, temperature: float) -> Tensor:
    """Returns nce of scores of positives (B,) and negatives (B, N), less those that are `left_out` (B, N): (B,)."""
    scores = torch.cat([pos[:, None], neg.masked_fill(left_out, -torch.inf)], dim=1) / temperature
    return scores.logsumexp(dim=1) - scores[:, 0]
