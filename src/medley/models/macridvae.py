"""MacridVAE. Ma et al., "Learning Disentangled Representations for Recommendation", NeurIPS 2019,
https://arxiv.org/abs/1910.14238.

Items belong to K concepts with prototypes m_k; a user has one vector per concept. With unit vectors h_i, m_k, z_uk:

    c_i = softmax_k(h_i . m_k / tau)                 while training a Gumbel-softmax sample of it       concepts
    (a_uk, b_uk) = W2 tanh(sum_{i in N_u} w_uik t_i + b1) + b2                                          encoder
        w_uik = c_ik / sqrt(sum_{j in N_u} c_jk^2)   with dropout of the interactions while training
    z_uk = a_uk / |a_uk| + sigma exp(-b_uk / 2) eps, scaled to length one; eps ~ N(0, 1), 0 after training
    p(i | u) = softmax_i s_ui        s_ui = ln sum_k c_ik exp(z_uk . h_i / tau)                         decoder
    loss = -sum_{i in N_u} ln p(i | u) + beta sum_k KL(q(z_uk) || N(0, sigma^2)), mean over users

    KL = 1/2 sum_d (exp(-b) + b - 1) + a constant, as the mean has length one

h_i and t_i are learned vectors of an item, read by the decoder and by the encoder. HUIGN (Sec. 4.1.3), the only one of
the five papers that compares with MacridVAE, gives it the interactions alone, as its authors do; with `use_content` a
linear layer on the concatenated features of all modalities is added to both vectors. Users have no parameters, so a
user without interactions has z = W2 tanh(b1) + b2.

Shapes: U users, I items, K = num_concepts, d = dim, B distinct users of a batch, e their interactions.
The paper leaves open: the depth of the encoder (here, as in the authors' code, one hidden layer).
Differs from the authors' code: batches are drawn from the interactions, and a user comes with one of theirs, drawn anew
for every epoch, so that an epoch holds every user once; beta is not annealed; no L2.
The user x item x concept numbers of the decoder are computed block by block and again for the gradient, never kept.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medley.models.base import Count, Insight, Rate, Recommender, Weight
from medley.models.spaces import LR, Log, Space, Uniform, Whole
from medley.nn.init import linear, xavier
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.seen import SeenItems, total
from medley.types import Inputs, Interactions, Seen, Triplets

SMALLEST_TAU = 0.025  # from here on, exp(-1 / tau) is a normal float32, and a sum of exp(1 / tau) is finite
BLOCK, BLOCK_ON_GPU = 2**19, 2**25  # scores of one concept in a block: what a cache holds; what occupies a GPU
MIN_ROWS = 64  # users in a block, at least


class MacridVAE(Recommender):
    """A variational autoencoder with one user vector per concept; the concepts are learned as well.

    Choose it when users have several distinct interests and their vectors must follow from the seen items alone.
    """

    folds_in = True
    turn: Tensor | None  # (U,) the seen item with which a user comes in this epoch; None before the first
    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "num_concepts": Whole(2, 20),
        "tau": Log(5e-2, 1.0),
        "beta": Uniform(0.0, 1.0),
        "dropout": Uniform(0.1, 0.9),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_concepts: Count = 7,  # the paper's K
        tau: Annotated[float, Field(ge=SMALLEST_TAU)] = 0.1,
        sigma: Weight = 0.075,
        beta: Weight = 0.2,
        dropout: Rate = 0.5,
        use_content: bool = False,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.tau, self.sigma, self.beta, self.dropout = tau, sigma, beta, dropout
        self.seen = SeenItems(inputs.train)
        self.register_buffer("turn", None, persistent=False)
        self.reads_features = use_content
        self.h = xavier(self.num_items, dim)  # (I, d)
        self.t = xavier(self.num_items, dim)  # (I, d)
        self.m = xavier(num_concepts, dim)  # (K, d)
        self.b1 = nn.Parameter(torch.zeros(dim))
        self.W2 = linear(dim, 2 * dim)
        self.b2 = nn.Parameter(torch.zeros(2 * dim))
        features = item_features(inputs, feature_scale) if use_content else None
        self.content_h = Content(features, dim) if features else None
        self.content_t = Content(features, dim) if features else None

    def start_epoch(self) -> None:
        """Draws the interaction with which each user is trained in this epoch, so that each is trained once."""
        first, end = self.seen.start[:-1], self.seen.start[1:]
        place = first + (torch.rand(len(first), device=first.device) * (end - first)).long()
        self.turn = self.seen.item[place.clamp(max=len(self.seen.item) - 1)]  # users without any are in no batch

    def loss(self, batch: Triplets) -> Tensor:
        """Negative evidence lower bound, mean over the users whose turn it is.

        Outside an epoch of training a user counts 1 / |N_u| per triplet.
        """
        turn = self.turn if self.training else None
        user = batch.user if turn is None else batch.user[turn[batch.user] == batch.pos]
        if not len(user):
            return 0 * self.h.sum()
        users, num_triplets = user.unique(return_counts=True)
        h, t, logits = self._items()
        c = F.gumbel_softmax(logits) if self.training else logits.softmax(dim=1)  # (I, K)
        seen = self.seen(users)
        mean, b = self._encode(seen, t, c, self.dropout if self.training else 0)  # (K, B, d) each
        z = mean
        if self.training:
            z = F.normalize(mean + self.sigma * torch.exp(-b / 2) * torch.randn_like(mean), dim=2)
        kl = (torch.exp(-b) + b - 1).sum(dim=(0, 2)) / 2  # (B,)
        bound = self._log_likelihood(z, h, c, seen) - self.beta * kl  # (B,)
        size = torch.bincount(seen.row, minlength=len(users)).clamp(min=1) if turn is None else 1
        weight = num_triplets / size
        return -(weight * bound).sum() / weight.sum()

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """Returns s_ui, (B, I), of users (B,)."""
        return self._score(self.seen)

    def scorer_of(self, history: Interactions) -> Callable[[Tensor], Tensor]:
        """Returns s_ui of users whom the encoder makes of `history`."""
        return self._score(self.seen.of(history))

    def _score(self, users_seen: SeenItems) -> Callable[[Tensor], Tensor]:
        h, t, logits = self._items()
        c = logits.softmax(dim=1)

        def score(users: Tensor) -> Tensor:
            mean, _ = self._encode(users_seen(users), t, c)
            return torch.cat([self._decode(block, h, c).log_() for block in self._blocks(mean)])

        return score

    def _blocks(self, z: Tensor) -> Sequence[Tensor]:
        """Splits (K, B, d) by users."""
        return z.split(max(MIN_ROWS, (BLOCK_ON_GPU if z.is_cuda else BLOCK) // self.num_items), dim=1)

    def _items(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns h (I, d) of length one, t (I, d) and the logits (I, K) of the concepts."""
        h, t = self.h, self.t
        if self.content_h is not None and self.content_t is not None:
            h, t = h + self.content_h(), t + self.content_t()
        h = F.normalize(h)
        return h, t, h @ F.normalize(self.m).T / self.tau

    def _encode(self, seen: Seen, t: Tensor, c: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Returns means of length one and b, (K, B, d) each."""
        w = c.index_select(0, seen.item)  # (e, K)
        squares = w.new_zeros(len(seen.start), w.shape[1]).index_add(0, seen.row, w.square())
        norm = squares.clamp(min=1e-12).sqrt()  # 0 where a user has seen nothing: its root has no gradient
        w = F.dropout(w / norm.index_select(0, seen.row), dropout).T.contiguous()  # (K, e)
        hidden = torch.tanh(torch.stack([total(seen, t, w_k) for w_k in w]) + self.b1)  # (K, B, d)
        a, b = (self.W2(hidden) + self.b2).chunk(2, dim=2)
        return F.normalize(a, dim=2), b

    def _decode(self, z: Tensor, h: Tensor, c: Tensor) -> Tensor:
        """Returns p(i | u) up to a factor of the user, (K, B, d), (I, d), (I, K) -> (B, I)."""
        p = h.new_zeros(z.shape[1], len(h))
        for z_k, c_k in zip(z / self.tau, c.T.contiguous(), strict=True):
            p = p.addcmul(c_k, (z_k @ h.T).exp_())
        return p

    def _log_likelihood(self, z: Tensor, h: Tensor, c: Tensor, seen: Seen) -> Tensor:
        """Sums ln p(i | u) over the interactions of each user, (B,)."""
        blocks = self._blocks(z)
        step = blocks[0].shape[1]
        first = [*seen.start[::step].tolist(), len(seen.item)]  # interaction of each block
        parts: list[Tensor] = []
        for place, z_block in enumerate(blocks):
            these = slice(first[place], first[place + 1])
            row, item = seen.row[these] - place * step, seen.item[these]
            parts.append(checkpoint(self._of_block, z_block, h, c, row, item, use_reentrant=False))
        return torch.cat(parts)

    def _of_block(self, z: Tensor, h: Tensor, c: Tensor, row: Tensor, item: Tensor) -> Tensor:
        p = self._decode(z, h, c)
        norm = p.sum(dim=1)
        return torch.zeros_like(norm).index_add(0, row, (p[row, item] / norm[row]).log())

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """The weights of the concepts in the item."""
        return [Insight.numbered("concepts", "concept", self._items()[2][item].softmax(dim=0))]

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """The mean weights of the concepts in the items that the user has seen."""
        seen = self.seen(torch.tensor([user])).item
        mean = self._items()[2][seen].softmax(dim=1).mean(dim=0)
        return [Insight.numbered("concepts", "concept", mean)] if len(seen) else []
