"""Propagation weights, against the dense formulas."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medley.graphs import binarise, normalise_rows, normalise_symmetric, softmax_rows

# Small whole numbers: many zeros, so empty rows and columns; some negative, as similarities may be.
dense_matrices = hnp.arrays(
    np.float32, st.integers(1, 6).map(lambda n: (n, n)), elements=st.sampled_from([0, 0, 1, 2, -1])
)


@given(dense_matrices)
def test_symmetric_weights_divide_by_the_roots_of_both_row_sums(dense):
    degree = dense.sum(axis=1)
    root = np.zeros(len(dense))
    root[degree > 0] = degree[degree > 0] ** -0.5
    got = normalise_symmetric(sp.csr_array(dense)).toarray()
    np.testing.assert_allclose(got, np.diag(root) @ dense @ np.diag(root), rtol=1e-6)


@given(dense_matrices, st.sampled_from([-1.0, -0.5]))
def test_row_weights_are_a_power_of_the_row_sum(dense, power):
    degree = dense.sum(axis=1)
    factor = np.zeros(len(dense))
    factor[degree > 0] = degree[degree > 0] ** power
    got = normalise_rows(sp.csr_array(dense), power=power).toarray()
    np.testing.assert_allclose(got, np.diag(factor) @ dense, rtol=1e-6)


@given(dense_matrices)
def test_softmax_is_over_the_neighbours_only(dense):
    expected = np.zeros_like(dense)
    for row in range(len(dense)):
        edges = dense[row] != 0
        expected[row, edges] = np.exp(dense[row, edges]) / np.exp(dense[row, edges]).sum()
    np.testing.assert_allclose(softmax_rows(sp.csr_array(dense)).toarray(), expected, rtol=1e-5)


def test_softmax_of_large_counts_does_not_overflow():
    counts = sp.csr_array(np.array([[0, 2000, 2000], [0, 0, 3], [0, 0, 0]], dtype=np.float32))
    np.testing.assert_array_equal(softmax_rows(counts).toarray(), [[0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize("function", [binarise, softmax_rows])
def test_an_edge_of_weight_zero_is_an_edge(function):
    matrix = sp.csr_array((np.array([0.0], dtype=np.float32), np.array([1]), np.array([0, 1, 1])), shape=(2, 2))
    np.testing.assert_array_equal(function(matrix).toarray(), [[0, 1], [0, 0]])


def test_the_matrix_that_is_given_is_left_alone():
    matrix = sp.csr_array(np.array([[0, 2], [3, 0]], dtype=np.float32))
    for function in (binarise, softmax_rows, normalise_rows, normalise_symmetric):
        assert function(matrix).dtype == np.float32
    np.testing.assert_array_equal(matrix.toarray(), [[0, 2], [3, 0]])
