"""Mosaic. Medley's own model: a user is made of items, and an item of similar items. After FISM, Kabbur et al., KDD
2013, https://doi.org/10.1145/2487575.2487589, and FREEDOM, Zhou & Shen, MM 2023, https://arxiv.org/abs/2211.06924.

    h_i  = w_i e_i + sum_m a_im (g (S_m w e)_i + c_i W_m f_im)      w_i = 1 if item i occurs in train, else 0
    c_i  = (1 + w_i |N_i|)^-1/2                                     N_i: the users of i in train
    x_u  = A sum_{j in H_u} r_age(j) h_j              H_u: the latest max_length items of u; age 0 is the latest
    s_ui = cos(x_u, h_i) / tau + p pi_i + o (1 - w_i)

e (I, d) is the only table. f_im are features of length one. S_m joins each item to its k nearest by their cosine,
itself among them, and is frozen; items without interactions are nobody's neighbours; rows sum to 1, and so do the a_im
over the modalities of an item. A modality that no item of train has is left out. W_m reads taste from features: the
more users an item has, the less it counts. So an item that nobody has seen is the mean of similar items plus what its
own features say. A turns what a user has seen into what comes next, and r (learned, starting at .7^age) says how fast
the past fades. A user is made of items alone: new users and longer histories need no training.

pi_i = ln(1 + |N_i|), centred over items of train; 0 for the others. In training p = `train_popularity`, so that e need
not learn popularity; its weight in serving, p, and the offset o of items without interactions are chosen on validation
when the training has ended: p by Recall, o by Recall + 0.2 Recall of items without interactions.

    loss = -ln softmax(s_u)[i] over i and N negatives shared by the batch, weighed by n_u^-gamma

where x_u is made of what u had seen before i; items of one moment are put in a random order. Logs without times know no
order: r = 1, and x_u is made of all other items of u. Items without interactions are never negatives, because the model
would learn to rank them last. While training, w_i is 0 in a share `id_dropout` of the items, which then stand for
new items: their neighbours lack them, and W_m learns to speak for them.

Shapes: U users, I items, n interactions, d = dim, d_m dimension of modality m, B triplets, N negatives, L = max_length.
From FISM: users made of items, without the item that is predicted. From FREEDOM: the frozen item graph. The transition
A follows Rendle et al., WWW 2010 (FPMC), dropped IDs Volkovs et al., NIPS 2017 (DropoutNet), the prior Menon et al.,
ICLR 2021. `docs/flagship.md` has the experiments that chose among these parts, and what did not help.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.models.base import Count, Insight, Positive, Rate, Recommender, Weight
from medley.models.spaces import Choice, Log, Space, Uniform
from medley.nn.chosen import COLD_VALUE, ChosenNumber, ChosenWeight, Offset
from medley.nn.init import linear, xavier
from medley.nn.lengths import lengths
from medley.nn.modalities import ItemFeatures, by_name, sum_of
from medley.nn.scale import FeatureScale, scale
from medley.nn.seen import SeenItems
from medley.nn.sequences import Histories, sampled_softmax
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Features, HistorySum, Inputs, Interactions, Triplets

FADING = 0.7  # r at the start, per step of age
POPULARITIES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)
OFFSETS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
NUM_EXAMPLES = 10  # items in an insight


class Mosaic(Recommender):
    """Users made of their latest items, items smoothed over what is similar; predicts what comes next.

    Choose it first: for sparse logs, for new items and new users, and where the order of interactions is known.
    """

    folds_in = True
    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": Log(5e-4, 1e-2),
        "tau": Log(0.05, 0.4),
        "id_dropout": Uniform(0.0, 0.5),
        "graph_weight": Log(0.25, 4.0),
        "train_popularity": Uniform(0.0, 1.0),
        "k": Choice((5, 10, 20)),
        "use_order": Choice((True, False)),  # the times of some logs tell no order
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 2e-3, "patience": 8, "average": 0.9}

    pi: Tensor  # (I, 1)
    count: Tensor  # (I, 1) float32, |N_i|
    is_cold: Tensor  # (I, 1) float32, 1 - w
    weight: Tensor  # (U,) n_u^-gamma, mean over interactions 1

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 128,
        max_length: Count = 20,
        tau: Positive = 0.15,
        k: Count = 10,
        graph_weight: Weight = 1.0,
        use_content: bool = True,
        use_transition: bool = True,
        use_order: bool = True,
        id_dropout: Rate = 0.2,
        num_negatives: Count = 512,
        gamma: Weight = 0.0,
        train_popularity: Weight = 0.5,
        popularity: ChosenWeight = "auto",
        cold_offset: Offset = "auto",
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.tau, self.id_dropout = tau, id_dropout
        self.num_negatives, self.train_popularity = num_negatives, train_popularity
        count = inputs.train.users_per_item()
        self.e = xavier(self.num_items, dim)  # (I, d)
        self.A = nn.Parameter(torch.eye(dim)) if use_transition else None
        features = _known_features(inputs, feature_scale) if graph_weight or use_content else {}
        share = 1 / np.maximum(sum(f.present for f in features.values()), 1)  # (I,)
        self.views = by_name(
            {m: _View(f, share, count > 0, dim, k, graph_weight, use_content) for m, f in features.items()}
        )
        self.reads_features = bool(self.views)
        timed = use_order and inputs.train.time is not None
        self.users = _InOrder(inputs.train, max_length) if timed else _WithoutOrder(inputs.train)
        pi = np.where(count > 0, np.log1p(count) - np.log1p(count[count > 0]).mean(), 0)
        of_user = np.maximum(inputs.train.items_per_user(), 1) ** -float(gamma)
        of_user /= of_user[inputs.train.user].mean()
        by_item = {"pi": pi[:, None], "count": count[:, None], "is_cold": (count == 0)[:, None]}
        for name, values in {**by_item, "weight": of_user}.items():
            self.register_buffer(name, torch.from_numpy(np.asarray(values, dtype=np.float32)), persistent=False)
        self.popularity = ChosenNumber(popularity, among=POPULARITIES, start=train_popularity / 2)
        self.cold_offset = ChosenNumber(cold_offset, among=OFFSETS, start=0.0, cold_value=COLD_VALUE)

    def forward(self) -> Embeddings:
        """User (U, d + 1) and item (I, d + 1) vectors."""
        return self._embeddings(self.users)

    def scorer_of(self, history: Interactions) -> Embeddings:
        """Users made of another history, and the same items."""
        return self._embeddings(self.users.of(history))

    def history_sum(self) -> HistorySum:
        """Users are directions of sums; only the prior meets the constant 1."""
        own, of_m = self._parts_of_items()
        length = lengths(sum_of([own, *of_m.values()])).squeeze(1)
        constants = {"popularity": length.new_ones(1)}
        return HistorySum(length, self.A, *self.users.by_age(), scale=1 / self.tau, constants=constants)

    def parts(self) -> dict[str, Embeddings]:
        """`id` and modality -> their share of h_i; `popularity` -> p pi_i and the offset."""
        own, of_m = self._parts_of_items()
        h = sum_of([own, *of_m.values()])
        user, length = self._users(self.users, h), lengths(h)
        prior = Embeddings(user.new_ones(len(user), 1), self._prior())
        return {m: Embeddings(user, x / length) for m, x in {"id": own, **of_m}.items()} | {"popularity": prior}

    def loss(self, batch: Triplets) -> Tensor:
        """Softmax over the positive and the negatives that the batch shares."""
        own, of_m = self._parts_of_items(self.id_dropout if self.training else 0.0)
        h = sum_of([own, *of_m.values()])
        x, known = self.users.before(batch, h)  # (B, d), (B,)
        batch, x = Triplets(*(rows[known] for rows in batch)), self._turned(x[known])
        if not len(x):
            return 0 * h.sum()
        item = torch.cat([h / lengths(h), self.train_popularity * self.pi - 1e9 * self.is_cold], dim=1)
        loss = sampled_softmax(_with_one(x), item, batch, self.num_negatives, reduction="none")
        return (loss * self.weight[batch.user]).mean()

    def _embeddings(self, users: "_Users") -> Embeddings:
        own, of_m = self._parts_of_items()
        h = sum_of([own, *of_m.values()])
        return Embeddings(_with_one(self._users(users, h)), torch.cat([h / lengths(h), self._prior()], dim=1))

    def _parts_of_items(self, dropout: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns w e, and modality -> its term of h; (I, d) each."""
        w = 1 - self.is_cold  # (I, 1)
        if dropout:
            w = w * (torch.rand(len(w), 1, device=w.device) >= dropout)
        own, c = w * self.e, (1 + w * self.count).rsqrt()
        return own, {m: view(own, c) for m, view in self.views.items()}

    def _users(self, users: "_Users", h: Tensor) -> Tensor:
        """Returns cos-ready x_u / tau, (U, d)."""
        return self._turned(users.latest(h))

    def _turned(self, x: Tensor) -> Tensor:
        x = x if self.A is None else x @ self.A
        return x / (self.tau * lengths(x))

    def _prior(self) -> Tensor:
        """Returns p pi_i + o (1 - w_i), (I, 1)."""
        return self.popularity() * self.pi + self.cold_offset() * self.is_cold

    @torch.no_grad()
    def about_user(self, user: int) -> list[Insight]:
        """The latest items of the user with their weights r, in a log with times."""
        if not isinstance(self.users, _InOrder):
            return []
        bag = self.users.histories.bags(torch.tensor([user], device=self.e.device))
        weights = self.users.log_r.exp()[bag.age]
        return [Insight.ranked("weights of the latest items", bag.item, weights, kind="items")] if len(weights) else []

    def about_item(self, item: int) -> list[Insight]:
        """The neighbours of the item in each modality."""
        found = []
        for m, view in self.views.items():
            S = view.S
            if S is None:
                continue
            edges = slice(*S.by_row.start[item : item + 2].tolist())
            near, weight = S.by_row.index[edges][:NUM_EXAMPLES], S.by_row.value[edges][:NUM_EXAMPLES]
            found.append(Insight.ranked(f"neighbours by {m}", near, weight, kind="items"))
        return found


