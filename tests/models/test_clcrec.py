"""CLCRec's two contrasts as slow loops, and what it is for: items without interactions."""

from functools import partial

import numpy as np
import pytest
import torch

from medley.models import Recommender
from medley.testing import BATCH, SEEN, content_of, drawn, leaky_relu, parameters_of, scores_of, softmax, unit
from medley.types import Features, Inputs, Triplets

build = partial(drawn, "clcrec", hidden_dim=5, reg=0.0)
BOTH = Triplets(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([2, 0, 2]))  # negatives 0 and 2


def content(w: dict[str, np.ndarray], inputs: Inputs, i: int) -> np.ndarray:
    """x_i"""
    return w["W2.weight"] @ leaky_relu(w["W1.b"] + content_of(w, "W1", inputs, i)) + w["W2.bias"]


def vectors(model: Recommender, inputs: Inputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z of users, z of items and x of items."""
    w = parameters_of(model)
    return w["z_user"], w["z_item"], np.array([content(w, inputs, i) for i in range(3)])


def nce(pos: float, neg: list[float], temperature: float) -> float:
    return -np.log(softmax(np.array([pos, *neg]) / temperature)[0])


@pytest.fixture
def cold_item(five_nodes: Inputs) -> Inputs:
    """Five nodes; item 2 has no interactions."""
    train = five_nodes.train
    return five_nodes._replace(train=train.only(np.arange(2)))


def test_known_items_are_scored_by_their_vectors_and_others_by_their_content(cold_item: Inputs):
    model = build(cold_item)
    user, z, x = vectors(model, cold_item)
    assert np.allclose(scores_of(model), user @ np.array([z[0], z[1], x[2]]).T, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("hybrid", [0.0, 1.0])
def test_users_are_contrasted_with_items_or_in_hybrid_training_with_content(
    five_nodes: Inputs, hybrid: float, temperature: float
):
    model = build(five_nodes, content_weight=0.0, hybrid=hybrid, temperature=temperature)
    user, z, x = vectors(model, five_nodes)
    scores = user @ (x if hybrid else z).T
    expected = []
    for u, i in ((0, 0), (1, 2), (0, 1)):
        negatives = [scores[u, j] for j in (0, 2) if j not in SEEN[u]]  # without the items that the user has seen
        expected.append(nce(scores[u, i], negatives, temperature))
    assert model.train().loss(BOTH).item() == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.2, 2.0])
def test_vectors_of_items_are_contrasted_with_contents(five_nodes: Inputs, temperature: float):
    model = build(five_nodes, content_weight=1.0, temperature=temperature)
    _, z, x = vectors(model, five_nodes)
    cosine = unit(z) @ unit(x).T
    expected = [nce(cosine[i, i], [cosine[i, j] for j in (0, 2) if j != i], temperature) for i in (0, 2, 1)]
    assert model.train().loss(BOTH).item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_loss_is_the_weighted_sum_of_both_contrasts_and_l2(five_nodes: Inputs):
    parts = [build(five_nodes, content_weight=share).loss(BATCH).item() for share in (0.0, 1.0)]
    model = build(five_nodes, content_weight=0.3, reg=0.2)
    user, z, _ = vectors(model, five_nodes)
    squares = [(v**2).sum() for u, i, j in torch.stack(BATCH).T.tolist() for v in (user[u], z[i], z[j])]
    expected = 0.7 * parts[0] + 0.3 * parts[1] + 0.2 * sum(squares) / 2 / 3
    assert model.loss(BATCH).item() == pytest.approx(expected, rel=1e-5)


def test_hybrid_training_replaces_its_share_and_nothing_in_evaluation_mode(five_nodes: Inputs):
    model, z, x = build(five_nodes, hybrid=0.3), torch.zeros(4000, 1), torch.ones(4000, 1)
    torch.manual_seed(0)
    assert model.train()._hybrid(z, x).mean().item() == pytest.approx(0.3, abs=0.03)
    assert not model.eval()._hybrid(z, x).any()


def test_items_without_interactions_are_not_negatives(cold_item: Inputs):
    model = build(cold_item)
    with_cold = Triplets(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([2, 2]))
    assert model.train().loss(with_cold).item() == pytest.approx(0, abs=1e-6)  # no negative is left


def test_the_first_negatives_of_the_batch_are_enough(five_nodes: Inputs):
    batch = Triplets(torch.tensor([0, 1, 1]), torch.tensor([0, 2, 2]), torch.tensor([2, 0, 1]))
    first = [build(five_nodes, num_negatives=n, hybrid=0.0).train().loss(batch).item() for n in (2, 3, 9)]
    assert first[1] == first[2] > first[0]


def test_an_item_without_modalities_is_in_neither_place_of_the_second_contrast(five_nodes: Inputs):
    visual = five_nodes.features["visual"]
    present = np.array([True, False, True])
    inputs = five_nodes._replace(features={"visual": Features(visual.values * present[:, None], present)})
    model = build(inputs, content_weight=1.0)
    batch = Triplets(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([2, 2]))
    alone = Triplets(torch.tensor([0]), torch.tensor([0]), torch.tensor([2]))
    negative = Triplets(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([2, 1]))
    without = Triplets(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([2, 2]))
    assert model.loss(batch).item() == pytest.approx(model.loss(alone).item(), rel=1e-6)
    assert model.loss(negative).item() == pytest.approx(model.loss(without).item(), rel=1e-6)
