"""CB2CF's two problems as slow loops."""

from functools import partial

import numpy as np
import pytest
import torch

from medley import models
from medley.models.inputs import choose
from medley.testing import BATCH, bpr, content_of, drawn, parameters_of, scores_of
from medley.types import Inputs, Triplets

build = partial(drawn, "cb2cf", hidden_dim=5)


def mapped(w: dict[str, np.ndarray], inputs: Inputs, i: int) -> np.ndarray:
    """phi(f_i)"""
    hidden = w["W1.b"] + content_of(w, "W1", inputs, i)
    return w["W2.weight"] @ np.maximum(hidden, 0) + w["W2.bias"]


def squared(x: np.ndarray) -> float:
    return float((x**2).sum())


@pytest.mark.parametrize("modalities", [["visual", "acoustic"], ["visual"], ["acoustic"]])
def test_items_are_scored_by_their_mapped_vectors(five_nodes: Inputs, modalities: list[str]):
    inputs = choose(five_nodes, modalities)
    model = build(inputs)
    w = parameters_of(model)
    expected = [[w["p"][u] @ mapped(w, inputs, i) for i in range(3)] for u in range(2)]
    assert np.allclose(scores_of(model), expected, atol=1e-4)


@pytest.mark.parametrize(("reg", "reg_content"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2)])
def test_the_loss_is_that_of_both_stages(five_nodes: Inputs, reg: float, reg_content: float):
    model = build(five_nodes, reg=reg, reg_content=reg_content)
    w = parameters_of(model)
    loss = bpr(w["p"] @ w["q"].T, BATCH)
    for u, i, j in torch.stack(BATCH).T.tolist():
        loss += reg * (squared(w["p"][u]) + squared(w["q"][i]) + squared(w["q"][j])) / 2 / 3
    loss += np.mean([squared(mapped(w, five_nodes, i) - w["q"][i]) for i in range(3)])
    loss += reg_content * sum(squared(value) for name, value in w.items() if name not in ("p", "q"))
    assert model.loss(BATCH).item() == pytest.approx(loss, rel=1e-5)


def test_neither_stage_sends_a_gradient_to_the_other(five_nodes: Inputs):
    collaborative = models.build("mf", five_nodes, dim=3, reg=0.1)
    model = build(five_nodes, reg=0.1)
    collaborative.load_state_dict({name: model.state_dict()[name] for name in ("p", "q")})
    model.loss(BATCH).backward()
    collaborative.loss(BATCH).backward()
    for name in ("p", "q"):
        assert torch.allclose(model.get_parameter(name).grad, collaborative.get_parameter(name).grad), name
    before = model.get_parameter("W2.weight").grad.clone()
    model.zero_grad()
    model.loss(Triplets(BATCH.user, BATCH.neg, BATCH.pos)).backward()  # another BPR, the same map
    assert torch.allclose(model.get_parameter("W2.weight").grad, before)


def test_items_without_interactions_are_not_targets_and_are_scored_by_their_features(five_nodes: Inputs):
    train = five_nodes.train.only(np.arange(2))  # not item 2
    inputs = Inputs(train, five_nodes.features)
    model, batch = build(inputs, reg=0.0), Triplets(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]))
    before = model.loss(batch)
    with torch.no_grad():
        model.get_parameter("q")[2] += 100
        assert torch.equal(model.loss(batch), before)
        assert np.allclose(model().item[2], mapped(parameters_of(model), inputs, 2), atol=1e-4)
