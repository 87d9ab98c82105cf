"""Fusing vectors."""

import math

import pytest
import torch

from medley.nn.fusion import masked_softmax, sum_of


def test_a_sum_is_that_of_a_loop_and_reaches_every_part():
    parts = [torch.arange(6.0).view(2, 3).add(n).requires_grad_() for n in range(3)]
    total = sum_of(part for part in parts)
    assert total.tolist() == [[sum(part[i, j].item() for part in parts) for j in range(3)] for i in range(2)]
    total.square().sum().backward()
    assert all(torch.equal(part.grad, 2 * total) for part in parts)


def test_the_sum_of_one_is_that_one():
    (alone,) = [torch.ones(1, 2)]
    assert sum_of([alone]) is alone


def test_a_masked_softmax_runs_over_what_a_row_has():
    score = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
    has = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    weight = masked_softmax(score, has)
    for n in range(3):
        odds = [math.exp(score[n, m].item()) if has[n, m] else 0.0 for m in range(3)]
        assert weight[n].tolist() == pytest.approx([odd / (sum(odds) or 1) for odd in odds])
    weight[:, 0].sum().backward()
    assert score.grad.isfinite().all() and not score.grad[~has].any()
