"""Normalises edge weights. Pure functions of a sparse matrix A; degrees are row sums of A.

A stored zero is an edge (two items may be joined with a similarity of 0) and stays an edge.
"""

import numpy as np
import scipy.sparse as sp


def normalise_symmetric(matrix: sp.csr_array) -> sp.csr_array:
    """Returns D^-1/2 A D^-1/2 of a square matrix; the weights of nodes whose degree is not positive are 0.

    A need not be symmetric: both sides are scaled by row sums, as LATTICE and FREEDOM do with their kNN graphs.
    """
    weight = inverse(np.sqrt(np.maximum(_degree(matrix), 0)))
    return scaled(matrix, weight, weight)


def normalise_rows(matrix: sp.csr_array, *, power: float = -1.0) -> sp.csr_array:
    """Returns D^power A: for -1 the weighted mean over neighbours, for -0.5 LUDP's eq. 5; degrees <= 0 give 0."""
    degree = _degree(matrix)
    weight = np.power(degree, power, out=np.zeros_like(degree), where=degree > 0)
    return scaled(matrix, weight, np.ones(_num_columns(matrix)))


def softmax_rows(matrix: sp.csr_array) -> sp.csr_array:
    """Returns exp(A_ij) / sum over the neighbours j of i of exp(A_ij), without overflow; DualGNN, eq. 7."""
    row = _row_of_edge(matrix)
    largest = np.full(len(matrix.indptr) - 1, -np.inf)
    np.maximum.at(largest, row, matrix.data)
    weight = np.exp(matrix.data.astype(np.float64) - largest[row])
    total = np.bincount(row, weights=weight, minlength=len(largest))
    return _with_data(matrix, weight / total[row])


def binarise(matrix: sp.csr_array) -> sp.csr_array:
    """Sets the weight of every edge to 1."""
    return _with_data(matrix, np.ones(matrix.nnz))


def inverse(degree: np.ndarray) -> np.ndarray:
    """Returns 1 / degree, and 0 for isolated nodes."""
    return np.divide(1.0, degree, out=np.zeros(len(degree)), where=degree > 0)


def scaled(matrix: sp.csr_array, rows: np.ndarray, columns: np.ndarray) -> sp.csr_array:
    """Returns diag(rows) A diag(columns)."""
    return _with_data(matrix, matrix.data * rows[_row_of_edge(matrix)] * columns[matrix.indices])


def _with_data(matrix: sp.csr_array, data: np.ndarray) -> sp.csr_array:
    return sp.csr_array((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _row_of_edge(matrix: sp.csr_array) -> np.ndarray:
    return np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))


def _degree(matrix: sp.csr_array) -> np.ndarray:
    degree = np.bincount(_row_of_edge(matrix), weights=matrix.data, minlength=len(matrix.indptr) - 1)
    return degree.astype(np.float64)  # bincount returns integers if there are no edges


def _num_columns(matrix: sp.csr_array) -> int:
    shape: tuple[int, int] = matrix.shape  # type: ignore[assignment]
    return int(shape[1])
