"""Numbers that live on edges: learned weights, attention, and what is largest among neighbours.

A `Pattern` says which edges there are. A tensor with one number per edge, (n,), is in the order of the pattern: row
after row, ascending columns within a row. `pattern.T` is the same graph read the other way and has its own order;
`pattern.transposed` carries numbers from the one to the other. On the CPU compiled loops do the work (`kernels`), on
other devices torch; neither ever holds n vectors at once.

Shapes: R rows, C columns, n edges, d columns of the dense side.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from medley.engine import kernels, threads
from medley.engine.memory import empty
from medley.errors import InputError
from medley.nn import sparse
from medley.nn.sparse import Compressed, multiply, rowwise, widened

BLOCK = 2**22  # numbers that the torch forms hold at once beside their result


class Pattern(nn.Module):
    """The edges of a graph between R rows and C columns. The values of the matrix are not looked at.

    Raises:
        InputError: an edge is there twice.
    """

    def __init__(self, matrix: sp.csr_array):
        super().__init__()
        matrix = matrix.sorted_indices()
        row = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
        if len(row) and bool(((np.diff(matrix.indices) == 0) & (np.diff(row) == 0)).any()):
            raise InputError("edges", expected="each at most once", got="duplicates", remedy="call sum_duplicates()")
        places = sp.csr_array((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
        columns = sp.csr_array(places.T)
        order = columns.data  # edge of `rows` at each edge of `columns`
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        self._set(_Side(matrix, order), _Side(columns, back))

    def _set(self, rows: "_Side", columns: "_Side") -> None:
        self.rows, self.columns = rows, columns
        self.shape = (len(rows.start) - 1, len(columns.start) - 1)

    def __len__(self) -> int:
        """n, the number of edges."""
        return len(self.rows.index)

    @property
    def T(self) -> "Pattern":
        """The same edges from columns to rows, without a copy."""
        other = Pattern.__new__(Pattern)
        nn.Module.__init__(other)
        other._set(self.columns, self.rows)
        return other

    def transposed(self, numbers: Tensor) -> Tensor:
        """(n,) in the order of this pattern -> (n,) in the order of `T`."""
        _check(numbers, (len(self),), "numbers of the edges")
        return _Permuted.apply(numbers, self.rows.order, self.columns.order)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"shape={self.shape}, num_edges={len(self):,}"


class _Side(nn.Module):
    """One direction of the edges, compressed by rows."""

    start: Tensor  # (R + 1,) int32
    index: Tensor  # (n,) int32, the column of each edge
    piece: Tensor  # (P + 1,) int32: rows at which the pieces of equal work begin
    order: Tensor  # (n,) int32: the edge of this side that stands at each place of the other side

    def __init__(self, matrix: sp.csr_array, order: np.ndarray):
        super().__init__()
        piece = threads.equal_pieces(matrix.indptr)
        arrays = {"start": matrix.indptr, "index": matrix.indices, "piece": piece, "order": order}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.int32)), persistent=False)

    def row(self) -> Tensor:
        """(n,) int64, the row of each edge."""
        return torch.repeat_interleave(torch.diff(self.start).long())

    def weighted(self, weight: Tensor) -> Compressed:
        """With a number on each edge."""
        return Compressed(self.start, self.index, weight, self.piece)

    def run(self, loop: Callable[..., None], dim: int, *arguments: object) -> None:
        """loop(begin, end, start, index, *arguments) over all rows; dim: multiplications per edge."""
        work = len(self.index) * dim
        threads.run(loop, self.piece.numpy(), work, self.start.numpy(), self.index.numpy(), *arguments)


def edge_product(pattern: Pattern, weight: Tensor, x: Tensor) -> Tensor:
    """Sum over the edges of each row of weight * x[column], (n,), (C, d) -> (R, d), with gradients to both."""
    _check(weight, (len(pattern),), "weights of the edges")
    _check(x, (pattern.shape[1], -1), "vectors of the columns")
    return _Product.apply(widened(weight), widened(x), pattern)


def edge_dot(pattern: Pattern, x: Tensor, y: Tensor) -> Tensor:
    """x[row] . y[column] of every edge, (R, d), (C, d) -> (n,), with gradients to both."""
    _check(x, (pattern.shape[0], -1), "vectors of the rows")
    _check(y, (pattern.shape[1], x.shape[1]), "vectors of the columns")
    return _Dot.apply(widened(x), widened(y), pattern)


def edge_softmax(pattern: Pattern, score: Tensor) -> Tensor:
    """Softmax over the edges of each row, (n,) -> (n,)."""
    _check(score, (len(pattern),), "scores of the edges")
    return _Softmax.apply(widened(score), pattern)


def neighbour_mean(pattern: Pattern, x: Tensor) -> Tensor:
    """Mean of x over the columns that each row has an edge to, (C, d) -> (R, d); 0 without any."""
    degree = torch.diff(pattern.rows.start)  # (R,)
    return edge_product(pattern, torch.repeat_interleave(1 / degree.to(x.dtype), degree), x)


def neighbour_max(pattern: Pattern, x: Tensor) -> Tensor:
    """Largest x, per dimension, over the columns that each row has an edge to, (C, d) -> (R, d); 0 without any.

    The gradient goes to the column that was largest, the first of equals.
    """
    _check(x, (pattern.shape[1], -1), "vectors of the columns")
    return _Largest.apply(widened(x), pattern)


def _check(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    fits = tensor.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, tensor.shape, strict=True))
    if not fits:
        raise InputError(what, expected=shape, got=tuple(tensor.shape))


class _Permuted(torch.autograd.Function):
    """numbers[order]; the gradient is a look-up like it, where torch's own would be a serial sum."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return numbers.detach()[order]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:  # pyrefly: ignore[bad-override]
        return grad_outputs[0][ctx.back], None, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(weight, x)
        return multiply(pattern.rows.weighted(weight.detach()), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None, None]:  # pyrefly: ignore[bad-override]
        (weight, x), pattern = ctx.saved_tensors, ctx.pattern
        of_weight = _dot(pattern.rows, grad_outputs[0], x) if ctx.needs_input_grad[0] else None
        of_x = _from_rows(pattern, weight, grad_outputs[0]) if ctx.needs_input_grad[1] else None
        return of_weight, of_x, None


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(x, y)
        return _dot(pattern.rows, x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None, None]:  # pyrefly: ignore[bad-override]
        (x, y), pattern, grad = ctx.saved_tensors, ctx.pattern, grad_outputs[0].contiguous()
        of_x = multiply(pattern.rows.weighted(grad), y) if ctx.needs_input_grad[0] else None
        of_y = _from_rows(pattern, grad, x) if ctx.needs_input_grad[1] else None
        return of_x, of_y, None


