"""LATTICE. Zhang et al., "Mining Latent Structures for Multimedia Recommendation", MM 2021,
https://arxiv.org/abs/2104.09036.

Per modality m, items are joined to the k nearest by raw features (S~) and by learned features (A~):

    S_ij = cos(f_i, f_j), negative ones are 0; kept where it is in the top k of row i                      (eq. 1, 2)
    S~ = D^-1/2 S D^-1/2, D the row sums of S                                                              (eq. 3)
    f~_i = W_m f_i + b_m;  A~ from f~ as S~ from f                                                         (eq. 4)
    A_m = lambda S~ + (1 - lambda) A~,  A = sum_m alpha_m A_m,  alpha = softmax of learned weights         (eq. 5, 6)

ID vectors of items are propagated on A and added, with length one, to the item vectors of LightGCN:

    h(l+1) = A h(l),  h(0) = e_i,  l = 0..L-1                                                              (eq. 7)
    x_i = LightGCN(e)_i + h_i(L) / |h_i(L)|,  s_ui = LightGCN(e)_u . x_i                                   (eq. 8, 9)

The last step on A is a sum over modalities, so the score is one too:

    part_id = x_u . LightGCN(e)_i        part_m = x_u . (alpha_m A_m h(L-1))_i / |h_i(L)|

lambda is `raw_share` (1: no learned graph), L `num_item_layers`; num_layers = 0 is the paper's variant on MF. During
training the edges of A~ are found once per epoch, and their weights are computed in every batch, so W, b and alpha
always learn; outside of training both follow from the parameters. No I x I matrix is ever held.

Shapes: U users, I items, M modalities, d = dim, d_m raw dimension of modality m, n edges, B triplets.
The paper leaves open: the L2 term (here, as in the authors' code, of the final vectors of the batch), an item that
lacks m (here: no edges in the graphs of m; an item without any modality keeps the vector of LightGCN).
Differs from the authors' code: A~ is normalised per modality (there after the mix), negative similarities are 0 (there
kept); gradients reach W, b and alpha in every batch (there in the first of an epoch); raw features are not trained; no
schedule of the learning rate; no NGCF below.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley import graphs
from medley.models.base import Count, Insight, Layers, Recommender, Share, Weight
from medley.models.cold import Cold, ColdItems
from medley.models.spaces import LR, REG, Choice, Space, Uniform, Whole
from medley.nn.chosen import Offset
from medley.nn.edges import Pattern, edge_dot, edge_product
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.modalities import FeatureScale, ItemFeatures, by_name, item_features, sum_of
from medley.nn.propagation import Rows, distinct_rows, lightgcn, take
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Features, Inputs, Triplets

EPSILON = 1e-12  # the least denominator


class LATTICE(Recommender):
    """LightGCN plus items smoothed over a similarity graph that is learned with the model.

    Choose it when the similarity of items should be learned, not only computed from raw features.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "num_layers": Whole(1, 3),
        "k": Choice((5, 10, 20)),  # the paper: 10
        "raw_share": Uniform(0.0, 1.0),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 2,
        num_item_layers: Count = 1,
        k: Count = 10,
        raw_share: Share = 0.9,
        reg: Weight = 1e-2,
        feature_scale: FeatureScale = "l2",
        cold: Cold = "model",
        cold_offset: Offset = "auto",
    ):
        super().__init__(inputs)
        self.num_layers, self.num_item_layers, self.reg = num_layers, num_item_layers, reg
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e_user = xavier(self.num_users, dim)  # (U, d)
        self.e_item = xavier(self.num_items, dim)  # (I, d)
        features = item_features(inputs, feature_scale)
        learned = {m: _Similarity(inputs.features[m], f, dim, k, raw_share) for m, f in features.items()}
        self.likeness = by_name(learned)  # old runs saved W under this name
        several = len(features) > 1  # a single modality needs no weight
        self.alpha = nn.Parameter(torch.zeros(len(features))) if several else None  # before the softmax
        self.cold = ColdItems(inputs, cold, cold_offset)

    @torch.no_grad()
    def start_epoch(self) -> None:
        """Finds the edges of A~."""
        for similarity in self.likeness.values():
            similarity.find_nearest()

    def forward(self, rows: Rows | None = None) -> Embeddings:
        """User (U, d) and item (I, d) vectors; with `rows` these alone."""
        terms = self._terms(rows)
        x = Embeddings(terms["id"].user, sum_of(term.item for term in terms.values()))  # eq. 8
        return self.cold.score(x) if rows is None else x

    def loss(self, batch: Triplets) -> Tensor:
        """BPR (eq. 10) and L2 of the final vectors of the batch."""
        rows, places = distinct_rows(batch)
        embeddings = self(rows)
        return bpr_loss(embeddings, places) + self.reg * l2_of_batch(embeddings, places)

    @torch.no_grad()
    def about_item(self, item: int) -> list[Insight]:
        """The neighbours of the item in A, with their weights."""
        weight = sum_of(alpha * A_m.dense_row(item) for alpha, A_m in self._graphs().values())  # (I,)
        weight[item] = 0
        near = (weight > 0).nonzero()[:, 0]
        return [Insight.ranked("similar items", near, weight[near], kind="items")]

    def _graphs(self) -> dict[str, tuple[Tensor, "_Graph"]]:
        """Returns modality -> alpha_m and A_m."""
        alpha = self.e_item.new_ones(1) if self.alpha is None else self.alpha.softmax(dim=0)
        return {m: (alpha_m, A()) for alpha_m, (m, A) in zip(alpha, self.likeness.items(), strict=True)}

    def parts(self) -> dict[str, Embeddings]:
        """`id` -> x_u and LightGCN(e)_i; modality -> x_u and its term of the last step."""
        return self.cold.parts(self._terms())

    def _terms(self, rows: Rows | None = None) -> dict[str, Embeddings]:
        """Returns the parts of the model; with `rows` these users and items alone."""
        x, _ = lightgcn(self.graph, Embeddings(self.e_user, self.e_item), self.num_layers, rows)
        h, A, steps = self.e_item, self._graphs(), {}
        for _ in range(self.num_item_layers):
            steps = {m: alpha * (A_m @ h) for m, (alpha, A_m) in A.items()}  # eq. 6
            h = sum_of(steps.values())  # eq. 7
        if rows is not None:
            h, steps = take(h, rows.item), {m: take(step, rows.item) for m, step in steps.items()}
        length = h.norm(dim=1, keepdim=True).clamp(min=EPSILON)
        return {"id": x} | {m: Embeddings(x.user, step / length) for m, step in steps.items()}


