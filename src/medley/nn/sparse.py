"""Fixed sparse matrices times dense ones, fast in both directions.

A matrix is stored twice, as rows and as columns (its transpose), so the backward pass is a product like the forward
one and nothing is ever transposed. On the CPU the rows are cut into pieces of equal work, counted in non-zeros, so a
few very long rows cost no more than many short ones; every output row is summed by one thread in a fixed order, so
results are the same bits whatever the number of threads. On other devices torch's CSR product does the work.

Shapes: R rows, C columns, n non-zeros, d columns of the dense side.
"""

from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

NUM_PIECES = 64  # of equal work; enough to even out 2 to 32 cores, too few to cost anything


class SparseMatrix(nn.Module):
    """A fixed (R, C) matrix; `matrix @ x` and `matrix.T @ y` with gradients to x and y.

    The values are buffers: they move with the model and are not saved with its weights.
    """

    def __init__(self, matrix: sp.csr_array):
        super().__init__()
        self.rows = _Csr(matrix)
        self.columns = _Csr(sp.csr_array(matrix.T))
        self.shape = (self.rows.num_rows, self.rows.num_columns)

    def __matmul__(self, x: Tensor) -> Tensor:
        """(C, d) -> (R, d)"""
        return _Product.apply(x, self.rows, self.columns)

    @property
    def T(self) -> "_Transposed":
        """The transpose, (C, R), without a copy."""
        return _Transposed(self)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"shape={self.shape}, num_nonzeros={self.rows.index.numel():,}"


class _Transposed:
    """`SparseMatrix.T`: the same storage read the other way."""

    def __init__(self, matrix: SparseMatrix):
        self.matrix = matrix
        self.shape = matrix.shape[::-1]

    def __matmul__(self, y: Tensor) -> Tensor:
        """(R, d) -> (C, d)"""
        return _Product.apply(y, self.matrix.columns, self.matrix.rows)


class _Csr(nn.Module):
    """One direction of a matrix, compressed by rows."""

    start: Tensor  # (R + 1,) int32
    index: Tensor  # (n,) int32
    value: Tensor  # (n,) float32
    piece: Tensor  # (NUM_PIECES + 1,) int32: rows at which the pieces of equal work begin

    def __init__(self, matrix: sp.csr_array):
        super().__init__()
        if matrix.nnz >= 2**31:
            raise ValueError(f"a sparse matrix holds at most 2^31 - 1 non-zeros, got {matrix.nnz:,}")
        self.num_rows, self.num_columns = len(matrix.indptr) - 1, _num_columns(matrix)
        work = matrix.indptr.astype(np.int64) + np.arange(self.num_rows + 1)  # an empty row costs one write
        piece = np.searchsorted(work, np.linspace(0, work[-1], NUM_PIECES + 1))
        arrays = {
            "start": matrix.indptr.astype(np.int32),
            "index": matrix.indices.astype(np.int32),
            "value": matrix.data.astype(np.float32),
            "piece": piece.astype(np.int32),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def multiply(self, x: Tensor) -> Tensor:
        """(C, d) -> (R, d), no gradient."""
        if x.shape[0] != self.num_columns:
            raise ValueError(f"sparse product: expected {self.num_columns:,} rows, got {x.shape[0]:,}")
        if x.device.type == "cpu":
            out = torch.empty(self.num_rows, x.shape[1], dtype=x.dtype)
            _multiply_on_cpu(
                self.start.numpy(),
                self.index.numpy(),
                self.value.numpy(),
                self.piece.numpy(),
                x.detach().contiguous().numpy(),
                out.numpy(),
            )
            return out
        size = (self.num_rows, self.num_columns)
        return torch.sparse_csr_tensor(self.start, self.index, self.value.to(x.dtype), size) @ x


def _num_columns(matrix: sp.csr_array) -> int:
    shape: tuple[int, int] = matrix.shape  # type: ignore[assignment]
    return int(shape[1])


class _Product(torch.autograd.Function):
    """y = A x; the gradient of x is A^T times the gradient of y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: _Csr, transposed: _Csr) -> Tensor:
        ctx.transposed = transposed
        return matrix.multiply(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed.multiply(grads[0]), None, None


@numba.njit(parallel=True, fastmath=True, cache=True)
def _multiply_on_cpu(start, index, value, piece, x, out):  # pragma: no cover - compiled
    for p in numba.prange(len(piece) - 1):
        for row in range(piece[p], piece[p + 1]):
            out[row] = 0
            for edge in range(start[row], start[row + 1]):
                weight = value[edge]
                source = index[edge]
                for column in range(x.shape[1]):
                    out[row, column] += weight * x[source, column]
