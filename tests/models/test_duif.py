"""DUIF's equation and objective as slow loops."""

from functools import partial

import numpy as np
import pytest
import torch

from medley.models import Recommender
from medley.models.inputs import choose
from medley.testing import BATCH, bpr, content_of, drawn, parameters_of, scores_of
from medley.types import Features, Inputs

build = partial(drawn, "duif", hidden_dim=5)


def mapped(w: dict[str, np.ndarray], inputs: Inputs, i: int) -> np.ndarray:
    """phi(f_i)"""
    hidden = w["W1.b"] + content_of(w, "W1", inputs, i)
    return w["W2.weight"] @ np.maximum(hidden, 0)


def expected_scores(model: Recommender, inputs: Inputs) -> np.ndarray:
    w = parameters_of(model)
    return np.array([[w["p"][u] @ mapped(w, inputs, i) for i in range(3)] for u in range(2)])


@pytest.mark.parametrize("modalities", [["visual", "acoustic"], ["visual"], ["acoustic"]])
def test_the_score_is_a_users_vector_times_the_mapped_features(five_nodes: Inputs, modalities: list[str]):
    inputs = choose(five_nodes, modalities)
    model = build(inputs)
    assert np.allclose(scores_of(model), expected_scores(model, inputs), atol=1e-5)


@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_the_loss_is_bpr_and_l2_of_the_vectors_of_the_batch(five_nodes: Inputs, reg: float):
    model = build(five_nodes, reg=reg)
    w, s = parameters_of(model), expected_scores(model, five_nodes)
    phi = [mapped(w, five_nodes, i) for i in range(3)]
    loss = bpr(s, BATCH)
    for u, i, j in torch.stack(BATCH).T.tolist():
        squares = [(x**2).sum() for x in (w["p"][u], phi[i], phi[j])]
        loss += reg * sum(squares) / 2 / 3
    assert model.loss(BATCH).item() == pytest.approx(loss, rel=1e-5)


def test_items_with_the_same_features_have_the_same_score(five_nodes: Inputs):
    values = five_nodes.features["visual"].values.copy()
    values[1] = values[0]
    scores = scores_of(build(Inputs(five_nodes.train, {"visual": Features(values, np.ones(3, dtype=bool))})))
    assert np.allclose(scores[:, 0], scores[:, 1])
    assert not np.allclose(scores[:, 0], scores[:, 2])


def test_scores_depend_on_the_scale_of_features_only_without_feature_scale(five_nodes: Inputs):
    doubled = {m: f._replace(values=2 * f.values) for m, f in five_nodes.features.items()}
    larger = Inputs(five_nodes.train, doubled)
    scaled, scaled_larger = (scores_of(build(given, feature_scale="l2")) for given in (five_nodes, larger))
    assert np.allclose(scaled_larger, scaled, atol=1e-5)
    assert not np.allclose(scores_of(build(larger)), scores_of(build(five_nodes)))
