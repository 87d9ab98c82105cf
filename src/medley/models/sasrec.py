"""SASRec. Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, https://arxiv.org/abs/1808.09781.

The latest items of a user, i_1 .. i_L in the order of time, become states F_1 .. F_L; F_k reads i_1 .. i_k alone:

    E_k = sqrt(d) M_{i_k} + P_k                                    item and position            Sec. III-A
    S = E + softmax(Q K^T / sqrt(d)) V, masked: k reads 1..k       self-attention               Sec. III-B
        Q, K, V = W_Q, W_K, W_V times LayerNorm(E)
    F = S + W_2 ReLU(W_1 LayerNorm(S) + b_1) + b_2                 feed-forward network         Sec. III-B
    num_layers such blocks on top of each other, then a LayerNorm                               Sec. III-C
    s_ui = F_L . M_i                                               one table of items           Sec. III-D

    loss = "softmax"    -ln softmax(F_k . M)[i_{k+1}] over the positive and num_negatives items, shared by the batch
    loss = "bce"        -ln sigmoid(F_k . M_{i_{k+1}}) - ln(1 - sigmoid(F_k . M_j)), one negative j: the paper's

While training dropout acts on E and on both terms that a block adds. A user without items has a learned state F_0.
With `use_content` the vector of an item is M_i + sum_m W_m f_im, so items without interactions can be scored.

Shapes: U users, I items, d = dim, W windows of at most L items, B triplets.
The paper leaves open: items of the same moment (here a prediction reads strictly earlier items only); the first item of
a user (here predicted from F_0, which learns popularity).
Differs from the paper: softmax is the default, because validation prefers it (Recall@20 on MicroLens-50k after five
epochs: .083, with bce .040); positions are counted from the oldest item of the window, so that a state does not depend
on the number of later items; each interaction is predicted from the max_length items before it, also where a history is
longer (there only the latest max_length are trained on); one head, as the paper found best. sqrt(d) and the last
LayerNorm are those of the authors' code; its dropout of attention weights is left out.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.base import Count, Insight, Layers, Rate
from medley.models.sequential import SequentialRecommender
from medley.models.spaces import LR, Choice, Space, Uniform, Whole
from medley.nn.init import affine, linear, xavier
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.sequences import dropout, sampled_softmax
from medley.types import Inputs, Triplets


class SASRec(SequentialRecommender):
    """Self-attention over the items of a user in the order of time; predicts the next item.

    Choose it when the order of interactions matters: users are made of their items alone, so histories may grow.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "num_layers": Whole(1, 3),
        "dropout": Uniform(0.1, 0.6),
        "max_length": Choice((20, 50, 100, 200)),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3, "patience": 10}  # trials on MicroLens-50k

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 2,  # the paper
        max_length: Count = 50,  # the paper; 200 for MovieLens
        dropout: Rate = 0.3,  # trials on MicroLens-50k; the paper: 0.2 for MovieLens, 0.5 for sparser data
        loss: Literal["softmax", "bce"] = "softmax",
        num_negatives: Count = 1024,  # of loss=softmax
        use_content: bool = False,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs, max_length=max_length, dropout=dropout, use_content=use_content)
        self.loss_name, self.num_negatives = loss, num_negatives
        self.M = xavier(self.num_items, dim)  # (I, d)
        self.P = xavier(max_length, dim)  # (max_length, d)
        self.F_0 = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(_Block(dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.content = Content(item_features(inputs, feature_scale), dim) if use_content else None

    def loss(self, batch: Triplets) -> Tensor:
        """Predicts each positive from what the user has seen before it."""
        state, items = self._before(batch)
        if self.loss_name == "softmax":
            return sampled_softmax(state, items, batch, self.num_negatives)
        positive, negative = ((state * F.embedding(rows, items)).sum(dim=1) for rows in (batch.pos, batch.neg))
        return (F.softplus(-positive) + F.softplus(negative)).mean()

    def _table(self) -> Tensor:
        return self.M

    def _start(self) -> Tensor:
        return self.F_0

    def _encode(self, x: Tensor, place: Tensor, rate: float) -> Tensor:
        """Returns the states F in some places (r,) of item vectors (W, L, d), (r, d)."""
        x = self._embed(x, rate)
        if not self.blocks:
            return self.norm(x.flatten(0, 1).index_select(0, place))
        for block in self.blocks[:-1]:
            x = block(x, rate)
        return self.norm(self.blocks[-1](x, rate, place))

    def _embed(self, x: Tensor, rate: float = 0.0) -> Tensor:
        """Returns E, (W, L, d) -> (W, L, d)."""
        return dropout(x * x.shape[2] ** 0.5 + self.P[: x.shape[1]], rate)

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """The attention of the latest item to all items of the user, mean over the blocks."""
        windows = self.histories.latest(torch.tensor([user]))
        if not windows or not self.blocks:
            return []
        item, weights = windows[0].item[0], []
        x = self._embed(self._items()[item][None])
        for block in self.blocks:
            weights.append(cast(_Block, block).attention(x))
            x = block(x)
        return [Insight.ranked("attention of the latest item", item, torch.stack(weights).mean(dim=0), kind="items")]


class _Block(nn.Module):
    """Self-attention and a feed-forward network, each with a residual connection."""

    def __init__(self, dim: int):
        super().__init__()
        self.W_Q, self.W_K, self.W_V = (linear(dim, dim) for _ in range(3))
        self.W_1, self.W_2 = affine(dim, dim), affine(dim, dim)
        self.norm_E, self.norm_S = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, E: Tensor, rate: float = 0.0, place: Tensor | None = None) -> Tensor:
        """Returns F of all places, (W, L, d), or of some places (r,) among the W * L, (r, d)."""
        h = self.norm_E(E)[:, None]  # (W, 1, L, d), one head
        attended = F.scaled_dot_product_attention(self.W_Q(h), self.W_K(h), self.W_V(h), is_causal=True)[:, 0]
        if place is not None:
            E, attended = (x.flatten(0, 1).index_select(0, place) for x in (E, attended))
        S = E + dropout(attended, rate)
        return S + dropout(self.W_2(F.relu(self.W_1(self.norm_S(S)))), rate)

    def attention(self, E: Tensor) -> Tensor:
        """Returns the weights of the last state of one window, (1, L, d) -> (L,)."""
        h = self.norm_E(E)[0]
        return (self.W_K(h) @ self.W_Q(h[-1]) / h.shape[1] ** 0.5).softmax(dim=0)
