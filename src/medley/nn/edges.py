"""Operators on the edges of a graph: learned weights, attention, and the maximum over neighbours.

A `Pattern` holds the edges. A tensor with one number per edge, (n,), is in the order of the pattern: row after row,
ascending columns within a row. `pattern.T` holds the same edges from columns to rows, in another order;
`pattern.transposed` permutes numbers from the order of the pattern to that of `pattern.T`. On the CPU compiled loops do
the work (`kernels`), on other devices torch; neither holds n vectors at once.

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
from medley.nn.sparse import Csr, multiply, rowwise, widened

BLOCK = 2**22  # numbers that the torch operators hold at once beside their result


class Pattern(nn.Module):
    """The edges of a graph between R rows and C columns; `len` is n, the number of edges.

    In each direction the value of an edge is its position in the other direction, int32.
    """

    def __init__(self, edges: sp.csr_array | tuple[Csr, Csr]):
        """Args:
        edges: a matrix (R, C), whose stored values are not read, or the two directions of another pattern.

        Raises:
            InputError: an edge occurs twice.
        """
        super().__init__()
        self.by_row, self.by_column = edges if isinstance(edges, tuple) else _both_directions(edges)
        self.shape = (len(self.by_row), len(self.by_column))

    def __len__(self) -> int:
        return len(self.by_row.index)

    @property
    def T(self) -> "Pattern":
        """The same edges from columns to rows, without a copy."""
        return Pattern((self.by_column, self.by_row))

    def transposed(self, numbers: Tensor) -> Tensor:
        """Permutes (n,) from the order of this pattern to the order of `T`."""
        _check(numbers, (len(self),), "numbers of the edges")
        return _Permuted.apply(numbers, self.by_column.value, self.by_row.value)

    def extra_repr(self) -> str:
        """Returns the text that `print(model)` shows."""
        return f"shape={self.shape}, num_edges={len(self):,}"


def _both_directions(matrix: sp.csr_array) -> tuple[Csr, Csr]:
    matrix = matrix.sorted_indices()
    row = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
    if len(row) and bool(((np.diff(matrix.indices) == 0) & (np.diff(row) == 0)).any()):
        raise InputError("edges", expected="each at most once", got="duplicates", remedy="call sum_duplicates()")
    by_row = sp.csr_array((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    by_column = sp.csr_array(by_row.T)  # its values are positions in the order of rows
    by_row.data = np.empty_like(by_column.data)
    by_row.data[by_column.data] = np.arange(matrix.nnz)
    return Csr(by_row, np.int32), Csr(by_column, np.int32)


def edge_product(pattern: Pattern, weight: Tensor, x: Tensor) -> Tensor:
    """Sums weight * x[column] over the edges of each row, (n,), (C, d) -> (R, d), with gradients to both."""
    _check(weight, (len(pattern),), "weights of the edges")
    _check(x, (pattern.shape[1], -1), "vectors of the columns")
    return _Product.apply(widened(weight), widened(x), pattern)


def edge_dot(pattern: Pattern, x: Tensor, y: Tensor) -> Tensor:
    """Computes x[row] . y[column] of every edge, (R, d), (C, d) -> (n,), with gradients to both."""
    _check(x, (pattern.shape[0], -1), "vectors of the rows")
    _check(y, (pattern.shape[1], x.shape[1]), "vectors of the columns")
    return _Dot.apply(widened(x), widened(y), pattern)


def edge_softmax(pattern: Pattern, score: Tensor) -> Tensor:
    """Computes a softmax over the edges of each row, (n,) -> (n,)."""
    _check(score, (len(pattern),), "scores of the edges")
    return _Softmax.apply(widened(score), pattern)


def neighbour_max(pattern: Pattern, x: Tensor) -> Tensor:
    """Takes the largest x, per dimension, over the columns of the edges of each row, (C, d) -> (R, d); 0 without edges.

    Only the largest column, the first of equal ones, has a gradient.
    """
    _check(x, (pattern.shape[1], -1), "vectors of the columns")
    return _Largest.apply(widened(x), pattern)


def _check(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    fits = tensor.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, tensor.shape, strict=True))
    if not fits:
        raise InputError(what, expected=shape, got=tuple(tensor.shape))


class _Permuted(torch.autograd.Function):
    """numbers[order]. The gradient is a look-up too; torch's would be a serial sum."""

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
        return multiply(pattern.by_row.weighted(weight.detach()), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None, None]:  # pyrefly: ignore[bad-override]
        (weight, x), pattern = ctx.saved_tensors, ctx.pattern
        of_weight = _dot(pattern.by_row, grad_outputs[0], x) if ctx.needs_input_grad[0] else None
        of_x = _from_rows(pattern, weight, grad_outputs[0]) if ctx.needs_input_grad[1] else None
        return of_weight, of_x, None


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(x, y)
        return _dot(pattern.by_row, x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None, None]:  # pyrefly: ignore[bad-override]
        (x, y), pattern, grad = ctx.saved_tensors, ctx.pattern, grad_outputs[0].contiguous()
        of_x = multiply(pattern.by_row.weighted(grad), y) if ctx.needs_input_grad[0] else None
        of_y = _from_rows(pattern, grad, x) if ctx.needs_input_grad[1] else None
        return of_x, of_y, None


