"""EASE's closed form as ridge regressions; blocks, insights, limits."""

import numpy as np
import pytest
import torch

from medley import models
from medley.errors import InputError
from medley.testing import scores_of
from medley.types import Inputs, Interactions


@pytest.mark.parametrize("reg", [0.5, 100.0])
def test_each_column_is_a_ridge_regression_on_the_other_items(checkerboard: Inputs, reg: float):
    x = checkerboard.train.csr().toarray().astype(float)
    b = np.zeros((32, 32))
    for j in range(32):
        others = [i for i in range(32) if i != j]
        a = x[:, others]
        b[others, j] = np.linalg.solve(a.T @ a + reg * np.eye(31), a.T @ x[:, j])
    model = models.build("ease", checkerboard, reg=reg)
    assert np.allclose(model.get_buffer("weight").numpy(), b, atol=1e-4)
    assert np.allclose(scores_of(model), x @ b, atol=1e-3)


def test_the_inverse_is_the_same_in_many_blocks(checkerboard: Inputs, monkeypatch):
    whole = models.build("ease", checkerboard).get_buffer("weight")
    monkeypatch.setattr("medley.models.ease.BLOCK", 100)  # 3 rows
    assert torch.equal(models.build("ease", checkerboard).get_buffer("weight"), whole)


def test_users_without_interactions_get_zeros_and_nothing_is_saved(checkerboard: Inputs):
    train = checkerboard.train
    model = models.build("ease", Inputs(Interactions(train.user, train.item, 25, 32), checkerboard.features))
    assert (scores_of(model)[24] == 0).all() and scores_of(model)[:24].any()
    assert model.state_dict() == {} and not list(model.parameters())


def test_the_insight_about_an_item_is_the_largest_weights_of_its_row(checkerboard: Inputs):
    model = models.build("ease", checkerboard)
    row = model.get_buffer("weight")[4].numpy()
    (insight,) = model.about_item(4)
    assert insight.kind == "items" and list(insight.weights.values()) == sorted(row, reverse=True)[:10]
    assert all(row[item] == weight for item, weight in insight.weights.items())


def test_too_many_items_are_refused_with_the_gigabytes_needed(checkerboard: Inputs):
    train = Interactions(checkerboard.train.user, checkerboard.train.item, 24, 100_000)
    with pytest.raises(InputError, match=r"100,000 x 100,000 .* at most 16 GB, got 40.00 GB.*memory_gb"):
        models.build("ease", Inputs(train, {}))


def test_an_inverse_that_may_not_exist_is_refused(checkerboard: Inputs):
    with pytest.raises(InputError, match=r"'reg' of ease: expected more than 0, got 0\.0"):
        models.build("ease", checkerboard, reg=0.0)
