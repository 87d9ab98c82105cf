"""GRCN's equations once more, as slow loops over a graph of five nodes."""

from functools import partial

import numpy as np
import pytest
import torch

from medley import models
from medley.testing import (
    BATCH,
    DIM,
    EDGES,
    SEEN,
    SEEN_BY,
    bpr,
    drawn,
    leaky_relu,
    parameters_of,
    softmax,
    unit,
    vectors_of,
    with_99_where_missing,
)
from medley.types import Inputs, Triplets

build = partial(drawn, "grcn", seed=2)  # 2: confidences of either sign, so that some edges are cut


def shares(scores: dict) -> dict:
    return dict(zip(scores, softmax(list(scores.values())), strict=True))


def slow(
    inputs: Inputs, w: dict, num_layers: int = 2, num_routings: int = 3, edge_weight: str = "confidence", unit_id=True
):
    """Parts of the score: name -> users and items; and w_ui, w_iu by edge."""
    parts, of_users, of_items = {}, {}, {}
    for m, f in inputs.features.items():
        item = {}
        for i in range(3):
            x = w[f"prototypes.{m}.W.weight"] @ f.values[i] + w[f"prototypes.{m}.W.bias"]
            item[i] = unit(leaky_relu(x)) if f.present[i] else np.zeros(DIM)
        near = {u: [i for i in items if f.present[i]] for u, items in SEEN.items()}
        near_i = {i: users if f.present[i] else [] for i, users in SEEN_BY.items()}
        user = {u: unit(w[f"prototypes.{m}.user"][u]) for u in SEEN}
        for _ in range(num_routings):
            for u in SEEN:
                p = shares({i: user[u] @ item[i] for i in near[u]})
                user[u] = unit(user[u] + sum((p[i] * item[i] for i in near[u]), np.zeros(DIM)))
        s_u = {u: shares({i: user[u] @ item[i] for i in near[u]}) for u in SEEN}
        s_i = {i: shares({u: user[u] @ item[i] for u in near_i[i]}) for i in SEEN_BY}
        of_users[m] = {(u, i): s_u[u].get(i, 0) for u, i in EDGES}
        of_items[m] = {(u, i): s_i[i].get(u, 0) for u, i in EDGES}
        parts[m] = (
            np.array([user[u] + sum((s_u[u][i] * item[i] for i in near[u]), np.zeros(DIM)) for u in range(2)]),
            np.array([item[i] + sum((s_i[i][u] * user[u] for u in near_i[i]), np.zeros(DIM)) for i in range(3)]),
        )
    w_ui, w_iu = {}, {}
    for u, i in EDGES:
        s_u, s_i = [of_users[m][u, i] for m in of_users], [of_items[m][u, i] for m in of_items]
        if edge_weight == "confidence":
            s_u, s_i = s_u * w["c_item"][i], s_i * w["c_user"][u]
        pool = np.mean if edge_weight == "mean" else np.max
        w_ui[u, i], w_iu[u, i] = max(0, pool(s_u)), max(0, pool(s_i))
    user, item = w["e_user"], w["e_item"]
    if unit_id:
        user, item = unit(user), unit(item)
    total_user, total_item = user, item
    for _ in range(num_layers):
        new_user, new_item = np.zeros((2, DIM)), np.zeros((3, DIM))
        for u, i in EDGES:
            new_user[u] += w_ui[u, i] * item[i]
            new_item[i] += w_iu[u, i] * user[u]
        user, item = new_user, new_item
        total_user, total_item = total_user + user, total_item + item
    return {"id": (total_user, total_item)} | parts, w_ui, w_iu


@pytest.mark.parametrize("edge_weight", ["confidence", "max", "mean"])
@pytest.mark.parametrize(
    ("num_layers", "num_routings", "unit_id"), [(2, 3, False), (1, 1, True), (3, 0, True), (0, 2, False)]
)
def test_refining_convolution_and_prediction(five_nodes, num_layers, num_routings, unit_id, edge_weight):
    options = {"num_layers": num_layers, "num_routings": num_routings, "edge_weight": edge_weight, "unit_id": unit_id}
    model = build(five_nodes, **options)
    w = parameters_of(model)
    assert ("c_user" in w) == (edge_weight == "confidence")
    parts, *_ = slow(five_nodes, w, **options)
    users, items = zip(*parts.values(), strict=True)
    user, item = vectors_of(model)
    assert np.allclose(user, np.concatenate(users, axis=1), atol=1e-5)
    assert np.allclose(item, np.concatenate(items, axis=1), atol=1e-5)


