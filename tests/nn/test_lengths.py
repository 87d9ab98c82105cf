"""Rows of length one where some rows are zero."""

import pytest
import torch

from medley import models
from medley.nn.lengths import lengths, unit
from medley.types import Triplets


def test_rows_have_length_one_and_rows_of_zeros_stay_with_a_gradient_that_does_not_explode():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-4, 0.0]], requires_grad=True)
    assert lengths(x)[:, 0].tolist() == pytest.approx([5, 1, 1e-4])
    y = x
    for _ in range(5):
        y = unit(y)
    assert y.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [1, 0]]
    (y * torch.tensor([1.0, 2.0])).sum().backward()
    torch.testing.assert_close(x.grad[1], torch.tensor([1.0, 2.0]))
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("fusion", ["soft", "hard"])
def test_deep_models_have_finite_gradients_where_items_lack_modalities(simulated, fusion):
    options = {"num_layers": 5, "self_loops": True, "drop_modalities": 0.5, "dim": 8}
    model = models.build("egogcn", simulated.inputs(), fusion=fusion, **options)
    user, pos = (torch.from_numpy(rows[:200].astype("int64")) for rows in (simulated.train.user, simulated.train.item))
    model.loss(Triplets(user, pos, pos.flip(0))).backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients and all(gradient.isfinite().all() for gradient in gradients.values())
