"""FREEDOM's equations once more, as slow loops over a graph of five nodes; its draws, options and gaps."""

import numpy as np
import pytest
import torch

from medley import models
from medley.testing import BATCH, DIM, EDGES, bpr, lightgcn, nearest, parameters_of, vectors_of
from medley.types import Inputs, Interactions, Triplets


def smoothed(w: dict, inputs: Inputs, k: int, num_item_layers: int, weights: dict[str, float]) -> np.ndarray:
    h = w["e_item"]
    for _ in range(num_item_layers):
        new = np.zeros((3, DIM))
        for i in range(3):
            has = {m: weights[m] for m, features in inputs.features.items() if features.present[i]}
            for m in has:
                near = {j: nearest(inputs.features[m], j, k) for j in range(3)}
                for j in near[i]:
                    new[i] += has[m] / sum(has.values()) / np.sqrt(len(near[i]) * len(near[j])) * h[j]
        h = new
    return h


@pytest.mark.parametrize("weights", [None, {"visual": 1.0, "acoustic": 3.0}])
@pytest.mark.parametrize(("num_layers", "num_item_layers", "k"), [(2, 1, 2), (0, 1, 1), (1, 2, 2), (3, 3, 3)])
def test_vectors_are_those_of_a_slow_loop(five_nodes, num_layers, num_item_layers, k, weights):
    options = {"num_layers": num_layers, "num_item_layers": num_item_layers, "k": k, "modality_weights": weights}
    model = models.build("freedom", five_nodes, dim=DIM, **options).eval()
    w = parameters_of(model)
    user, item = lightgcn(w["e_user"], w["e_item"], num_layers)
    item = item + smoothed(w, five_nodes, k, num_item_layers, weights or {"visual": 1.0, "acoustic": 1.0})
    found_user, found_item = vectors_of(model)
    assert np.allclose(found_user, user, atol=1e-6)
    assert np.allclose(found_item, item, atol=1e-6)


def test_in_training_ids_are_propagated_on_the_edges_that_stay_with_their_degrees(five_nodes):
    model = models.build("freedom", five_nodes, dim=DIM, dropout=0.4, k=2).train()
    torch.manual_seed(0)
    model.start_epoch()
    graph = model.thinned.by_row.arrays
    row = np.repeat(np.arange(2), np.diff(graph.start.numpy()))
    edges = list(zip(row.tolist(), graph.index.tolist(), strict=True))
    assert len(edges) == 2 and set(edges) < set(EDGES)
    w = parameters_of(model)
    user, item = lightgcn(w["e_user"], w["e_item"], 2, edges)
    assert np.allclose(vectors_of(model)[0], user, atol=1e-6)
    item = item + smoothed(w, five_nodes, 2, 1, {"visual": 1.0, "acoustic": 1.0})
    assert np.allclose(vectors_of(model)[1], item, atol=1e-6)


def test_the_loss_is_bpr_of_the_score_and_of_each_modality_that_both_items_have(five_nodes):
    model = models.build("freedom", five_nodes, dim=DIM, dropout=0.0, content_weight=0.5, feature_scale="none", k=2)
    batch = Triplets(*(torch.cat([part, part[:1]]) for part in BATCH))
    batch.neg[-1] = 1  # the only triplet whose items both have the acoustic modality
    w, (user, item) = parameters_of(model), vectors_of(model)
    expected = bpr(user @ item.T, batch)
    for m, features in five_nodes.features.items():
        projected = features.values @ w[f"content_bpr.{m}.W.weight"].T
        both = features.present[batch.pos] & features.present[batch.neg]
        expected += 0.5 * bpr(user @ projected.T, Triplets(*(part[both] for part in batch)))
    assert model.loss(batch).item() == pytest.approx(expected, abs=1e-6)


def test_a_batch_in_which_no_triplet_has_a_modality_has_a_finite_loss(five_nodes):
    model = models.build("freedom", five_nodes, dim=DIM)
    model.loss(BATCH).backward()  # each triplet holds item 2, which lacks the acoustic modality
    assert model.get_parameter("content_bpr.acoustic.W.weight").grad.eq(0).all()
    assert model.get_parameter("content_bpr.visual.W.weight").grad.ne(0).any()


def test_without_content_weight_there_is_nothing_to_project(five_nodes):
    model = models.build("freedom", five_nodes, dim=DIM, content_weight=0.0)
    assert set(parameters_of(model)) == {"e_user", "e_item"}
    assert model.loss(BATCH).isfinite()


def test_edges_of_busy_nodes_are_left_out_more_often_in_the_proportion_of_p(five_nodes):
    # item 0 has 9 users and item 1 one, all users have one item: p = 1/3 for nine edges, 1 for the last
    train = Interactions(np.arange(10, dtype="i4"), np.array([0] * 9 + [1], "i4"), num_users=10, num_items=3)
    model = models.build("freedom", five_nodes._replace(train=train), dim=DIM, dropout=0.9)
    kept = np.zeros(10)
    torch.manual_seed(0)
    for _ in range(800):
        model.start_epoch()
        kept += np.diff(model.thinned.by_row.start.numpy())
    assert kept.sum() == 800
    assert kept[9] / 800 == pytest.approx(1 / (1 + 9 / 3), abs=0.06)  # four standard deviations
    assert kept[:9].min() > 35  # 67 each are expected


def test_every_epoch_draws_anew_and_ranking_reads_all_edges(checkerboard):
    model = models.build("freedom", checkerboard, dim=DIM, dropout=0.5).eval()
    before = vectors_of(model)
    drawn = set()
    for _ in range(3):
        model.start_epoch()
        drawn.add(tuple(model.thinned.by_row.index.tolist()))
        num_edges = len(checkerboard.train)
        assert len(model.thinned.by_row.index) == num_edges - num_edges // 2
    assert len(drawn) == 3
    assert all(np.array_equal(now, then) for now, then in zip(vectors_of(model), before, strict=True))


def test_without_dropout_training_reads_all_edges_too(checkerboard):
    model = models.build("freedom", checkerboard, dim=DIM, dropout=0.0)
    model.start_epoch()
    assert all(np.array_equal(a, b) for a, b in zip(vectors_of(model.train()), vectors_of(model.eval()), strict=True))


def test_an_item_without_any_modality_keeps_its_own_vector_alone(five_nodes):
    present = np.array([True, True, False])
    lacking = {m: features._replace(present=present) for m, features in five_nodes.features.items()}
    model = models.build("freedom", five_nodes._replace(features=lacking), dim=DIM).eval()
    w, (_, item) = parameters_of(model), vectors_of(model)
    assert np.allclose(item[2], lightgcn(w["e_user"], w["e_item"], 2)[1][2], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "option 'dropout' of freedom: expected less than 1, got 1.0"),
        ({"num_item_layers": 0}, "option 'num_item_layers' of freedom: expected 1 or more, got 0"),
        ({"modality_weights": {"visual": 1.0}}, "modality_weights: expected a positive number for each of visual, ac"),
        ({"modality_weights": {"visual": 1.0, "acoustic": 0.0}}, "acoustic' of freedom: expected more than 0"),
    ],
)
def test_options_out_of_range_are_refused(five_nodes, options, message):
    with pytest.raises(ValueError, match=message):
        models.build("freedom", five_nodes, **options)
