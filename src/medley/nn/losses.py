"""Training objectives.

On the CPU compiled loops read the rows of a batch inside the tables of users and items and add gradients in place:
gathered copies of users, positives and negatives, and their gradients, would take more time than the arithmetic.

Shapes: U users, I items, d = dim, B triplets.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from medley.engine import threads
from medley.engine.kernels import compiled
from medley.engine.memory import empty_like
from medley.nn.sparse import add_at, is_compiled, rowwise, select
from medley.types import Embeddings, Triplets


def bpr_loss(embeddings: Embeddings, batch: Triplets) -> Tensor:
    """Returns the mean over the batch of -ln sigmoid(s_ui - s_uj). Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618.

    Args:
        embeddings: user (U, d) and item (I, d) vectors.
        batch: B triplets.
    """
    return F.softplus(-margins(embeddings, batch)).mean()  # -ln sigmoid(x) = softplus(-x)


def margins(embeddings: Embeddings, batch: Triplets) -> Tensor:
    """Returns s_ui - s_uj, (B,)."""
    if _are_compiled(embeddings):
        return _Margins.apply(*embeddings, *batch)
    user, pos, neg = rows_of_batch(embeddings, batch)
    return (user * (pos - neg)).sum(dim=1)


def l2_of_batch(embeddings: Embeddings, batch: Triplets) -> Tensor:
    """Returns half the squared norm of the rows in the batch, per triplet.

    The form of LightGCN's and NGCF's published code: (|e_u|^2 + |e_i|^2 + |e_j|^2) / 2, mean over the batch.
    """
    if _are_compiled(embeddings):
        item = torch.cat([batch.pos, batch.neg])
        total = _SquaredRows.apply(embeddings.user, batch.user) + _SquaredRows.apply(embeddings.item, item)
    else:
        total = l2_of_parameters(rows_of_batch(embeddings, batch))
    return total / (2 * len(batch.user))


def squared_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Sums the squares of table[rows], (N, d) and (B,) -> a number; a repeated row counts repeatedly."""
    return table.index_select(0, rows).square().sum()


def _are_compiled(embeddings: Embeddings) -> bool:
    return all(is_compiled(x) for x in embeddings) and embeddings.user.dtype == embeddings.item.dtype


