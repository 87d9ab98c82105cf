"""GRU4Rec. Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations", CIKM
2018, https://arxiv.org/abs/1706.03847, on the network of Hidasi et al., ICLR 2016, https://arxiv.org/abs/1511.06939.

The latest items of a user, i_1 .. i_L in the order of time, are read one after another; h_k is the state after i_k:

    z = sigmoid(W_z x_k + U_z h_{k-1} + b_z)                       x_k = q_{i_k}                update gate
    r = sigmoid(W_r x_k + U_r h_{k-1} + b_r)                                                    reset gate
    h_k = (1 - z) h_{k-1} + z tanh(W x_k + U (r h_{k-1}) + b)
    num_layers such layers on top of each other; x of the next layer is h
    s_ui = h_L . q_i                                               one table of items ("constrained embeddings")

    loss = "softmax"    -ln softmax(s)[i] over the positive i and num_negatives items, shared by the batch
    loss = "bpr-max"    -ln sum_j p_j sigmoid(s_i - s_j) + reg sum_j p_j s_j^2
                        p = softmax of s over the negatives j

While training dropout acts on x and on the last h. A user without items has the learned state h_0. With `use_content`
the vector of an item is q_i + sum_m W_m f_im, so items without interactions can be scored.

Shapes: U users, I items, d = dim, W windows of at most L items, B triplets.
The paper leaves open: items of the same moment (here a prediction reads strictly earlier items only); the first item of
a user (here predicted from h_0, which learns popularity).
Differs from the paper: a user is one session, of whom the max_length items before an interaction are read; negatives
are those of the batch, uniform over the items, in place of the other positives of a mini-batch and of items drawn by
popularity; h_0 is learned (there 0); no bias of the items; Adam (there Adagrad).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from medley.models.base import Count, Rate, Weight
from medley.models.sequential import SequentialRecommender
from medley.models.spaces import LR, Choice, Space, Uniform, Whole
from medley.nn.init import affine, linear, xavier
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.sequences import dropout, sampled_softmax, scores_of_batch
from medley.types import Inputs, Triplets


class GRU4Rec(SequentialRecommender):
    """A recurrent network over the items of a user in the order of time; predicts the next item.

    Choose it when the order of interactions matters and histories are short: it has fewer options than self-attention.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "num_layers": Whole(1, 2),
        "dropout": Uniform(0.0, 0.6),
        "max_length": Choice((20, 50, 100)),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 1e-2, "patience": 10}  # trials on MicroLens-50k

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Count = 1,  # the ICLR paper: more do not help
        max_length: Count = 50,
        dropout: Rate = 0.2,
        loss: Literal["softmax", "bpr-max"] = "softmax",
        num_negatives: Count = 1024,
        reg: Weight = 1.0,  # of loss=bpr-max; the authors' code
        use_content: bool = False,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs, max_length=max_length, dropout=dropout, use_content=use_content)
        self.loss_name, self.num_negatives, self.reg = loss, num_negatives, reg
        self.q = xavier(self.num_items, dim)  # (I, d)
        self.layers = nn.ModuleList(_GRU(dim) for _ in range(num_layers))
        self.content = Content(item_features(inputs, feature_scale), dim) if use_content else None

    def loss(self, batch: Triplets) -> Tensor:
        """Predicts each positive from what the user has seen before it."""
        state, items = self._before(batch)
        if self.loss_name == "softmax":
            return sampled_softmax(state, items, batch, self.num_negatives)
        positive, negative = scores_of_batch(state, items, batch, self.num_negatives)  # (B, 1), (B, N)
        p = negative.softmax(dim=1)
        negative = negative.masked_fill(negative == -torch.inf, 0.0)  # p is 0 there
        gain = (p * torch.sigmoid(positive - negative)).sum(dim=1)
        return (-torch.log(gain + 1e-24) + self.reg * (p * negative.square()).sum(dim=1)).mean()  # 1e-24: the authors

    def _table(self) -> Tensor:
        return self.q

    def _start(self) -> Tensor:
        return cast(_GRU, self.layers[-1]).h_0

    def _encode(self, x: Tensor, place: Tensor, rate: float) -> Tensor:
        """Returns the states h in some places (r,) of item vectors (W, L, d), (r, d)."""
        x = dropout(x, rate)
        for layer in self.layers:
            x = layer(x)
        return dropout(x.flatten(0, 1).index_select(0, place), rate)


class _GRU(nn.Module):
    """Gated recurrent units, as in the paper: the reset gate acts before U, unlike in `torch.nn.GRU`."""

    def __init__(self, dim: int):
        super().__init__()
        self.W_z, self.W_r, self.W = (affine(dim, dim) for _ in range(3))  # with b
        self.U_z, self.U_r, self.U = (linear(dim, dim) for _ in range(3))
        self.h_0 = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        z_x, r_x, new_x = self.W_z(x), self.W_r(x), self.W(x)  # (W, L, d) each
        h, found = self.h_0.expand(len(x), -1), []
        for k in range(x.shape[1]):
            z = torch.sigmoid(z_x[:, k] + self.U_z(h))
            r = torch.sigmoid(r_x[:, k] + self.U_r(h))
            h = torch.lerp(h, torch.tanh(new_x[:, k] + self.U(r * h)), z)
            found.append(h)
        return torch.stack(found, dim=1)