def _from_rows(pattern: Pattern, weight: Tensor, y: Tensor) -> Tensor:
    """The transposed product, (n,), (R, d) -> (C, d)."""
    return multiply(pattern.by_column.weighted(weight[pattern.by_column.value]), y)


def _run(loop: Callable[..., None], edges: Csr, dim: int, *arguments: object) -> None:
    """Runs loop(begin, end, start, index, *arguments) over all rows; dim: multiplications per edge."""
    work = len(edges.index) * dim
    threads.run(loop, edges.piece.numpy(), work, edges.start.numpy(), edges.index.numpy(), *arguments)


def _dot(edges: Csr, x: Tensor, y: Tensor) -> Tensor:
    """`edge_dot` without a gradient."""
    if sparse.is_compiled(x):
        out = torch.empty(len(edges.index), dtype=x.dtype)
        _run(kernels.dot, edges, x.shape[1], rowwise(x), rowwise(y), out.numpy())
        return out
    step = max(1, BLOCK // x.shape[1])
    blocks = zip(edges.row_of_entry().split(step), edges.index.split(step), strict=True)
    return torch.cat([(x[row] * y[column]).sum(dim=1) for row, column in blocks])


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, score: Tensor, pattern: Pattern) -> Tensor:
        ctx.edges = edges = pattern.by_row
        if sparse.is_compiled(score):
            share = torch.empty(score.shape, dtype=score.dtype)
            _run(kernels.softmax, edges, 1, rowwise(score), share.numpy())
        else:
            row = edges.row_of_entry()
            top = score.new_full((pattern.shape[0],), -torch.inf).scatter_reduce_(0, row, score, "amax")
            share = (score - top[row]).exp()
            share = share / score.new_zeros(pattern.shape[0]).index_add_(0, row, share)[row]
        ctx.save_for_backward(share)
        return share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:  # pyrefly: ignore[bad-override]
        (share,), edges = ctx.saved_tensors, ctx.edges
        if sparse.is_compiled(share):
            out = torch.empty(share.shape, dtype=share.dtype)
            _run(kernels.softmax_gradient, edges, 1, rowwise(share), rowwise(grad_outputs[0]), out.numpy())
            return out, None
        row = edges.row_of_entry()
        total = share.new_zeros(len(edges)).index_add_(0, row, share * grad_outputs[0])
        return share * (grad_outputs[0] - total[row]), None


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        shape = pattern.shape[0], x.shape[1]
        if sparse.is_compiled(x):
            out, winner = empty(*shape, dtype=x.dtype), empty(*shape, dtype=torch.int32)
            _run(kernels.largest, pattern.by_row, x.shape[1], rowwise(x), out.numpy(), winner.numpy())
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
            _run(kernels.largest_gradient, pattern.by_column, grad.shape[1], *arrays)
            return out, None
        out = grad.new_zeros(pattern.shape[1], grad.shape[1])
        return out.scatter_add_(0, winner.clamp(min=0).long(), grad.where(winner >= 0, 0)), None


def _largest_with_torch(pattern: Pattern, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the largest x and its column, -1 in rows without edges; holds n * x.shape[1] numbers at once."""
    row, column = pattern.by_row.row_of_entry()[:, None].expand(-1, x.shape[1]), pattern.by_row.index.long()
    isolated = (torch.diff(pattern.by_row.start) == 0)[:, None]
    shape = pattern.shape[0], x.shape[1]
    out = x.new_zeros(shape).scatter_reduce_(0, row, x[column], "amax", include_self=False)
    candidate = torch.where(x[column] == out.gather(0, row), column[:, None], pattern.shape[1])
    winner = candidate.new_full(shape, pattern.shape[1]).scatter_reduce_(0, row, candidate, "amin")
    return out, winner.masked_fill(isolated, -1).int()