class _Similarity(nn.Module):
    """The raw and the learned similarity graph of one modality."""

    def __init__(self, raw: Features, f: ItemFeatures, dim: int, k: int, raw_share: float):
        super().__init__()
        similarity = graphs.item_knn(raw, k)  # eq. 1, 2
        similarity.data = similarity.data.clip(min=0)
        self.raw = SparseMatrix(graphs.normalise_symmetric(similarity))  # eq. 3
        self.f, self.k, self.raw_share = f, k, raw_share
        self.W = nn.Linear(f.dim, dim) if raw_share < 1 else None
        self.nearest: Pattern | None = None

    def find_nearest(self) -> None:
        """Finds the edges of A~ for all batches of an epoch."""
        x = self._learned()
        self.nearest = None if x is None else self._nearest(x)

    def forward(self) -> "_Graph":
        """Returns A_m."""
        x = self._learned()
        if x is None:
            return _Graph(self.raw, None, None, self.raw_share)
        nearest = self.nearest if self.training and self.nearest is not None else self._nearest(x)
        similarity = edge_dot(nearest, x, x).relu()  # eq. 1
        degree = edge_product(nearest, similarity, torch.ones_like(x[:, :1]))  # (I, 1)
        y = x * degree.clamp(min=EPSILON).rsqrt()  # y_i . y_j is x_i . x_j, normalised on both sides
        return _Graph(self.raw, nearest, edge_dot(nearest, y, y).relu(), self.raw_share)  # eq. 3

    def _learned(self) -> Tensor | None:
        """Returns f~ (I, d), rows of length one; None without a learned graph."""
        return None if self.W is None else F.normalize(self.W(self.f.values))  # eq. 4

    def _nearest(self, x: Tensor) -> Pattern:
        """Returns the top k of every row (eq. 2). The search runs on the CPU, whatever the device of the model."""
        features = Features(x.detach().cpu().numpy(), self.f.present[:, 0].cpu().numpy())
        return Pattern(graphs.item_knn(features, self.k, cache=False)).to(x.device)


class _Graph(NamedTuple):
    """A_m = lambda S~ + (1 - lambda) A~, (I, I)."""

    raw: SparseMatrix
    nearest: Pattern | None  # edges of A~
    weight: Tensor | None  # (n,), their weights
    raw_share: float

    def __matmul__(self, h: Tensor) -> Tensor:
        """(I, d) -> (I, d)"""
        if self.nearest is None or self.weight is None:
            return self.raw @ h
        learned = edge_product(self.nearest, self.weight, h)
        return self.raw_share * (self.raw @ h) + (1 - self.raw_share) * learned  # eq. 5

    def dense_row(self, item: int) -> Tensor:
        """Returns the row of one item, (I,)."""
        weights = torch.zeros(self.raw.shape[1], device=self.raw.by_row.value.device)
        both = [(self.raw_share, self.raw.by_row.arrays)]
        if self.nearest is not None and self.weight is not None:
            both.append((1 - self.raw_share, self.nearest.by_row.weighted(self.weight)))
        for share, graph in both:
            near, weight = graph.entries(item)
            weights.index_add_(0, near.long(), share * weight)
        return weights
