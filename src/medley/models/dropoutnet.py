"""DropoutNet. Volkovs et al., "DropoutNet: Addressing Cold Start in Recommender Systems", NIPS 2017,
https://papers.nips.cc/paper/2017/hash/dbd22ba3bd0df8f385bdac3e9f8be207-Abstract.html.

A latent model comes first: weighted matrix factorisation of the train interactions (Hu et al., ICDM 2008, WMF),

    U, V minimise sum_ui c_ui (r_ui - U_u . V_i)^2 + latent_reg (|U|^2 + |V|^2)        c_ui = 1 + alpha r_ui

with r_ui = 1 for train interactions, else 0. Two networks read its preference vectors, that of the items beside the
content f_i, the concatenation of all modalities, and learn to reproduce its scores:

    g_u = A2 tanh(A1 U~_u + a1) + a2        g_i = W2 tanh(P V~_i + W1 f_i + b1) + b2        U~, V~: standardised
    loss = mean of (U_u . V_i - g_u . g_i)^2 over all pairs of a user and an item of the batch               (eq. 2)

Input dropout: for a share `dropout` of the items, drawn at random in each batch, V~_i is 0, so that content has to give
the score. An item without train interactions has V~_i = 0 always.

    s_ui = g_u . g_i

Shapes: U users, I items, d = dim (of U, V and g), h = hidden_dim, d_m raw dimension of modality m, B triplets, n
distinct items of a batch.
The paper leaves open: an item that lacks a modality (here a learned vector stands in for W1_m f_im). Items without
train interactions are not in the loss: WMF has no score to reproduce for them. The squared loss shrinks what content
cannot predict, so these items have lower scores than others; the authors' code ranks them among themselves alone.
Differs from the paper: users have no content here, so their preference is never dropped, and the means of item vectors
that stand in for new users at inference (Sec. 4.3) are left out. No batch normalisation: an item's score depends on no
other item of its batch. Sampled pairs are all those of the users and items of a batch, and an item is dropped for all
of its pairs (the authors' code samples pairs: the highest scores of each user in WMF, and random ones). One hidden
layer, as in that code for CiteULike. Features have length one (there columns are standardised, in front of batch
normalisation). WMF is solved by conjugate gradients, NUM_STEPS per vector and sweep, from
users drawn under a fixed seed, so U and V follow from the train interactions alone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from medley.engine import threads
from medley.engine.kernels import compiled
from medley.models.base import Count, Positive, Recommender, Share
from medley.models.spaces import LR, Choice, Log, Space, Uniform
from medley.nn.init import affine, linear
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.types import Embeddings, Inputs, Interactions, Triplets

NUM_SWEEPS = 10  # the authors' factors of CiteULike
NUM_STEPS = 5  # of conjugate gradients
SMALLEST = 1e-6  # standard deviation that columns are divided by


class DropoutNet(Recommender):
    """Two networks that reproduce a factorisation, of users and of items with content; items often lose their vector.

    Choose it when a factorisation ranks known items well, and new items are ranked among themselves.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "dropout": Uniform(0.0, 1.0),  # Fig. 2
        "alpha": Log(1.0, 100.0),
        "latent_reg": Log(0.1, 100.0),
        "feature_scale": Choice(("l2", "standard")),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    U_latent: Tensor  # (U, d), WMF
    V_latent: Tensor  # (I, d), WMF
    U_input: Tensor  # (U, d), standardised
    V_input: Tensor  # (I, d), standardised; 0 where the item has no interactions
    warm: Tensor  # (I,) bool, items with interactions

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        hidden_dim: Count = 200,  # the authors' code, CiteULike
        dropout: Share = 0.5,  # the authors' code
        alpha: Positive = 10.0,  # the authors' factors of CiteULike
        latent_reg: Positive = 10.0,  # 1: the authors; 10 is better on validation of lfm2k
        feature_scale: FeatureScale = "l2",  # standardised features, as the authors' code has them, saturate tanh
    ):
        super().__init__(inputs)
        self.dropout = dropout
        user, item = wmf(inputs.train, dim, alpha=alpha, reg=latent_reg)
        known = inputs.train.items_per_user() > 0, inputs.train.users_per_item() > 0
        self._hold(U_latent=user, V_latent=item, warm=known[1])
        self._hold(U_input=_standardised(user, known[0]), V_input=_standardised(item, known[1]))
        self.A1, self.A2 = affine(dim, hidden_dim), affine(hidden_dim, dim)
        self.P = linear(dim, hidden_dim)
        self.W1 = Content(item_features(inputs, feature_scale), hidden_dim, bias=True)
        self.W2 = affine(hidden_dim, dim)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors g."""
        items = torch.arange(self.num_items, device=self.warm.device)
        return Embeddings(self._users(self.U_input), self._items(self.V_input, items))

    def loss(self, batch: Triplets) -> Tensor:
        """Mean squared distance of g_u . g_i from the scores of WMF, with some V~ dropped."""
        users, items = batch.user.unique(), torch.cat([batch.pos, batch.neg]).unique()
        items = items[self.warm[items]]
        preference = self.V_input[items] * self._kept(items)
        g_user, g_item = self._users(self.U_input[users]), self._items(preference, items)
        return _distance(Embeddings(self.U_latent[users], self.V_latent[items]), Embeddings(g_user, g_item))

    def _users(self, preference: Tensor) -> Tensor:
        """Returns g of users with preference vectors (n, d), (n, d)."""
        return self.A2(self.A1(preference).tanh())

    def _items(self, preference: Tensor, items: Tensor) -> Tensor:
        """Returns g of items (n,) with preference vectors (n, d), (n, d)."""
        return self.W2((self.P(preference) + self.W1(items)).tanh())

    def _kept(self, items: Tensor) -> Tensor:
        """Returns which of the items (n,) keep their preference vector: 0 or 1, (n, 1)."""
        if not self.training:
            return torch.ones(len(items), 1, device=items.device)
        return (torch.rand(len(items), 1, device=items.device) >= self.dropout).float()

    def _hold(self, **arrays: np.ndarray) -> None:
        """Registers arrays as buffers, which building the model makes again."""
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)


def _distance(latent: Embeddings, g: Embeddings) -> Tensor:
    """Returns the mean of (U_u . V_i - g_u . g_i)^2 over all users (n, d) and items (k, d), without a matrix (n, k).

    |U V^T - G H^T|^2 = <U^T U, V^T V> - 2 <U^T G, V^T H> + <G^T G, H^T H>
    """
    (u, v), (g_user, g_item) = latent, g
    constant = ((u.T @ u) * (v.T @ v)).sum()
    both = ((u.T @ g_user) * (v.T @ g_item)).sum()
    own = ((g_user.T @ g_user) * (g_item.T @ g_item)).sum()
    return (constant - 2 * both + own) / max(len(u) * len(v), 1)


def wmf(train: Interactions, dim: int, *, alpha: float, reg: float) -> tuple[np.ndarray, np.ndarray]:
    """Factorises train interactions by alternating least squares; draws nothing that a seed of the caller decides.

    Args:
        train: the interactions.
        dim: d.
        alpha: additional weight of an interaction.
        reg: weight of the squared norms.

    Returns:
        User vectors (U, d) and item vectors (I, d), float32; 0 for rows without interactions.
    """
    by_user = train.csr()
    by_item = sp.csr_array(by_user.T)
    user = 0.1 * np.random.default_rng(0).standard_normal((train.num_users, dim))
    item = np.zeros((train.num_items, dim))
    for _ in range(NUM_SWEEPS):
        _solve(by_item, user, alpha, reg, item)
        _solve(by_user, item, alpha, reg, user)
    return user.astype(np.float32), item.astype(np.float32)


def _solve(matrix: sp.csr_array, fixed: np.ndarray, alpha: float, reg: float, out: np.ndarray) -> None:
    """Moves each row x of `out` towards the optimum beside the `fixed` vectors Y (C, d):

    (Y^T Y + reg I + alpha sum y_c y_c^T) x = (1 + alpha) sum y_c        sums over the columns c of the row
    """
    gram = fixed.T @ fixed + reg * np.eye(fixed.shape[1])
    start, index = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
    work = NUM_STEPS * fixed.shape[1] * (2 * len(index) + len(out) * fixed.shape[1])
    threads.run(_conjugate_gradients, threads.equal_pieces(start), work, start, index, fixed, gram, alpha, out)


@compiled
def _times(row, start, index, fixed, gram, alpha, x, out):  # pragma: no cover - compiled
    """Writes the left side of the equation of a row, times x, into out (d,)."""
    for a in range(len(x)):
        total = 0.0
        for b in range(len(x)):
            total += gram[a, b] * x[b]
        out[a] = total
    for edge in range(start[row], start[row + 1]):
        y, total = fixed[index[edge]], 0.0
        for a in range(len(x)):
            total += y[a] * x[a]
        for a in range(len(x)):
            out[a] += alpha * total * y[a]


@compiled
def _conjugate_gradients(begin, end, start, index, fixed, gram, alpha, out):  # pragma: no cover - compiled
    dim = fixed.shape[1]
    product, rest, way = np.empty(dim), np.empty(dim), np.empty(dim)
    for row in range(begin, end):
        x = out[row]
        if start[row] == start[row + 1]:
            x[:] = 0
            continue
        _times(row, start, index, fixed, gram, alpha, x, product)
        rest[:] = -product
        for edge in range(start[row], start[row + 1]):
            for a in range(dim):
                rest[a] += (1 + alpha) * fixed[index[edge], a]
        way[:] = rest
        length = (rest * rest).sum()
        for _ in range(NUM_STEPS):
            if length < 1e-20:
                break
            _times(row, start, index, fixed, gram, alpha, way, product)
            step = length / (way * product).sum()
            for a in range(dim):
                x[a] += step * way[a]
                rest[a] -= step * product[a]
            before, length = length, (rest * rest).sum()
            for a in range(dim):
                way[a] = rest[a] + length / before * way[a]


def _standardised(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Gives columns mean 0 and variance 1 over the known rows; other rows are 0."""
    if not known.any():
        return np.zeros_like(x)
    deviation = np.maximum(x[known].std(axis=0), SMALLEST)
    return np.where(known[:, None], (x - x[known].mean(axis=0)) / deviation, 0).astype(np.float32)
