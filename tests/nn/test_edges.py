from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graphs_at_random import matrices
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.errors import InputError
from medley.nn import edges, sparse
from medley.nn.edges import Pattern, edge_dot, edge_product, edge_softmax, neighbour_max

graphs_and_forms = given(matrices(), st.booleans(), st.integers(0, 99))
few = settings(max_examples=25, deadline=None)


@contextmanager
def form(compiled: bool) -> Iterator[None]:
    """Compiled loops, or the torch operators of other devices with blocks so small that there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "is_compiled", lambda _: compiled)
        patch.setattr(edges, "BLOCK", 7)
        yield


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def pairs(matrix: sp.csr_array) -> list[tuple[int, int]]:
    """The edges in their order, row after row."""
    dense = matrix.toarray() != 0
    return [(r, c) for r in range(dense.shape[0]) for c in range(dense.shape[1]) if dense[r, c]]


def same(fast: torch.Tensor, slow: torch.Tensor, *leaves: torch.Tensor) -> None:
    """Equal results, and equal gradients of the same random sum of them."""
    torch.testing.assert_close(fast, slow)
    toss = torch.randn_like(slow)
    for one, other in zip(_gradients(fast, toss, leaves), _gradients(slow, toss, leaves), strict=True):
        torch.testing.assert_close(one, other)


def _gradients(result: torch.Tensor, toss: torch.Tensor, leaves: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Gradients by leaf; zero, not None, where no edge leads to a leaf."""
    nothing = sum(leaf.sum() * 0 for leaf in leaves)
    return torch.autograd.grad((result * toss).sum() + nothing, leaves)


@few
@graphs_and_forms
def test_a_product_with_learned_weights_equals_a_loop_over_the_edges(matrix, compiled, seed):
    pattern, listed = Pattern(matrix), pairs(matrix)
    weight, x, y = draw(seed, len(listed)), draw(seed + 1, matrix.shape[1], 3), draw(seed + 2, matrix.shape[0], 3)
    slow = torch.zeros(matrix.shape[0], 3, dtype=torch.float64)
    slow_back = torch.zeros(matrix.shape[1], 3, dtype=torch.float64)
    for e, (r, c) in enumerate(listed):
        slow = slow.index_add(0, torch.tensor([r]), (weight[e] * x[c])[None])
        slow_back = slow_back.index_add(0, torch.tensor([c]), (weight[e] * y[r])[None])
    with form(compiled):
        same(edge_product(pattern, weight, x), slow, weight, x)
        same(edge_product(pattern.T, pattern.transposed(weight), y), slow_back, weight, y)


@few
@graphs_and_forms
def test_a_dot_product_per_edge_equals_a_loop_over_the_edges(matrix, compiled, seed):
    x, y = draw(seed, matrix.shape[0], 5), draw(seed + 1, matrix.shape[1], 5)
    slow = torch.cat([torch.zeros(0, dtype=torch.float64), *((x[r] @ y[c])[None] for r, c in pairs(matrix))])
    with form(compiled):
        same(edge_dot(Pattern(matrix), x, y), slow, x, y)


@few
@graphs_and_forms
def test_a_softmax_per_row_equals_that_of_each_row_alone(matrix, compiled, seed):
    listed = pairs(matrix)
    score = draw(seed, len(listed))
    row = torch.tensor([r for r, _ in listed])
    parts = [(score[row == r] * 30).softmax(0) for r in range(matrix.shape[0])] if listed else [score]
    with form(compiled):
        same(edge_softmax(Pattern(matrix), score * 30), torch.cat(parts), score)


@few
@graphs_and_forms
def test_the_maximum_over_neighbours_equals_that_of_each_row_alone(matrix, compiled, seed):
    x = draw(seed, matrix.shape[1], 5)
    neighbours = [[c for r, c in pairs(matrix) if r == row] for row in range(matrix.shape[0])]
    nothing = torch.zeros(5, dtype=torch.float64)
    with form(compiled):
        slow = torch.stack([x[found].max(0).values if found else nothing for found in neighbours])
        same(neighbour_max(Pattern(matrix), x), slow, x)


@pytest.mark.parametrize("compiled", [True, False])
def test_gradients_are_those_of_finite_differences(compiled):
    pattern = Pattern(sp.random_array((4, 6), density=0.5, format="csr", rng=np.random.default_rng(0)))
    weight, x, y = draw(0, len(pattern)), draw(1, 4, 3), draw(2, 6, 3)
    with form(compiled):
        for operator, inputs in (
            (lambda w, y: edge_product(pattern, w, y), (weight, y)),
            (lambda w, x: edge_product(pattern.T, pattern.transposed(w), x), (weight, x)),
            (lambda x, y: edge_dot(pattern, x, y), (x, y)),
            (lambda w: edge_softmax(pattern, w), (weight,)),
            (lambda y: neighbour_max(pattern, y), (y,)),
            (lambda x: neighbour_max(pattern.T, x), (x,)),
        ):
            assert torch.autograd.gradcheck(operator, inputs)


@pytest.mark.parametrize("compiled", [True, False])
def test_of_equal_neighbours_the_first_has_the_gradient_of_the_maximum(compiled):
    x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [2.0, 0.0]], requires_grad=True)
    with form(compiled):
        neighbour_max(Pattern(sp.csr_array(np.ones((1, 3)))), x).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]


def test_numbers_are_permuted_to_the_order_of_the_transpose_and_back():
    matrix = sp.csr_array(np.array([[0, 2, 3], [4, 0, 6]]))
    pattern, numbers = Pattern(matrix), torch.tensor([2.0, 3.0, 4.0, 6.0])
    assert pattern.transposed(numbers).tolist() == [4, 2, 3, 6]
    assert pattern.T.transposed(pattern.transposed(numbers)).tolist() == numbers.tolist()
    assert (pattern.shape, pattern.T.shape, len(pattern.T)) == ((2, 3), (3, 2), 4)


def test_unsorted_columns_are_sorted_and_duplicate_edges_are_refused():
    unsorted = sp.csr_array((np.ones(2), np.array([2, 0]), np.array([0, 2])), shape=(1, 3))
    assert Pattern(unsorted).by_row.index.tolist() == [0, 2]
    twice = sp.csr_array((np.ones(2), np.array([1, 1]), np.array([0, 2])), shape=(1, 3))
    with pytest.raises(InputError, match="expected each at most once, got duplicates"):
        Pattern(twice)


def test_tensors_of_the_wrong_size_are_refused_before_any_loop_reads_them():
    pattern = Pattern(sp.csr_array(np.ones((2, 3))))
    with pytest.raises(InputError, match=r"weights of the edges: expected \(6,\), got \(5,\)"):
        edge_product(pattern, torch.ones(5), torch.ones(3, 1))
    with pytest.raises(InputError, match=r"vectors of the columns: expected \(3, 4\), got \(3, 5\)"):
        edge_dot(pattern, torch.ones(2, 4), torch.ones(3, 5))