class _View(nn.Module):
    """What a modality says about all items: a_m (g S_m w e + c W_m f_m)."""

    a: Tensor  # (I, 1); 0 for items that lack the modality

    def __init__(
        self,
        features: Features,
        share: np.ndarray,
        is_warm: np.ndarray,
        dim: int,
        k: int,
        graph_weight: float,
        use_content: bool,
    ):
        """Args:
        features: scaled.
        share: (I,) a_m of the items that have the modality.
        is_warm: (I,) bool, items of train.
        dim: d.
        k: neighbours in S_m.
        graph_weight: g; 0 leaves S_m out.
        use_content: whether there is W_m.
        """
        super().__init__()
        self.graph_weight = graph_weight
        self.S = SparseMatrix(_item_graph(features, is_warm, k)) if graph_weight else None
        self.f = ItemFeatures(features) if use_content else None
        self.W = linear(self.f.dim, dim) if self.f is not None else None
        a = np.where(features.present, share, 0)[:, None].astype(np.float32)
        self.register_buffer("a", torch.from_numpy(a), persistent=False)

    def forward(self, own: Tensor, c: Tensor) -> Tensor:
        """w e (I, d), c (I, 1) -> (I, d)"""
        terms = []
        if self.S is not None:
            terms.append(self.graph_weight * (self.S @ own))
        if self.W is not None and self.f is not None:
            terms.append(c * self.W(self.f.values))
        return self.a * sum_of(terms)