def test_contents_may_refine_the_graph_and_no_more(five_nodes):
    model = build(five_nodes, fusion="id")
    parts, *_ = slow(five_nodes, parameters_of(model))
    assert all(np.allclose(x, y, atol=1e-5) for x, y in zip(vectors_of(model), parts["id"], strict=True))
    with torch.no_grad():
        assert list(model.contributions(torch.tensor([0]), torch.tensor([[1]]))) == ["id"]


def test_an_edge_without_confidence_is_cut(five_nodes):
    model = build(five_nodes)
    with torch.no_grad():
        model.get_parameter("c_item")[:2] = torch.tensor([[1.0], [-1.0]])
    _, w_ui, _ = slow(five_nodes, parameters_of(model))
    assert w_ui[0, 1] == 0 and w_ui[0, 0] > 0
    assert model.about_user(0)[0].weights == pytest.approx({0: w_ui[0, 0], 1: 0})


def test_insights_are_the_weights_of_the_edges_largest_first(five_nodes):
    model = build(five_nodes, edge_weight="max")
    _, w_ui, w_iu = slow(five_nodes, parameters_of(model), edge_weight="max")
    for u, items in SEEN.items():
        (insight,) = model.about_user(u)
        assert insight.kind == "items" and insight.weights == pytest.approx({i: w_ui[u, i] for i in items}, abs=1e-5)
        assert list(insight.weights.values()) == sorted(insight.weights.values(), reverse=True)
    for i, users in SEEN_BY.items():
        (insight,) = model.about_item(i)
        assert insight.kind == "users" and insight.weights == pytest.approx({u: w_iu[u, i] for u in users}, abs=1e-5)


def test_the_loss_is_mean_bpr_and_l2_of_the_rows_of_the_batch(five_nodes):
    model = build(five_nodes, reg=0.3)
    user, item = vectors_of(model)
    w, expected = parameters_of(model), bpr(user @ item.T, BATCH)
    for u, i, j in torch.stack(BATCH).T.tolist():
        rows = [w["e_user"][u], w["e_item"][i], w["e_item"][j]] + [
            w[f"prototypes.{m}.user"][u] for m in five_nodes.features
        ]
        expected += 0.3 / 2 / 3 * sum(row @ row for row in rows)
    assert model.loss(BATCH).item() == pytest.approx(expected, rel=1e-5)


def test_an_item_has_no_part_of_the_score_from_a_modality_that_it_lacks(five_nodes):
    model = build(five_nodes)
    parts, *_ = slow(five_nodes, parameters_of(model))
    with torch.no_grad():
        found = model.contributions(torch.tensor([0]), torch.tensor([[2, 1]]))
    assert found["acoustic"][0, 0] == 0 and found["acoustic"][0, 1] != 0
    for name, (user, item) in parts.items():
        assert np.allclose(found[name][0], [user[0] @ item[2], user[0] @ item[1]], atol=1e-5)


def test_one_modality_that_some_items_lack_leaves_finite_scores_and_gradients(five_nodes):
    only = five_nodes.features["acoustic"]
    inputs = Inputs(five_nodes.train, {"sound": only})
    model = build(inputs)
    parts, *_ = slow(inputs, parameters_of(model))
    user, _ = vectors_of(model)
    assert np.allclose(user, np.concatenate([part[0] for part in parts.values()], axis=1), atol=1e-5)
    model.loss(Triplets(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([2, 0]))).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_values_stored_for_missing_features_never_matter(five_nodes):
    first, second = vectors_of(build(five_nodes)), vectors_of(build(with_99_where_missing(five_nodes)))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("option", ["num_layers", "num_routings"])
def test_counts_below_zero_are_refused(five_nodes, option):
    with pytest.raises(ValueError, match=f"option '{option}' of grcn: expected 0 or more, got -1"):
        models.build("grcn", five_nodes, **{option: -1})
