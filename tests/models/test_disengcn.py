"""DisenGCN's routing as slow loops over a graph of five nodes."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from medley import models
from medley.errors import InputError
from medley.testing import (
    BATCH,
    SEEN,
    SEEN_BY,
    bpr,
    content_of,
    drawn,
    leaky_relu,
    parameters_of,
    softmax,
    unit,
    vectors_of,
    with_99_where_missing,
)
from medley.types import Inputs

DIM = 6
build = partial(drawn, "disengcn", dim=DIM, channel_dim=2)


def slow(inputs: Inputs, w: dict, num_channels: int, num_layers: int, num_routings: int, tau: float):
    """Vectors of users and items, and p of the last layer by (user, item) and (item, user)."""
    x = {("u", u): w["user"][u] + w["b"] for u in SEEN}
    for i in SEEN_BY:
        x["i", i] = w["b"] + (w["item"][i] if "item" in w else 0) + content_of(w, "content", inputs, i)
    near = {("u", u): [("i", i) for i in items] for u, items in SEEN.items()}
    near |= {("i", i): [("u", u) for u in users] for i, users in SEEN_BY.items()}
    for layer in range(num_layers):
        if layer > 0:
            x = {v: w[f"W.{layer - 1}.weight"] @ x[v] + w[f"W.{layer - 1}.bias"] for v in x}
        z = {v: [unit(leaky_relu(part)) for part in np.split(x[v], num_channels)] for v in x}
        c, p = dict(z), {}
        for _ in range(num_routings):
            for v in x:
                for n in near[v]:
                    p[v, n] = softmax([z_k @ c_k / tau for z_k, c_k in zip(z[n], c[v], strict=True)])
                sums = [sum(p[v, n][k] * z[n][k] for n in near[v]) for k in range(num_channels)]
                c[v] = [unit(own + other) for own, other in zip(z[v], sums, strict=True)]
        x = {v: np.concatenate(c[v]) for v in x}
    return np.array([x["u", u] for u in range(2)]), np.array([x["i", i] for i in range(3)]), z, c, near


@pytest.mark.parametrize("use_id", [True, False])
@pytest.mark.parametrize(
    ("num_channels", "num_layers", "num_routings", "tau"),
    [(3, 1, 1, 1.0), (2, 1, 3, 0.5), (3, 2, 2, 1.0), (1, 3, 1, 2.0)],
)
def test_neighbourhood_routing(five_nodes, num_channels, num_layers, num_routings, tau, use_id):
    options = {"num_layers": num_layers, "num_routings": num_routings, "tau": tau}
    model = build(five_nodes, use_id=use_id, channel_dim=DIM // num_channels, **options)
    w = parameters_of(model)
    assert ("item" in w) == use_id
    expected_user, expected_item, *_ = slow(five_nodes, w, num_channels, **options)
    user, item = vectors_of(model)
    assert np.allclose(user, expected_user, atol=1e-5) and np.allclose(item, expected_item, atol=1e-5)


def test_the_loss_is_mean_bpr_and_the_squares_of_all_parameters(five_nodes):
    model = build(five_nodes, reg=0.3)
    user, item = vectors_of(model)
    l2 = sum((value**2).sum() for value in parameters_of(model).values())
    assert model.loss(BATCH).item() == pytest.approx(bpr(user @ item.T, BATCH) + 0.3 * l2, rel=1e-5)


def test_the_score_is_a_sum_over_channels(five_nodes):
    model = build(five_nodes)
    user, item, _, c, _ = slow(five_nodes, parameters_of(model), 3, 1, 3, 1.0)
    with torch.no_grad():
        parts = model.contributions(torch.tensor([1]), torch.tensor([[2, 0]]))
    assert list(parts) == ["channel 1", "channel 2", "channel 3"]
    for k, part in enumerate(parts.values()):
        assert np.allclose(part[0], [c["u", 1][k] @ c["i", i][k] for i in (2, 0)], atol=1e-5)
    assert np.allclose(sum(parts.values())[0], [user[1] @ item[2], user[1] @ item[0]], atol=1e-5)


def test_insights_are_the_mean_assignment_of_neighbours_to_channels(five_nodes):
    model = build(five_nodes)
    *_, z, c, near = slow(five_nodes, parameters_of(model), 3, 1, 3, 1.0)
    for v, asked in ((("u", 0), model.about_user(0)), (("i", 2), model.about_item(2))):
        p = [softmax([z_k @ c_k for z_k, c_k in zip(z[n], c[v], strict=True)]) for n in near[v]]
        (insight,) = asked
        assert list(insight.weights.values()) == sorted(insight.weights.values(), reverse=True)
        expected = {f"channel {k + 1}": share for k, share in enumerate(np.mean(p, axis=0))}
        assert insight.weights == pytest.approx(expected, abs=1e-5)


def test_dropout_is_for_training_alone(five_nodes):
    model, without = build(five_nodes, dropout=0.5), build(five_nodes)
    assert all(np.array_equal(a, b) for a, b in zip(vectors_of(model), vectors_of(without), strict=True))
    user, item = vectors_of(model.train())
    scale = np.concatenate([user, item]) / np.concatenate(vectors_of(without))
    assert set(np.round(scale.flatten(), 3)) == {0.0, 2.0}


def test_one_modality_is_enough_and_values_stored_for_missing_features_never_matter(five_nodes):
    inputs = Inputs(five_nodes.train, {"sound": five_nodes.features["acoustic"]})
    first, second = vectors_of(build(inputs)), vectors_of(build(with_99_where_missing(inputs)))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel_dim": 4}, "'channel_dim' of disengcn: expected a divisor of dim (6), got 4"),
        ({"channel_dim": 1}, "'channel_dim' of disengcn: expected 2 or more, got 1"),
        ({"num_layers": 0}, "'num_layers' of disengcn: expected 1 or more, got 0"),
        ({"num_routings": 0}, "'num_routings' of disengcn: expected 1 or more, got 0"),
        ({"tau": 0}, "'tau' of disengcn: expected more than 0, got 0"),
        ({"dropout": 1.0}, "'dropout' of disengcn: expected less than 1, got 1.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(five_nodes, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        models.build("disengcn", five_nodes, **{"dim": 6, "channel_dim": 2, **options})