class _Users(nn.Module):
    """Sums of item vectors by user."""

    def latest(self, h: Tensor) -> Tensor:
        """Returns the sums of all users (U, d)."""
        raise NotImplementedError

    def before(self, batch: Triplets, h: Tensor) -> tuple[Tensor, Tensor]:
        """Returns sums without the positives (B, d), and whether there is anything to sum (B,)."""
        raise NotImplementedError

    def of(self, history: Interactions) -> "_Users":
        """Returns the sums of other histories, with the same weights."""
        raise NotImplementedError

    def by_age(self) -> tuple[Tensor | None, Tensor | None]:
        """Returns r (L,) and the ages (n,) of the interactions by user and item; None and None if all items weigh 1."""
        raise NotImplementedError


class _InOrder(_Users):
    """sum_j r_age(j) h_j over the latest items."""

    def __init__(self, train: Interactions, max_length: int):
        super().__init__()
        self.histories = Histories(_one_by_one(train), max_length)
        self.log_r = nn.Parameter(torch.arange(max_length) * float(np.log(FADING)))  # (L,)

    def latest(self, h: Tensor) -> Tensor:
        return self._sums(self.histories.bags(torch.arange(len(self.histories.start) - 1, device=h.device)), h)

    def before(self, batch: Triplets, h: Tensor) -> tuple[Tensor, Tensor]:
        bags = self.histories.bags_before(batch.user, batch.pos)
        return self._sums(bags, h), bags.size > 0

    def of(self, history: Interactions) -> "_InOrder":
        users = _InOrder(history, self.histories.max_length).to(self.log_r.device)
        users.log_r = self.log_r
        return users

    def by_age(self) -> tuple[Tensor, Tensor]:
        return self.log_r.exp(), self.histories.ages()

    def _sums(self, bags: Any, h: Tensor) -> Tensor:
        return F.embedding_bag(bags.item, h, bags.start, mode="sum", per_sample_weights=self.log_r.exp()[bags.age])


