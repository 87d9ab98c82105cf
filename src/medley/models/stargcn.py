"""STAR-GCN. Zhang et al., "STAR-GCN: Stacked and Reconstructed Graph Convolutional Networks for Recommender Systems",
IJCAI 2019, https://arxiv.org/abs/1905.13129.

Every node has a vector x, which is masked (0) for a random share of nodes in every step of training. Blocks b = 1..L
encode the sum over a node's neighbours, and decode it to the vector that the node should have. For a user (an item
aggregates users in the same way, with its own matrices):

    h_u = act(W1 act(sum_{i in N_u} W [x_i || z_i] / sqrt(|N_u| |N_i|)) + b1)                 encoder
    x^_u = W3 act(W2 h_u + b2) + b3                                                           decoder
    s_ui = (Q_u h_u + c) . (Q_i h_i)                                                          score

z_i = act(W_f f_i + b_f), with the features of all modalities side by side; users have none. The next block reads x^ in
the place of x, and the last block scores: by the output of its encoder, as in the authors' code, not of its decoder.
All blocks have the same loss, with the masked nodes M and their x before masking:

    loss = sum_b  BPR(s) + reconstruction * (mean_{u in M} |x^_u - x_u|^2 + mean_{i in M} |x^_i - x_i|^2)

Sample and remove: the pairs of a batch are not in the graph (nor in |N|) of this training step, or their score could be
read off the edge (`remove_batch`). The terms of these pairs are subtracted from the sums; no graph is built.

Shapes: U users, I items, d = dim, L = num_blocks, B triplets.
The paper leaves open: a batch that holds most of the graph (here no pair is removed if the batch holds more than half;
in the authors' code, if it holds all).
Differs from the paper: one kind of link instead of one per rating, BPR instead of squared errors of ratings; z has one
layer, for a second layer is little more than a factor of W; every layer has size d. Where an item lacks a modality, a
learned vector stands in for its part of W_f f_i.
Differs from the authors' code: with its settings for nodes known in training, M is drawn, but no node is masked.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.models.base import Count, Rate, Recommender, Weight
from medley.models.spaces import LR, REG, Log, Space, Uniform, Whole
from medley.nn.init import affine, linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.propagation import Rows, distinct_rows, take_rows
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Inputs, Triplets


class STARGCN(Recommender):
    """Stacked graph autoencoders that rebuild masked vectors of users and items from their neighbours.

    Choose it when most users and items have few interactions; nodes without any all get the same vector.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "num_blocks": Whole(1, 3),
        "mask_rate": Uniform(0.0, 0.5),
        "reconstruction": Log(1e-2, 1.0),
        "dropout": Uniform(0.0, 0.7),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 1e-2}  # docs/results/defaults.md

    degree_user: Tensor  # (U,) float32
    degree_item: Tensor  # (I,) float32

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_blocks: Count = 2,
        mask_rate: Rate = 0.1,
        reconstruction: Weight = 0.1,
        remove_batch: bool = True,
        dropout: Rate = 0.0,
        reg: Weight = 1e-3,
        feature_scale: FeatureScale = "l2",
    ):
        super().__init__(inputs)
        self.mask_rate, self.reconstruction, self.remove_batch = mask_rate, reconstruction, remove_batch
        self.reg, self.num_pairs = reg, len(inputs.train)
        self.R = SparseMatrix(inputs.train.csr())  # (U, I)
        degrees = {"degree_user": inputs.train.items_per_user(), "degree_item": inputs.train.users_per_item()}
        for name, degree in degrees.items():
            self.register_buffer(name, torch.from_numpy(degree).float(), persistent=False)
        self.x_user = xavier(self.num_users, dim)  # (U, d)
        self.x_item = xavier(self.num_items, dim)  # (I, d)
        self.W_f = Content(item_features(inputs, feature_scale), dim, bias=True)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(dim) for _ in range(num_blocks))

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        none = torch.zeros(0, dtype=torch.int64, device=self.x_user.device)
        x = Embeddings(self.x_user, self.x_item)
        *_, (block, h, _) = self._blocks(x, self._graph(none, none), Rows(none, none))
        return block.score(h)

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and reconstruction of every block; L2 of the layer-0 rows in the batch."""
        x = Embeddings(self.x_user, self.x_item)
        masked = Rows(*map(self._mask, x))
        num_removed = len(batch.user) if self.remove_batch and 2 * len(batch.user) <= self.num_pairs else 0
        graph = self._graph(batch.user[:num_removed], batch.pos[:num_removed])
        seen = Embeddings(*(side.index_fill(0, gone, 0) for side, gone in zip(x, masked, strict=True)))
        true, (rows, places) = take_rows(x, masked), distinct_rows(batch)
        loss = self.reg * l2_of_batch(take_rows(x, rows), places)
        for block, h, recovered in self._blocks(seen, graph, masked):
            loss = loss + bpr_loss(block.score(take_rows(h, rows)), places)
            for rebuilt, own in zip(recovered, true, strict=True):
                loss = loss + self.reconstruction * (rebuilt - own).square().sum() / max(1, len(own))
        return loss

    def _mask(self, x: Tensor) -> Tensor:
        """Draws which of the nodes are masked, and returns their rows: none outside of training."""
        share = torch.rand(len(x), device=x.device) if self.training else x.new_ones(len(x))
        return (share < self.mask_rate).nonzero()[:, 0]

    def _graph(self, user: Tensor, item: Tensor) -> "_Graph":
        """Returns the graph without these interactions, which may repeat."""
        pair = (user * self.num_items + item).unique()
        user, item = pair // self.num_items, pair % self.num_items
        degree_user = self.degree_user - user.bincount(minlength=self.num_users)
        degree_item = self.degree_item - item.bincount(minlength=self.num_items)
        return _Graph(self.R, _scale(degree_user), _scale(degree_item), user, item)

    def _blocks(
        self, x: Embeddings, graph: "_Graph", masked: Rows
    ) -> Iterator[tuple["_Block", Embeddings, Embeddings]]:
        """Yields every block, the h of all nodes and the recovered vectors x^ of the masked nodes."""
        z = act(self.W_f())  # (I, d)
        *others, last = cast(list[_Block], list(self.blocks))
        for block in others:
            h = block(self.dropout(x.user), self.dropout(torch.cat([x.item, z], dim=1)), graph)
            x = block.decode(h)
            yield block, h, take_rows(x, masked)
        h = last(self.dropout(x.user), self.dropout(torch.cat([x.item, z], dim=1)), graph)
        yield last, h, last.decode(take_rows(h, masked))  # no block reads the other rows


class _Block(nn.Module):
    """Encoder, decoder and score of users and items."""

    def __init__(self, dim: int):
        super().__init__()
        self.user, self.item = _Side(2 * dim, dim), _Side(dim, dim)  # users aggregate [x_i || z_i]
        self.Q_u, self.Q_i = affine(dim, dim), linear(dim, dim)  # an offset of items would cancel in BPR

    def forward(self, user: Tensor, item: Tensor, graph: "_Graph") -> Embeddings:
        """User (U, d) and item (I, 2d) vectors -> h."""
        h_user = self.user.encode(graph.to_users(self.user.W(item)))
        return Embeddings(h_user, self.item.encode(graph.to_items(self.item.W(user))))

    def decode(self, h: Embeddings) -> Embeddings:
        """Maps h of any nodes to x^."""
        return Embeddings(self.user.decode(h.user), self.item.decode(h.item))

    def score(self, h: Embeddings) -> Embeddings:
        """Maps h of any nodes to the vectors whose inner product is the score."""
        return Embeddings(self.Q_u(h.user), self.Q_i(h.item))


class _Side(nn.Module):
    """The matrices of users, or of items, in one block."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.W = linear(dim_in, dim)
        self.W1, self.W2, self.W3 = affine(dim, dim), affine(dim, dim), affine(dim, dim)

    def encode(self, aggregate: Tensor) -> Tensor:
        """Maps the sum over the neighbours to h."""
        return act(self.W1(act(aggregate)))

    def decode(self, h: Tensor) -> Tensor:
        """Maps h to x^."""
        return self.W3(act(self.W2(h)))


