import math

import pytest
import torch

from medley.nn import losses, propagation
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters, squared_rows
from medley.nn.propagation import distinct_rows, take
from medley.types import Embeddings, Triplets

TABLES = Embeddings(torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64))
BATCH = Triplets(torch.tensor([0, 3, 0]), torch.tensor([1, 4, 2]), torch.tensor([0, 1, 1]))


def test_bpr_is_the_mean_of_minus_ln_sigmoid_of_score_differences():
    terms = []
    for u, i, j in zip(*map(torch.Tensor.tolist, BATCH), strict=True):
        difference = float(TABLES.user[u] @ TABLES.item[i] - TABLES.user[u] @ TABLES.item[j])
        terms.append(-math.log(1 / (1 + math.exp(-difference))))
    assert float(bpr_loss(TABLES, BATCH)) == pytest.approx(sum(terms) / 3)


def test_bpr_of_a_hopeless_difference_is_finite():
    far = Embeddings(torch.full((4, 3), 1e4), torch.tensor([[1e4] * 3, [-1e4] * 3] + [[0.0] * 3] * 3))
    loss = bpr_loss(far, Triplets(torch.tensor([0]), torch.tensor([1]), torch.tensor([0])))
    assert loss.isfinite() and loss > 1e8


def test_l2_of_a_batch_counts_a_row_as_often_as_it_comes():
    rows = [TABLES.user[u] for u in (0, 3, 0)] + [TABLES.item[i] for i in (1, 4, 2, 0, 1, 1)]
    expected = sum(float(row @ row) for row in rows) / (2 * 3)
    assert float(l2_of_batch(TABLES, BATCH)) == pytest.approx(expected)


def test_squared_rows_are_the_bits_of_a_loop_that_counts_a_row_as_often_as_it_comes():
    table = torch.tensor([[1.0, 2.0], [3.0, 0.5], [7.0, 7.0]], requires_grad=True)  # sums without rounding
    rows = torch.tensor([1, 0, 1])
    total, gradient = 0.0, torch.zeros(3, 2)
    for row in rows.tolist():
        for column in range(2):
            total += table[row, column].item() ** 2
            gradient[row, column] += 2 * table[row, column].item()
    found = squared_rows(table, rows)
    assert found.item() == total
    assert torch.equal(torch.autograd.grad(found, table)[0], gradient)


def test_l2_of_parameters_and_its_gradient():
    x = [
        torch.randn(2, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(4, dtype=torch.float64, requires_grad=True),
    ]
    assert float(l2_of_parameters(x).detach()) == pytest.approx(sum(float((t * t).sum().detach()) for t in x))
    assert torch.autograd.gradcheck(lambda *tensors: l2_of_parameters(tensors), x)
    assert l2_of_parameters([]) == 0


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_losses_of_a_batch_and_their_gradients_are_the_same_compiled_and_by_torch(monkeypatch, dim):
    rng = torch.Generator().manual_seed(0)
    tables = [torch.randn(size, dim, generator=rng, dtype=torch.float64, requires_grad=True) for size in (4, 5)]

    def both(user, item):
        return bpr_loss(Embeddings(user, item), BATCH), l2_of_batch(Embeddings(user, item), BATCH)

    assert torch.autograd.gradcheck(both, tables)
    fast = both(*tables)
    fast += torch.autograd.grad(fast[0] + 3 * fast[1], tables)
    monkeypatch.setattr(losses, "_are_compiled", lambda _: False)
    slow = both(*tables)
    slow += torch.autograd.grad(slow[0] + 3 * slow[1], tables)
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("compiled", [True, False])
def test_distinct_rows_and_positions_among_them_are_the_same_batch(monkeypatch, compiled):
    monkeypatch.setattr(propagation, "is_compiled", lambda _: compiled)
    rows, places = distinct_rows(BATCH)
    assert rows.user.tolist() == [0, 3] and rows.item.tolist() == [0, 1, 2, 4]
    chosen = Embeddings(TABLES.user[rows.user], TABLES.item[rows.item])
    assert torch.equal(bpr_loss(chosen, places), bpr_loss(TABLES, BATCH))


def test_take_is_indexing_with_distinct_rows():
    x, rows = torch.randn(6, 2, dtype=torch.float64, requires_grad=True), torch.tensor([4, 0, 5])
    assert torch.equal(take(x, rows), x[rows])
    assert torch.autograd.gradcheck(take, (x, rows))
