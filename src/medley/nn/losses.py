"""Training objectives."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from medley.nn.memory import empty_like
from medley.nn.sparse import add_at
from medley.types import Embeddings, Triplets


def bpr_loss(embeddings: Embeddings, batch: Triplets) -> Tensor:
    """Mean over the batch of -ln sigmoid(s_ui - s_uj). Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618.

    Args:
        embeddings: user (U, d) and item (I, d) vectors.
        batch: B triplets.
    """
    user, pos, neg = rows_of_batch(embeddings, batch)
    return F.softplus(-(user * (pos - neg)).sum(dim=1)).mean()  # -ln sigmoid(x) = softplus(-x)


def l2_of_batch(embeddings: Embeddings, batch: Triplets) -> Tensor:
    """Half the squared norm of the rows that the batch touches, per triplet.

    The form of LightGCN's and NGCF's published code: (|e_u|^2 + |e_i|^2 + |e_j|^2) / 2, mean over the batch.
    """
    return l2_of_parameters(rows_of_batch(embeddings, batch)) / (2 * len(batch.user))


def rows_of_batch(embeddings: Embeddings, batch: Triplets) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors of the users, the positives and the negatives, (B, d) each."""
    return _RowsOfBatch.apply(*embeddings, *batch)


class _RowsOfBatch(torch.autograd.Function):
    """Gathers. The gradient is one table of users and one of items, added up in place in memory that is used again;
    torch makes a table for each of the three and then their sum."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, items: Tensor, user: Tensor, pos: Tensor, neg: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(user, pos, neg)
        ctx.shapes = users.shape, items.shape
        return _select(users, user), _select(items, pos), _select(items, neg)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        (user, pos, neg), (of_user, of_pos, of_neg) = ctx.saved_tensors, grad_outputs
        users = add_at(empty_like(of_user, *ctx.shapes[0]).zero_(), user, of_user)
        items = add_at(empty_like(of_pos, *ctx.shapes[1]).zero_(), pos, of_pos)
        add_at(items, neg, of_neg)
        return users, items, None, None, None


def _select(x: Tensor, rows: Tensor) -> Tensor:
    return torch.index_select(x, 0, rows, out=empty_like(x, len(rows), x.shape[1]))


def l2_of_parameters(parameters: Iterable[Tensor]) -> Tensor:
    """||Theta||^2 over whole parameters, as the papers write it."""
    return _SquaredNorm.apply(*parameters)


class _SquaredNorm(torch.autograd.Function):
    """Sum of the squares of all tensors; neither it nor its gradient 2x makes a copy of x on the way."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return torch.stack([torch.dot(x.flatten(), x.flatten()) for x in tensors]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, ...]:  # pyrefly: ignore[bad-override]
        factor = 2 * grad_outputs[0]
        return tuple(torch.mul(x, factor, out=empty_like(x, *x.shape)) for x in ctx.saved_tensors)