class _Margins(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, user: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        ctx.save_for_backward(users, items, user, pos, neg)
        out = users.new_empty(len(user))
        arrays = [rowwise(x) for x in (users, items, user, pos, neg)]
        threads.run(_margins, threads.pieces_of(len(user)), users.shape[1] * len(user), *arrays, out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        users, items, user, pos, neg = ctx.saved_tensors
        of_users, of_items = (empty_like(x, *x.shape).zero_() for x in (users, items))
        arrays = [rowwise(x) for x in (users, items, user, pos, neg, grad_outputs[0], of_users, of_items)]
        work = 4 * users.shape[1] * len(user)
        parts = threads.how_many(work)
        threads.run(_margins_gradient, threads.pieces_of(parts), work, parts, *arrays)
        return of_users, of_items, None, None, None


class _SquaredRows(torch.autograd.Function):
    """`squared_rows` in compiled loops, which add in another order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        count = np.bincount(rowwise(rows), minlength=len(x))
        if len(count) > len(x):
            raise IndexError(f"row {len(count) - 1} of the batch is outside of a table of {len(x)} rows")
        ctx.count = count
        ctx.save_for_backward(x)
        out = x.new_empty(len(x))
        threads.run(_squares, threads.pieces_of(len(x)), x.shape[1] * len(rows), rowwise(x), count, out.numpy())
        return out.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:  # pyrefly: ignore[bad-override]
        (x,) = ctx.saved_tensors
        out = empty_like(x, *x.shape)
        arrays = rowwise(x), ctx.count, 2 * float(grad_outputs[0]), rowwise(out)
        threads.run(_squares_gradient, threads.pieces_of(len(x)), x.numel(), *arrays)
        return out, None


@compiled
def _margins(begin, end, users, items, user, pos, neg, out):  # pragma: no cover - compiled
    for k in range(begin, end):
        u, i, j, total = user[k], pos[k], neg[k], users.dtype.type(0)
        if not (0 <= u < len(users) and 0 <= i < len(items) and 0 <= j < len(items)):
            raise IndexError("a row of the batch is outside of the table of users or items")
        for c in range(users.shape[1]):
            total += users[u, c] * (items[i, c] - items[j, c])
        out[k] = total


@compiled
def _margins_gradient(
    begin, end, num_parts, users, items, user, pos, neg, grad, of_users, of_items
):  # pragma: no cover
    """Adds gradients to the rows of each part of the tables: a row may repeat, and belongs to one thread."""
    for part in range(begin, end):
        first, last = part * len(users) // num_parts, (part + 1) * len(users) // num_parts
        for k in range(len(user)):
            u = user[k]
            if first <= u < last:
                i, j, g = pos[k], neg[k], grad[k]
                for c in range(users.shape[1]):
                    of_users[u, c] += g * (items[i, c] - items[j, c])
        first, last = part * len(items) // num_parts, (part + 1) * len(items) // num_parts
        for k in range(len(user)):
            i, u, g = pos[k], user[k], grad[k]
            if first <= i < last:
                for c in range(users.shape[1]):
                    of_items[i, c] += g * users[u, c]
        for k in range(len(user)):
            j, u, g = neg[k], user[k], grad[k]
            if first <= j < last:
                for c in range(users.shape[1]):
                    of_items[j, c] -= g * users[u, c]


@compiled
def _squares(begin, end, x, count, out):  # pragma: no cover - compiled
    for row in range(begin, end):
        total = x.dtype.type(0)
        if count[row] > 0:
            for c in range(x.shape[1]):
                total += x[row, c] * x[row, c]
        out[row] = count[row] * total


@compiled
def _squares_gradient(begin, end, x, count, factor, out):  # pragma: no cover - compiled
    for row in range(begin, end):
        if count[row] == 0:
            out[row] = 0
            continue
        times = x.dtype.type(factor * count[row])
        for c in range(x.shape[1]):
            out[row, c] = times * x[row, c]


def rows_of_batch(embeddings: Embeddings, batch: Triplets) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the vectors of the users, the positives and the negatives, (B, d) each."""
    return _RowsOfBatch.apply(*embeddings, *batch)


class _RowsOfBatch(torch.autograd.Function):
    """Gathers rows. Gradients are added up in place in one table of users and one of items, in reused memory;
    torch would make three tables and sum them."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, items: Tensor, user: Tensor, pos: Tensor, neg: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(user, pos, neg)
        ctx.shapes = users.shape, items.shape
        return select(users, user), select(items, pos), select(items, neg)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        (user, pos, neg), (of_user, of_pos, of_neg) = ctx.saved_tensors, grad_outputs
        users = add_at(empty_like(of_user, *ctx.shapes[0]).zero_(), user, of_user)
        items = add_at(empty_like(of_pos, *ctx.shapes[1]).zero_(), pos, of_pos)
        add_at(items, neg, of_neg)
        return users, items, None, None, None


def l2_of_parameters(parameters: Iterable[Tensor]) -> Tensor:
    """Returns ||Theta||^2 over whole parameters, as in the papers; 0 without parameters."""
    tensors = tuple(parameters)
    return _SquaredNorm.apply(*tensors) if tensors else torch.zeros(())


class _SquaredNorm(torch.autograd.Function):
    """Sums the squares of all tensors; neither the sum nor its gradient 2x makes a temporary copy of x."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return torch.stack([torch.dot(x.flatten(), x.flatten()) for x in tensors]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, ...]:  # pyrefly: ignore[bad-override]
        factor = 2 * grad_outputs[0]
        return tuple(torch.mul(x, factor, out=empty_like(x, *x.shape)) for x in ctx.saved_tensors)