def _from_rows(pattern: Pattern, weight: Tensor, y: Tensor) -> Tensor:
    """The transposed product, (n,), (R, d) -> (C, d)."""
    return multiply(pattern.columns.weighted(weight[pattern.rows.order]), y)


def _dot(side: _Side, x: Tensor, y: Tensor) -> Tensor:
    """(n,), no gradient."""
    if sparse.is_compiled(x):
        out = torch.empty(len(side.index), dtype=x.dtype)
        side.run(kernels.dot, x.shape[1], rowwise(x), rowwise(y), out.numpy())
        return out
    step = max(1, BLOCK // x.shape[1])
    edges = zip(side.row().split(step), side.index.split(step), strict=True)
    return torch.cat([(x[row] * y[column]).sum(dim=1) for row, column in edges])


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, score: Tensor, pattern: Pattern) -> Tensor:
        ctx.side = side = pattern.rows
        if sparse.is_compiled(score):
            share = torch.empty(score.shape, dtype=score.dtype)
            side.run(kernels.softmax, 1, rowwise(score), share.numpy())
        else:
            row = side.row()
            top = score.new_full((pattern.shape[0],), -torch.inf).scatter_reduce_(0, row, score, "amax")
            share = (score - top[row]).exp()
            share = share / score.new_zeros(pattern.shape[0]).index_add_(0, row, share)[row]
        ctx.save_for_backward(share)
        return share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:  # pyrefly: ignore[bad-override]
        (share,), side = ctx.saved_tensors, ctx.side
        if sparse.is_compiled(share):
            out = torch.empty(share.shape, dtype=share.dtype)
            side.run(kernels.softmax_gradient, 1, rowwise(share), rowwise(grad_outputs[0]), out.numpy())
            return out, None
        row = side.row()
        total = share.new_zeros(len(side.start) - 1).index_add_(0, row, share * grad_outputs[0])
        return share * (grad_outputs[0] - total[row]), None


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        shape = pattern.shape[0], x.shape[1]
        if sparse.is_compiled(x):
            out, winner = empty(*shape, dtype=x.dtype), empty(*shape, dtype=torch.int32)
            pattern.rows.run(kernels.largest, x.shape[1], rowwise(x), out.numpy(), winner.numpy())
        else:
            blocks = x.detach().split(max(1, BLOCK // max(1, len(pattern))), dim=1)
            outs, winners = zip(*(_largest_with_torch(pattern, block) for block in blocks), strict=True)
            out, winner = torch.cat(outs, dim=1), torch.cat(winners, dim=1)
        ctx.save_for_backward(winner)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:  # pyrefly: ignore[bad-override]
        (winner,), pattern, grad = ctx.saved_tensors, ctx.pattern, grad_outputs[0]
        if sparse.is_compiled(grad):
            out = empty(pattern.shape[1], grad.shape[1], dtype=grad.dtype)
            arrays = winner.numpy(), rowwise(grad), out.numpy()
            pattern.columns.run(kernels.largest_gradient, grad.shape[1], *arrays)
            return out, None
        out = grad.new_zeros(pattern.shape[1], grad.shape[1])
        return out.scatter_add_(0, winner.clamp(min=0).long(), grad.where(winner >= 0, 0)), None


def _largest_with_torch(pattern: Pattern, x: Tensor) -> tuple[Tensor, Tensor]:
    """Largest x and whose it was, -1 without any; n * columns of x numbers are held at once."""
    row, column = pattern.rows.row()[:, None].expand(-1, x.shape[1]), pattern.rows.index.long()
    empty = (torch.diff(pattern.rows.start) == 0)[:, None]
    shape = pattern.shape[0], x.shape[1]
    out = x.new_zeros(shape).scatter_reduce_(0, row, x[column], "amax", include_self=False)
    candidate = torch.where(x[column] == out.gather(0, row), column[:, None], pattern.shape[1])
    winner = candidate.new_full(shape, pattern.shape[1]).scatter_reduce_(0, row, candidate, "amin")
    return out, winner.masked_fill(empty, -1).int()
