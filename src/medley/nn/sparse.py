"""Fixed sparse matrices times dense ones, fast in both directions.

A matrix is stored twice, compressed by rows and compressed by columns, so the backward pass is a product like the
forward pass and nothing is ever transposed. On the CPU compiled loops do the work (`kernels`), cut into pieces of equal
work, so that a few very long rows cost no more than many short rows, with the same bits for any number of threads.
Other devices use torch's CSR product. docs/decisions/0001-sparse-kernels.md has the measurements behind this.

    SparseMatrix    fixed numbers; here
    Pattern         edges without numbers, which change from call to call; in `medley.nn.edges`
    Csr             one direction of either, as buffers
    Compressed      the arrays of one direction, which the loops read

Shapes: R rows, C columns, n entries (stored numbers), d columns of the dense side.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from medley.engine import kernels, threads
from medley.engine.memory import empty, empty_like
from medley.errors import InputError

HALVES = (torch.bfloat16, torch.float16)
WORTH_SELECTING = 0.2  # at most this share of the entries: one thread copies, all threads multiply


class SparseMatrix(nn.Module):
    """A fixed (R, C) matrix; `matrix @ x` and `matrix.T @ y` with gradients to x and y. Duplicate entries are summed.

    The values are buffers: they move with the model and are not saved with its weights. They are float32; the product
    has the type of x.
    """

    def __init__(self, matrix: sp.csr_array):
        super().__init__()
        matrix = sp.csr_array(matrix, copy=not matrix.has_canonical_format)
        matrix.sum_duplicates()
        self.by_row = Csr(matrix, np.float32)
        self.by_column = Csr(sp.csr_array(matrix.T), np.float32)
        self.shape = (len(self.by_row), len(self.by_column))

    def __matmul__(self, x: Tensor) -> Tensor:
        """(C, d) -> (R, d)"""
        return _Product.apply(widened(x), self.by_row, self.by_column)

    @property
    def T(self) -> "Transposed":
        """The transpose, (C, R), without a copy."""
        return Transposed(self)

    def extra_repr(self) -> str:
        """Returns the text that `print(model)` shows."""
        return f"shape={self.shape}, num_entries={self.by_row.index.numel():,}"


def product_rows(matrix: SparseMatrix, x: Tensor, rows: Tensor) -> Tensor:
    """Returns some rows of `matrix @ x`, (C, d) and (a,) distinct rows -> (a, d), with a gradient to x.

    Neither the product nor its gradient reads the entries of the other rows.
    """
    return _ProductRows.apply(widened(x), matrix.by_row, matrix.by_column, rows)


class Transposed:
    """`SparseMatrix.T`: the same storage with its directions swapped."""

    def __init__(self, matrix: SparseMatrix):
        self.by_row, self.by_column = matrix.by_column, matrix.by_row
        self.shape = matrix.shape[::-1]

    def __matmul__(self, y: Tensor) -> Tensor:
        """(R, d) -> (C, d)"""
        return _Product.apply(widened(y), self.by_row, self.by_column)


class Addend(NamedTuple):
    """`weight * values`, to be added to a product within the same pass."""

    weight: float
    values: Tensor  # (R, d)


class Csr(nn.Module):
    """One direction of a matrix, compressed by rows; `len` is the number of its rows.

    The buffers move with the model and are not saved with its weights.
    """

    start: Tensor  # (R + 1,) int32, the first entry of each row
    index: Tensor  # (n,) int32, the column of each entry
    value: Tensor  # (n,)
    piece: Tensor  # (P + 1,) int32: rows at which the pieces of equal work begin

    def __init__(self, matrix: sp.csr_array, dtype: type[np.number]):
        super().__init__()
        if matrix.nnz >= 2**31:
            raise InputError("a sparse matrix", expected="at most 2^31 - 1 entries", got=f"{matrix.nnz:,}")
        arrays = {
            "start": matrix.indptr.astype(np.int32),
            "index": matrix.indices.astype(np.int32),
            "value": matrix.data.astype(dtype),
            "piece": threads.equal_pieces(matrix.indptr),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def arrays(self) -> "Compressed":
        """The buffers."""
        return Compressed(self.start, self.index, self.value, self.piece)

    def weighted(self, weight: Tensor) -> "Compressed":
        """Returns the buffers with other values, (n,)."""
        return self.arrays._replace(value=weight)

    def row_of_entry(self) -> Tensor:
        """Returns the row of each entry, (n,) int64, ascending."""
        return torch.repeat_interleave(torch.diff(self.start).long())


class Compressed(NamedTuple):
    """The arrays of a `Csr`."""

    start: Tensor
    index: Tensor
    value: Tensor
    piece: Tensor

    def entries(self, row: int) -> tuple[Tensor, Tensor]:
        """Returns columns (k,) int32 and values (k,) of one row."""
        these = slice(*self.start[row : row + 2].tolist())
        return self.index[these], self.value[these]


def multiply(
    matrix: Compressed, x: Tensor, *, scale: float = 1.0, plus: Addend | None = None, rows: Tensor | None = None
) -> Tensor:
    """Computes scale * A x + plus in one pass, (C, d) -> (R, d), without gradient.

    Args:
        matrix: A.
        x: (C, d).
        scale: factor of the product.
        plus: added to the product; its values have as many rows as the result.
        rows: (a,) int64, the rows of the result that are computed, (a, d); None: all.
    """
    if not is_compiled(x):
        shape, value = (len(matrix.start) - 1, len(x)), matrix.value.to(x.dtype)
        csr = torch.sparse_csr_tensor(matrix.start, matrix.index, value, shape, check_invariants=False)
        out = scale * (csr @ x.detach())
        out = out if rows is None else out[rows]
        return out if plus is None else out.add_(plus.values.detach(), alpha=plus.weight)
    start, index, value, piece = (array.numpy() for array in matrix)
    num_rows, wanted = len(start) - 1, _ALL
    if rows is not None:
        num_rows, wanted, piece = len(rows), rows.numpy(), threads.pieces_of(len(rows))
    out = empty(num_rows, x.shape[1], dtype=x.dtype)
    weight, base = (0.0, out) if plus is None else plus
    arrays = start, index, value, rowwise(x), float(scale), float(weight), rowwise(base), wanted, out.numpy()
    threads.run(kernels.product, piece, len(index) * x.shape[1], *arrays)
    return out


def from_columns(matrix: Compressed, transposed: Compressed, kept: Tensor) -> Compressed:
    """Returns A with the entries of the columns `kept` alone: enough for A x where x is 0 in all other rows.

    The transpose lists these entries without a search through all of A. One thread copies them; where they are many,
    copying is slower than a product with all of A, which is then returned.

    Args:
        matrix: A, (R, C).
        transposed: A^T.
        kept: (a,) int64, distinct columns.
    """
    if not is_compiled(kept):
        return matrix
    columns = kept.numpy()
    start, index, value = (array.numpy() for array in transposed[:3])
    count = int((start[columns + 1] - start[columns]).sum())
    if count > WORTH_SELECTING * len(index):
        return matrix
    new_start = np.zeros(len(matrix.start), np.int32)
    kernels.count_into(columns, start, index, new_start[1:])
    np.cumsum(new_start, out=new_start)
    new_index, new_value = np.empty(count, index.dtype), np.empty(count, value.dtype)
    kernels.copy_into(columns, start, index, value, new_start[:-1].copy(), new_index, new_value)
    return Compressed(
        torch.from_numpy(new_start), torch.from_numpy(new_index), torch.from_numpy(new_value), matrix.piece
    )


def select(x: Tensor, rows: Tensor) -> Tensor:
    """Returns x[rows], (N, d) and (a,) -> (a, d), without gradient."""
    return torch.index_select(x.detach(), 0, rows, out=empty_like(x, len(rows), x.shape[1]))


def add_at(out: Tensor, rows: Tensor, x: Tensor) -> Tensor:
    """Adds x to out[rows] in place, (N, d), (a,), (a, d) -> (N, d), without gradient; much faster than torch."""
    if not is_compiled(out):
        return out.index_add_(0, rows, x.to(out.dtype))
    parts = threads.how_many(x.numel())
    threads.run(
        kernels.scatter_rows, threads.pieces_of(parts), x.numel(), parts, rowwise(rows), rowwise(x), out.numpy()
    )
    return out


_ALL = np.zeros(0, dtype=np.int64)


def is_compiled(x: Tensor) -> bool:
    """Returns whether compiled loops read this tensor; if not, torch operators do."""
    return x.is_cpu and x.dtype not in HALVES


def widened(x: Tensor) -> Tensor:
    """Converts half precision, which autocast produces, to float32: sums over many edges stay accurate."""
    return x.float() if x.dtype in HALVES else x


def rowwise(x: Tensor) -> np.ndarray:
    """Returns the values of a tensor as a contiguous array."""
    return x.detach().contiguous().numpy()


class _Product(torch.autograd.Function):
    """y = A x; the gradient of x is A^T times the gradient of y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Csr, transposed: Csr) -> Tensor:
        ctx.transposed = transposed
        if x.ndim != 2 or len(x) != len(transposed):
            raise InputError("sparse product", expected=f"({len(transposed):,}, d)", got=tuple(x.shape))
        return multiply(matrix.arrays, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:  # pyrefly: ignore[bad-override]
        return multiply(ctx.transposed.arrays, grad_outputs[0]), None, None


class _ProductRows(torch.autograd.Function):
    """As `_Product`, for some rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Csr, transposed: Csr, rows: Tensor) -> Tensor:
        ctx.matrix, ctx.transposed, ctx.rows = matrix, transposed, rows
        if x.ndim != 2 or len(x) != len(transposed):
            raise InputError("sparse product", expected=f"({len(transposed):,}, d)", got=tuple(x.shape))
        return multiply(matrix.arrays, x, rows=rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None, None]:  # pyrefly: ignore[bad-override]
        (grad,) = grad_outputs
        whole = empty_like(grad, len(ctx.matrix), grad.shape[1]).zero_().index_copy_(0, ctx.rows, grad)
        kept = from_columns(ctx.transposed.arrays, ctx.matrix.arrays, ctx.rows)
        return multiply(kept, whole), None, None, None
