"""MGCN's equations once more, as slow loops over a graph of five nodes; its gaps, parts and explanations."""

import numpy as np
import pytest
import torch

from medley import models
from medley.models.inputs import choose
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.testing import (
    BATCH,
    DIM,
    SEEN,
    drawn,
    edge_weights,
    lightgcn,
    nearest,
    parameters_of,
    softmax,
    unit,
    vectors_of,
    with_99_where_missing,
)
from medley.types import Embeddings, Inputs, Triplets


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow(inputs: Inputs, model: models.Recommender, num_layers=2, num_item_layers=1, k=2):
    """E and E_mul of users and items by loops, and alpha: {m: weight} of each user and item."""
    w = parameters_of(model)

    def affine(name, x):
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    E = dict(zip(("user", "item"), lightgcn(w["e_user"], w["e_item"], num_layers), strict=True))

    view = {}
    for m, features in inputs.features.items():
        x = np.zeros((3, DIM))
        for i in range(3):
            if features.present[i]:
                gate = affine(f"views.{m}.W2", affine(f"views.{m}.W1", features.values[i]))
                x[i] = w["e_item"][i] * sigmoid(gate)
        alike = {i: nearest(features, i, k) for i in range(3)}
        degree = {i: sum(row.values()) for i, row in alike.items()}
        for _ in range(num_item_layers):
            new = np.zeros((3, DIM))
            for i, row in alike.items():
                for j, cosine in row.items():
                    if degree[i] > 0 and degree[j] > 0:
                        new[i] += cosine / np.sqrt(degree[i] * degree[j]) * x[j]
            x = new
        of_user = np.zeros((2, DIM))
        for (u, i), weight in edge_weights().items():
            of_user[u] += weight * x[i]
        view[m] = {"user": of_user, "item": x}

    mul, alphas = {}, {}
    for side, count in (("user", 2), ("item", 3)):
        mul[side], alphas[side] = np.zeros((count, DIM)), []
        for row in range(count):
            seen = SEEN[row] if side == "user" else [row]
            has = [m for m, features in inputs.features.items() if any(features.present[i] for i in seen)]
            x = {m: view[m][side][row] for m in has}
            if len(inputs.features) == 1:
                mul[side][row] = sum(x.values(), np.zeros(DIM))
                continue
            scores = [(w["fuse.q.weight"] @ np.tanh(affine("fuse.W4", x[m])))[0] for m in has]
            alpha = dict(zip(has, softmax(scores), strict=True))
            shared = sum((alpha[m] * x[m] for m in has), np.zeros(DIM))
            mul[side][row] = shared
            for m in has:
                mul[side][row] += (x[m] - shared) * sigmoid(affine(f"fuse.W3.{m}", E[side][row])) / len(has)
            alphas[side].append(alpha)
    return E, mul, alphas


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2, "num_item_layers": 1, "k": 2},
        {"num_layers": 0, "num_item_layers": 2, "k": 3},
        {"num_layers": 1, "num_item_layers": 1, "k": 1},
    ],
)
@pytest.mark.parametrize("modalities", [["visual", "acoustic"], ["visual"], ["acoustic"]])
def test_vectors_are_those_of_a_slow_loop(five_nodes, options, modalities):
    inputs = choose(five_nodes, modalities)
    model = drawn("mgcn", inputs, **options)
    E, mul, _ = slow(inputs, model, **options)
    user, item = vectors_of(model)
    assert np.allclose(user, E["user"] + mul["user"], atol=1e-5)
    assert np.allclose(item, E["item"] + mul["item"], atol=1e-5)


@pytest.mark.parametrize("options", [{"contrast_weight": 0.5, "temperature": 0.7, "reg": 0.1}, {"reg": 0.0}])
def test_the_loss_contrasts_each_user_and_each_positive_of_the_batch_once(five_nodes, options):
    model = drawn("mgcn", five_nodes, k=2, **options)
    batch = Triplets(*(torch.cat([part, part[:1]]) for part in BATCH))  # user 0 and item 0 come twice
    E, mul, _ = slow(five_nodes, model)
    contrast = 0.0
    for side, rows in (("user", [0, 1]), ("item", [0, 1, 2])):
        x, y = (unit(view[side]) for view in (mul, E))
        odds = {(a, b): np.exp(x[a] @ y[b] / options.get("temperature", 0.2)) for a in rows for b in rows}
        contrast += np.mean([-np.log(odds[a, a] / sum(odds[a, b] for b in rows)) for a in rows])
    vectors = Embeddings(torch.tensor(E["user"] + mul["user"]), torch.tensor(E["item"] + mul["item"]))
    expected = bpr_loss(vectors, batch) + options["reg"] * l2_of_batch(vectors, batch)
    expected = expected.item() + options.get("contrast_weight", 0.01) * contrast
    assert model.loss(batch).item() == pytest.approx(expected, abs=1e-4)


def test_values_stored_for_missing_features_never_matter(five_nodes):
    first, second = vectors_of(drawn("mgcn", five_nodes)), vectors_of(drawn("mgcn", with_99_where_missing(five_nodes)))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_without_any_modality_the_view_of_behaviour_alone_remains(five_nodes):
    present = np.array([True, True, False])
    inputs = five_nodes._replace(features={m: f._replace(present=present) for m, f in five_nodes.features.items()})
    model = drawn("mgcn", inputs)
    user, item = model._sides()
    assert user.mul[1].eq(0).all() and item.mul[2].eq(0).all()
    assert user.mul[0].ne(0).all() and item.mul[:2].ne(0).all()
    model.loss(BATCH).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_insights_are_the_weights_of_attention_largest_first(five_nodes):
    model = drawn("mgcn", five_nodes, k=2)
    _, _, alphas = slow(five_nodes, model)
    with torch.no_grad():
        (of_user,), (of_item,) = model.about_user(0), model.about_item(1)
    for insight, alpha in ((of_user, alphas["user"][0]), (of_item, alphas["item"][1])):
        assert insight.topic == "weights of the modalities"
        assert insight.weights == pytest.approx(alpha, abs=1e-5)
        assert list(insight.weights.values()) == sorted(insight.weights.values(), reverse=True)


def test_a_single_modality_has_no_weights(five_nodes):
    model = drawn("mgcn", choose(five_nodes, ["visual"]))
    assert model.about_user(0) == model.about_item(0) == []
    assert not any(name.startswith("fuse") for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "option 'temperature' of mgcn: expected more than 0, got 0"),
        ({"num_item_layers": 0}, "option 'num_item_layers' of mgcn: expected 1 or more, got 0"),
    ],
)
def test_options_out_of_range_are_refused(five_nodes, options, message):
    with pytest.raises(ValueError, match=message):
        models.build("mgcn", five_nodes, **options)
