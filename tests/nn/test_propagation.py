import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graphs_at_random import matrices
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.errors import InputError
from medley.models import build
from medley.nn import sparse
from medley.nn.propagation import Rows, lightgcn, propagate, propagate_combined, propagate_rows, take_rows
from medley.nn.sparse import SparseMatrix
from medley.training.sampling import TripletSampler, batches
from medley.types import Embeddings


def layer_zero(matrix: sp.csr_array, dim: int = 5, dtype=torch.float64) -> Embeddings:
    return Embeddings(*(torch.randn(size, dim, dtype=dtype, requires_grad=True) for size in matrix.shape))


@settings(max_examples=40, deadline=None)
@given(matrices(), st.lists(st.sampled_from([0.0, 1.0, 0.25, -2.0]), min_size=1, max_size=4))
def test_the_combination_and_its_gradient_equal_those_of_summed_layers(matrix, weights):
    graph, layer = SparseMatrix(matrix), layer_zero(matrix)
    layers = propagate(graph, layer, len(weights) - 1)
    slow = [sum(w * one[side] for w, one in zip(weights, layers, strict=True)) for side in (0, 1)]
    fast = propagate_combined(graph, layer, weights)
    toss = [torch.randn_like(tensor) for tensor in slow]
    for got, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(pair, layer, toss, allow_unused=True) for pair in (fast, slow)]
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, torch.zeros_like(got) if expected is None else expected)


@settings(max_examples=40, deadline=None)
@given(matrices(), st.integers(0, 3), st.integers(0, 999), st.booleans())
def test_chosen_rows_and_their_gradient_equal_those_of_all(matrix, num_layers, seed, compiled):
    rng = np.random.default_rng(seed)
    rows = Rows(*(torch.from_numpy(rng.permutation(size)[: rng.integers(0, 4)]) for size in matrix.shape))
    graph, weights, layer = SparseMatrix(matrix), rng.normal(size=num_layers + 1).tolist(), layer_zero(matrix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "is_compiled", lambda _: compiled)
        every = propagate_combined(graph, layer, weights)
        expected = [x[kept] for x, kept in zip([*every, *layer], [*rows, *rows], strict=True)]
        chosen = [x for e in propagate_rows(graph, layer, weights, rows) for x in e]
        for one, other in zip(expected, chosen, strict=True):
            torch.testing.assert_close(one, other)
        losses = [sum((k + 1) * x.square().sum() for k, x in enumerate(side)) for side in (expected, chosen)]
        for one, other in zip(*(torch.autograd.grad(loss, layer) for loss in losses), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("rows", [None, Rows(torch.tensor([1]), torch.tensor([3, 0]))])
def test_the_gradient_is_that_of_finite_differences_when_items_from_users_is_another_matrix(rows):
    graph, back = (sp.random_array(size, density=0.6, rng=np.random.default_rng(1)) for size in ((3, 4), (4, 3)))
    graph, back = SparseMatrix(sp.csr_array(graph)), SparseMatrix(sp.csr_array(back))
    user, item = (torch.randn(size, 2, dtype=torch.float64, requires_grad=True) for size in (3, 4))

    def combined(user, item):
        e, e0 = propagate_rows(graph, Embeddings(user, item), [0.5, 1.0, 2.0], rows, back=back)
        return *e, *e0

    assert torch.autograd.gradcheck(combined, (user, item))
    if rows is None:
        one = Embeddings(graph @ item, back @ user)
        two = Embeddings(graph @ one.item, back @ one.user)
        torch.testing.assert_close(combined(user, item)[1], 0.5 * item + one.item + 2 * two.item)


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("rows", [None, Rows(torch.tensor([2, 0]), torch.tensor([3]))])
def test_lightgcn_is_the_mean_or_the_sum_of_the_layers_and_layer_0(rows, combine):
    matrix = sp.csr_array(sp.random_array((3, 4), density=0.6, rng=np.random.default_rng(2)))
    graph, layer = SparseMatrix(matrix), layer_zero(matrix)
    for num_layers in (0, 1, 3):
        layers = [list(side) for side in layer]
        totals = [list(side) for side in layer]
        dense = torch.from_numpy(matrix.toarray())
        for _ in range(num_layers):
            users, items = layers
            layers = [
                [sum((dense[u, i] * items[i] for i in range(4)), torch.zeros(5)) for u in range(3)],
                [sum((dense[u, i] * users[u] for u in range(3)), torch.zeros(5)) for i in range(4)],
            ]
            totals = [[x + y for x, y in zip(*pair, strict=True)] for pair in zip(totals, layers, strict=True)]
        scale = num_layers + 1 if combine == "mean" else 1
        expected = Embeddings(*(torch.stack(side) / scale for side in totals))
        found, found_0 = lightgcn(graph, layer, num_layers, rows, combine=combine)
        for one, other in zip([*found, *found_0], [*take_rows(expected, rows), *take_rows(layer, rows)], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_vector_that_needs_no_gradient_may_stand_on_one_side():
    graph = SparseMatrix(sp.csr_array(np.eye(2, 3)))
    user, item = torch.ones(2, 1, requires_grad=True), torch.ones(3, 1)
    propagate_combined(graph, Embeddings(user, item), [1.0, 1.0]).item.sum().backward()
    assert user.grad.tolist() == [[1.0], [1.0]]


def test_wrong_sizes_and_no_weights_are_refused():
    graph, layer = SparseMatrix(sp.csr_array((2, 3))), Embeddings(torch.zeros(2, 1), torch.zeros(3, 1))
    with pytest.raises(InputError, match="layer 0 included"):
        propagate_combined(graph, layer, [])
    with pytest.raises(InputError, match=r"expected \(2, 3\), got \(3, 3\)"):
        propagate_combined(graph, Embeddings(layer.item, layer.item), [1.0, 1.0])
    with pytest.raises(InputError, match=r"expected \(3, 2\), got \(2, 3\)"):
        propagate_combined(graph, layer, [1.0, 1.0], back=graph)


def test_an_epoch_of_lightgcn_is_the_same_with_and_without_the_shortcut(checkerboard):
    ends = []
    for shortcut in (True, False):
        model = build("lightgcn", checkerboard, seed=3, dim=8)
        if not shortcut:
            whole = model._propagated
            model._propagated = lambda rows, whole=whole: tuple(take_rows(x, rows) for x in whole())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        for batch in batches(TripletSampler(checkerboard.train, torch.Generator().manual_seed(1)).epoch(), 8):
            loss = model.loss(batch)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends.append((losses, [parameter.detach() for parameter in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1])
    assert len(ends[0][0]) > 10
