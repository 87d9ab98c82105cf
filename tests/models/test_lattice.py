"""LATTICE's equations once more, as slow loops over a graph of five nodes."""

import numpy as np
import pytest
import torch

from medley import models
from medley.models import Recommender
from medley.testing import (
    BATCH,
    bpr,
    drawn,
    lightgcn,
    nearest,
    parameters_of,
    softmax,
    vectors_of,
    with_99_where_missing,
)
from medley.types import Features, Inputs, Triplets


def normalised(x: np.ndarray, present: np.ndarray, k: int) -> np.ndarray:
    """D^-1/2 S D^-1/2 of eq. 1-3, dense; nothing for rows that are absent."""
    S = np.zeros((3, 3))
    for i in range(3):
        for j, cosine in nearest(Features(x, present), i, k).items():
            S[i, j] = max(0, cosine)
    degree = S.sum(axis=1)
    return np.array([[S[i, j] / np.sqrt(degree[i] * degree[j]) if S[i, j] else 0 for j in range(3)] for i in range(3)])


def slow(inputs: Inputs, w: dict, num_layers: int = 2, num_item_layers: int = 1, k: int = 2, raw_share: float = 0.9):
    """LightGCN's users and items, m -> the part of the item vectors, and A."""
    user, item = lightgcn(w["e_user"], w["e_item"], num_layers)
    alpha = softmax(w["alpha"]) if "alpha" in w else [1.0]
    A = {}
    for a, (m, f) in zip(alpha, inputs.features.items(), strict=True):
        A[m] = a * raw_share * normalised(f.values.astype(float), f.present, k)
        if raw_share < 1:
            learned = f.values @ w[f"likeness.{m}.W.weight"].T + w[f"likeness.{m}.W.bias"]  # eq. 4
            A[m] += a * (1 - raw_share) * normalised(learned, f.present, k)  # eq. 5
    before = h = w["e_item"]
    for _ in range(num_item_layers):
        before, h = h, sum(A.values()) @ h  # eq. 6, 7
    length = np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12)
    return user, item, {m: A[m] @ before / length for m in A}, sum(A.values())