class _WithoutOrder(_Users):
    """sum_j h_j over all items."""

    def __init__(self, train: Interactions):
        super().__init__()
        self.seen = SeenItems(train)
        self.num_users = train.num_users

    def latest(self, h: Tensor) -> Tensor:
        seen = self.seen(torch.arange(self.num_users))
        return F.embedding_bag(seen.item, h, seen.start, mode="sum")

    def before(self, batch: Triplets, h: Tensor) -> tuple[Tensor, Tensor]:
        user, place = batch.user.unique(return_inverse=True)
        seen = self.seen(user)
        size = torch.bincount(seen.row, minlength=len(user))
        total = F.embedding_bag(seen.item, h, seen.start, mode="sum")
        return total[place] - F.embedding(batch.pos, h), (size > 1)[place]

    def of(self, history: Interactions) -> "_WithoutOrder":
        return _WithoutOrder(history).to(self.seen.start.device)

    def by_age(self) -> tuple[None, None]:
        return None, None


def _one_by_one(train: Interactions) -> Interactions:
    """Returns the interactions with distinct times; those of one moment follow each other in a fixed random order.

    So each of them is predicted from some of the others: items of one moment tell what goes together.
    """
    assert train.time is not None, "only called for logs with times"
    order = np.lexsort((np.random.default_rng(0).random(len(train)), train.time, train.user))
    return replace(train, time=np.argsort(order))


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def _known_features(inputs: Inputs, how: FeatureScale) -> dict[str, Features]:
    """Returns modality -> scaled features, of the modalities that items of train have."""
    is_warm = inputs.train.users_per_item() > 0
    found = {m: f for m, f in inputs.features.items() if (f.present & is_warm).any()}
    return {m: scale(f, how, train=is_warm) for m, f in found.items()}


def _item_graph(features: Features, is_warm: np.ndarray, k: int) -> sp.csr_array:
    """Returns S_m (I, I): rows sum to 1, or are empty."""
    return graphs.normalise_rows(graphs.binarise(graphs.warm_knn(features, is_warm, k)))
