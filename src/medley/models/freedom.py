"""FREEDOM. Zhou & Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal Recommendation",
MM 2023, https://arxiv.org/abs/2211.06924.

The item graph is frozen: per modality m each item is joined to its k nearest by cosine (itself among them, all edges
weigh 1), and the modalities are mixed by fixed weights alpha_m that sum to 1:

    S = sum_m alpha_m D_m^-1/2 S_m D_m^-1/2        h_i = (S^L' e)_i

The interaction graph is denoised: before each epoch a share `dropout` of its n edges is left out. Those that stay are
drawn without replacement, with probability proportional to

    p_ui = 1 / sqrt(|N_u| |N_i|)

so edges of busy users and popular items go first. R^ = D_u^-1/2 R D_i^-1/2 has the degrees of the edges that stay.
Outside of training no edge is left out. R^ propagates the IDs as in LightGCN:

    u = mean_l u(l)      i = mean_l i(l) + h_i      l = 0..L      s_ui = u . i

    loss = BPR(u . i) + content_weight sum_m BPR(u . W_m f_im)

The last of the L' steps of an item's h is a sum over modalities, so each modality is a part of the score, beside `id`.

Shapes: U users, I items, d = dim, d_m raw dimension of modality m, n edges, L = num_layers, L' = num_item_layers,
K = k, B triplets.
The paper leaves open: more than two modalities (here equal alpha, or `modality_weights`; the authors' code gives images
0.1 and texts 0.9); an item that lacks m (here: no edges in S_m, the others share its weight, and BPR of m leaves out
triplets with such an item).
Differs from the authors' code: raw features are fixed (there they are trained with W_m, but the graph is not built
anew); W_m has no bias, which cancels in BPR.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.graphs.normalise import inverse, scaled
from medley.models.base import Count, Layers, Positive, Rate, Recommender, Weight
from medley.models.cold import Cold, ColdItems
from medley.models.spaces import LR, Choice, Log, Space, Uniform, Whole
from medley.nn.chosen import Offset
from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss
from medley.nn.modalities import FeatureScale, ItemFeatures, by_name, item_features, sum_of
from medley.nn.propagation import Rows, distinct_rows, lightgcn, take
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Features, Inputs, Triplets


class FREEDOM(Recommender):
    """LightGCN on interactions thinned anew each epoch, with items smoothed over a frozen similarity graph.

    Choose it when features show which items are similar and the log is noisy: a cheap gain.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "dropout": Uniform(0.0, 0.9),  # the authors: 0.8, 0.9; TikTok is better with less
        "content_weight": Log(1e-6, 1e-1),  # the authors: 0 to 1e-3
        "num_layers": Whole(1, 4),
        "k": Choice((5, 10, 20)),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    p: Tensor  # (n,)

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 2,
        num_item_layers: Count = 1,
        k: Count = 10,
        modality_weights: dict[str, Positive] | None = None,
        dropout: Rate = 0.5,  # the authors' settings: 0.8, 0.9; docs/results/defaults.md
        content_weight: Weight = 1e-3,  # the authors' settings: 0 to 1e-3
        feature_scale: FeatureScale = "l2",
        cold: Cold = "model",
        cold_offset: Offset = "auto",
    ):
        super().__init__(inputs)
        self.num_layers, self.num_item_layers = num_layers, num_item_layers
        self.dropout, self.content_weight = dropout, content_weight
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        self.S = by_name(_item_graphs(inputs.features, k, modality_weights))
        features = item_features(inputs, feature_scale) if content_weight else {}
        self.content_bpr = nn.ModuleDict({m: _ContentBPR(f, dim) for m, f in features.items()})
        self.train_edges = train = inputs.train
        degrees = train.items_per_user()[train.user] * train.users_per_item()[train.item]
        self.register_buffer("p", torch.from_numpy(degrees**-0.5).float(), persistent=False)
        self.graph = self.thinned = graphs.symmetric(train)  # (U, I)
        self.cold = ColdItems(inputs, cold, cold_offset)

    def start_epoch(self) -> None:
        """Draws the edges that stay in the graph for one epoch."""
        num_left_out = int(self.dropout * len(self.p))
        if num_left_out == 0:
            return
        # The edges with the least Exp(1) / p are a draw without replacement in proportion to p (Efraimidis & Spirakis
        # 2006). torch.multinomial draws likewise, but from at most 2^24 edges.
        order = torch.empty_like(self.p).exponential_() / self.p
        kept = order.topk(len(order) - num_left_out, largest=False).indices.cpu().numpy()
        train = self.train_edges
        thinned = graphs.symmetric(train.only(kept))
        self.thinned = thinned.to(self.p.device)  # built on the CPU, whatever the device of the model

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, d) and item (I, d) vectors; with `rows` these alone."""
        user, item = self._ids(rows)
        h = sum_of(self._smoothed().values())
        if rows is not None:
            return Embeddings(user, item + take(h, rows.item))
        return self.cold.score(Embeddings(user, item + h))

    def loss(self, batch: Triplets) -> Tensor:
        """BPR of the score, and of each modality."""
        rows, places = distinct_rows(batch)
        vectors = self(rows)
        user = vectors.user.index_select(0, places.user)  # (B, d)
        content = [bpr(user, batch) for bpr in self.content_bpr.values()]
        return bpr_loss(vectors, places) + self.content_weight * sum(content)

    def parts(self) -> dict[str, Embeddings]:
        """`id` -> u and i without h; modality -> u and its term of h."""
        user, item = self._ids()
        parts = {name: Embeddings(user, x) for name, x in {"id": item, **self._smoothed()}.items()}
        return self.cold.parts(parts)

    def _ids(self, rows: Rows | None = None) -> Embeddings:
        """Returns the mean of the layers on the interaction graph, which is thinned during training."""
        graph = self.thinned if self.training else self.graph
        return lightgcn(graph, Embeddings(self.e_user, self.e_item), self.num_layers, rows)[0]

    def _smoothed(self) -> dict[str, Tensor]:
        """Returns modality -> its term of h (I, d)."""
        h = self.e_item
        for _ in range(self.num_item_layers - 1):
            h = torch.stack([S @ h for S in self.S.values()]).sum(dim=0)
        return {m: S @ h for m, S in self.S.items()}


class _ContentBPR(nn.Module):
    """BPR of the inner product of users and the projected features of one modality."""

    def __init__(self, features: ItemFeatures, dim: Count):
        super().__init__()
        self.f, self.W = features, linear(features.dim, dim)

    def forward(self, user: Tensor, batch: Triplets) -> Tensor:
        """Returns the mean over triplets whose items both have the modality, or 0; user vectors are (B, d)."""
        both = (self.f.present[batch.pos] & self.f.present[batch.neg])[:, 0]  # (B,)
        difference = self.W(self.f.values[batch.pos] - self.f.values[batch.neg])  # (B, d)
        return (F.softplus(-(user * difference).sum(dim=1)) * both).sum() / both.sum().clamp(min=1)


def _item_graphs(
    features: Mapping[str, Features], k: int, weights: Mapping[str, float] | None
) -> dict[str, SparseMatrix]:
    """Returns modality -> alpha_m D_m^-1/2 S_m D_m^-1/2 (I, I); alpha sums to 1 over the modalities of an item."""
    alpha = dict.fromkeys(features, 1.0) if weights is None else weights
    if set(alpha) != set(features):
        raise InputError("modality_weights", expected=f"a positive number for each of {', '.join(features)}", got=alpha)
    knn = {m: graphs.binarise(graphs.item_knn(raw, k)) for m, raw in features.items()}
    share = {m: alpha[m] * (np.diff(graph.indptr) > 0) for m, graph in knn.items()}  # (I,) each
    total = np.sum(list(share.values()), axis=0)
    return {
        m: SparseMatrix(scaled(graphs.normalise_symmetric(graph), share[m] * inverse(total), np.ones(len(total))))
        for m, graph in knn.items()
    }