OPTIONS = [
    {"num_layers": 2, "num_item_layers": 1, "k": 2, "raw_share": 0.9},
    {"num_layers": 0, "num_item_layers": 2, "k": 3, "raw_share": 0.0},
    {"num_layers": 1, "num_item_layers": 3, "k": 2, "raw_share": 1.0},
    {"num_layers": 1, "num_item_layers": 1, "k": 1, "raw_share": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_equations_1_to_9(five_nodes, options):
    model = drawn("lattice", five_nodes, **options)
    expected_user, expected_item, parts, _ = slow(five_nodes, parameters_of(model), **options)
    user, item = vectors_of(model)
    assert np.allclose(user, expected_user, atol=1e-5)
    assert np.allclose(item, expected_item + sum(parts.values()), atol=1e-5)


def test_one_modality_has_nothing_to_weigh_and_who_has_none_keeps_the_vector_of_lightgcn(five_nodes):
    inputs = Inputs(five_nodes.train, {"sound": five_nodes.features["acoustic"]})
    model = drawn("lattice", inputs, k=2)
    w = parameters_of(model)
    assert "alpha" not in w
    expected_user, expected_item, parts, _ = slow(inputs, w)
    user, item = vectors_of(model)
    assert np.allclose(user, expected_user, atol=1e-5)
    assert np.allclose(item, expected_item + parts["sound"], atol=1e-5)
    assert np.allclose(item[2], expected_item[2], atol=1e-6)


def test_without_a_learned_graph_no_projection_is_learned(five_nodes):
    assert not any("likeness" in name for name in parameters_of(drawn("lattice", five_nodes, raw_share=1.0)))


def test_during_training_the_edges_of_an_epoch_stay_and_their_weights_are_up_to_date(checkerboard):
    model = models.build("lattice", checkerboard, dim=8, k=4, raw_share=0.0)
    model.start_epoch()
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    before = {m: similarity.nearest.by_row.index.clone() for m, similarity in model.likeness.items()}
    stale = model.train()()
    fresh = model.eval()()
    assert not torch.allclose(stale.item, fresh.item)
    assert all(torch.equal(before[m], similarity.nearest.by_row.index) for m, similarity in model.likeness.items())
    model.train().start_epoch()
    assert any(not torch.equal(before[m], similarity.nearest.by_row.index) for m, similarity in model.likeness.items())
    assert torch.equal(model().item, fresh.item)


def test_gradients_reach_projections_and_weights_of_modalities_in_every_batch(checkerboard):
    model = models.build("lattice", checkerboard, dim=8, k=4)
    for batch in (Triplets(torch.tensor([u]), torch.tensor([u]), torch.tensor([u + 1])) for u in (0, 6)):
        model.zero_grad()
        model.train().loss(batch).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.abs().sum() > 0, name


def test_gradients_through_the_learned_graph_are_those_of_its_dense_form(five_nodes):
    model = drawn("lattice", five_nodes, k=3, raw_share=0.2)
    batch = Triplets(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([2, 1]))
    model.loss(batch).backward()
    for name in ("likeness.visual.W.weight", "likeness.acoustic.W.bias", "alpha"):
        parameter = model.get_parameter(name)
        step, flat = 1e-3, parameter.detach().flatten()
        for place in range(min(3, len(flat))):
            losses = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[place] += sign * step
                    losses.append(float(_loss(five_nodes, model, batch, k=3, raw_share=0.2)))
                    parameter.view(-1)[place] -= sign * step
            slope = (losses[0] - losses[1]) / (2 * step)
            assert parameter.grad.view(-1)[place].item() == pytest.approx(slope, rel=2e-2, abs=1e-4), name


def _loss(inputs: Inputs, model: Recommender, batch: Triplets, **options) -> float:
    """BPR and L2 of the final vectors of the batch, by loops."""
    user, item, parts, _ = slow(inputs, parameters_of(model), **options)
    item = item + sum(parts.values())
    total = bpr(user @ item.T, batch)
    for u, i, j in torch.stack(batch).T.tolist():
        total += model.reg / 2 * (user[u] @ user[u] + item[i] @ item[i] + item[j] @ item[j]) / len(batch.user)
    return total


def test_the_loss_is_mean_bpr_and_l2_of_the_final_vectors_of_the_batch(five_nodes):
    model = drawn("lattice", five_nodes, k=2, reg=0.3)
    assert model.loss(BATCH).item() == pytest.approx(_loss(five_nodes, model, BATCH), rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_parts_are_the_last_steps_on_the_graphs_of_the_modalities(five_nodes, options):
    model = drawn("lattice", five_nodes, **options)
    user, item, expected, _ = slow(five_nodes, parameters_of(model), **options)
    with torch.no_grad():
        parts = model.contributions(torch.tensor([1]), torch.tensor([[2, 0]]))
    for name, vectors in ({"id": item} | expected).items():
        assert np.allclose(parts[name][0], [user[1] @ vectors[2], user[1] @ vectors[0]], atol=1e-5), name


@pytest.mark.parametrize("options", OPTIONS)
def test_insights_are_the_neighbours_in_the_item_graph_largest_first(five_nodes, options):
    model = drawn("lattice", five_nodes, **options)
    *_, A = slow(five_nodes, parameters_of(model), **options)
    for i in range(3):
        (insight,) = model.about_item(i)
        expected = {j: A[i, j] for j in range(3) if j != i and A[i, j] > 0}
        assert insight.weights == pytest.approx(expected, abs=1e-5)
        assert list(insight.weights.values()) == sorted(insight.weights.values(), reverse=True)


def test_values_stored_for_missing_features_never_matter(five_nodes):
    changed = with_99_where_missing(five_nodes)
    first, second = vectors_of(drawn("lattice", five_nodes)), vectors_of(drawn("lattice", changed))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": -1}, "option 'num_layers' of lattice: expected 0 or more, got -1"),
        ({"num_item_layers": 0}, "option 'num_item_layers' of lattice: expected 1 or more, got 0"),
        ({"raw_share": 1.5}, "option 'raw_share' of lattice: expected 1 or less, got 1.5"),
        ({"k": 0}, "option 'k' of lattice: expected 1 or more, got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(five_nodes, options, message):
    with pytest.raises(ValueError, match=message):
        models.build("lattice", five_nodes, **options)