class _Graph(NamedTuple):
    """R / sqrt(|N_u| |N_i|) without r distinct pairs."""

    R: SparseMatrix  # (U, I), with the removed pairs
    scale_user: Tensor  # (U, 1) 1 / sqrt(|N_u|), without the removed pairs
    scale_item: Tensor  # (I, 1)
    user: Tensor  # (r,) int64
    item: Tensor  # (r,) int64

    def to_users(self, x: Tensor) -> Tensor:
        """(I, d) -> (U, d)"""
        x = x * self.scale_item
        return (self.R @ x).index_add(0, self.user, x.index_select(0, self.item), alpha=-1) * self.scale_user

    def to_items(self, x: Tensor) -> Tensor:
        """(U, d) -> (I, d)"""
        x = x * self.scale_user
        return (self.R.T @ x).index_add(0, self.item, x.index_select(0, self.user), alpha=-1) * self.scale_item


def _scale(degree: Tensor) -> Tensor:
    """Returns 1 / sqrt(degree), and 0 for nodes without neighbours, as a column."""
    return degree.clamp(min=1).rsqrt().where(degree > 0, 0)[:, None]


def act(x: Tensor) -> Tensor:
    """LeakyReLU, of slope 0.1 as in the authors' code."""
    return F.leaky_relu(x, 0.1)
