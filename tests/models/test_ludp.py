"""LUDP's equations once more, as slow loops over a graph of five nodes; its variants, gaps and explanations."""

import dataclasses

import numpy as np
import pytest
import torch

from medley import models
from medley.testing import (
    BATCH,
    DIM,
    SEEN,
    bpr,
    drawn,
    leaky_relu,
    lightgcn,
    nearest,
    parameters_of,
    scores_of,
    softmax,
    vectors_of,
    with_99_where_missing,
)
from medley.types import Features, Inputs, Triplets


def fused(w: dict, side: str, fusion: str, x: dict[str, np.ndarray | None]) -> tuple[np.ndarray, dict[str, float]]:
    """Eq. 6-8 for one user or item: the fused vector and the weights; None stands for a missing modality."""
    x = {m: vector for m, vector in x.items() if vector is not None}
    weights = dict.fromkeys(x, 1.0)
    if fusion == "attention":
        prefix = f"{side}.fusion"
        score = {
            m: w[f"{prefix}.q"][:, 0] @ np.tanh(w[f"{prefix}.W.{m}.weight"] @ v + w[f"{prefix}.b"])
            for m, v in x.items()
        }
        weights = dict(zip(x, softmax(list(score.values())), strict=True))
    if fusion == "concat":
        x = {m: w[f"{side}.fusion.W.{m}.weight"] @ vector for m, vector in x.items()}
    return sum((weights[m] * x[m] for m in x), np.zeros(DIM)), weights


def slow(inputs, w, num_layers, num_item_layers, k, fusion, edge_weight, normalisation="sqrt"):
    """E_u, P, E_i, H by loops, and the attention weights of users and items."""
    means = lightgcn(w["e_user"], w["e_item"], num_layers)  # eq. 1
    E_u, E_i = (mean * (num_layers + 1) for mean in means)  # eq. 2: sums of the layers

    h = {}
    for m, features in inputs.features.items():  # eq. 5
        alike = {i: nearest(features, i, k) for i in range(3)}  # eq. 3, 4
        edges = alike if edge_weight == "cosine" else {i: dict.fromkeys(row, 1.0) for i, row in alike.items()}
        degree = {i: sum(row.values()) for i, row in edges.items()}
        layer = w["e_item"]
        for _ in range(num_item_layers):
            new = np.zeros((3, DIM))
            for i, row in edges.items():
                for j, weight in row.items():
                    other = 1 if normalisation == "sqrt" else degree[j]
                    if degree[i] > 0 and other > 0:  # sums over opposite directions may not be: then nothing flows
                        new[i] += weight / np.sqrt(degree[i] * other) * layer[j]
            layer = new
        h[m] = layer
    H, alpha, P, beta = np.zeros((3, DIM)), {}, np.zeros((2, DIM)), {}
    for i in range(3):
        present = {m: h[m][i] if features.present[i] else None for m, features in inputs.features.items()}
        H[i], alpha[i] = fused(w, "item_side", fusion, present)
    for u, seen in SEEN.items():
        p = {}
        for m, features in inputs.features.items():
            W1, W2 = (w.get(f"user_side.W.{m}.{n}.weight") for n in (0, 2))
            of_user = [W1 @ features.values[j] for j in seen if features.present[j]] if W1 is not None else []
            p[m] = (
                leaky_relu(W2 @ leaky_relu(np.mean(of_user, axis=0))) + w["e_user"][u] if of_user else None
            )  # eq. 10, 11
        P[u], beta[u] = fused(w, "user_side", fusion, p)
    return E_u, P, E_i, H, beta, alpha


@pytest.mark.parametrize("fusion", ["attention", "sum", "concat"])
@pytest.mark.parametrize(
    ("num_layers", "num_item_layers", "k", "edge_weight", "normalisation"),
    [
        (2, 1, 2, "one", "sqrt"),
        (0, 1, 3, "cosine", "sqrt"),
        (1, 2, 2, "one", "symmetric"),
        (2, 2, 2, "cosine", "symmetric"),
        (3, 3, 1, "one", "sqrt"),
    ],
)
def test_equations_1_to_14(five_nodes, num_layers, num_item_layers, k, edge_weight, normalisation, fusion):
    options = {"num_layers": num_layers, "num_item_layers": num_item_layers, "k": k}
    options |= {"edge_weight": edge_weight, "normalisation": normalisation}
    model = drawn("ludp", five_nodes, fusion=fusion, **options)
    E_u, P, E_i, H, _, _ = slow(five_nodes, parameters_of(model), fusion=fusion, **options)
    user, item = vectors_of(model)
    assert np.allclose(user, E_u + P, atol=1e-4)  # eq. 13
    assert np.allclose(item, E_i + H, atol=1e-4)


def test_each_of_the_two_graphs_can_be_left_out(five_nodes):
    options = {"num_layers": 2, "num_item_layers": 1, "k": 2, "fusion": "attention", "edge_weight": "one"}
    for without in ("use_item_graph", "use_user_graph"):
        model = drawn("ludp", five_nodes, **options, **{without: False})
        w = parameters_of(model)
        gone = "item_side" if without == "use_item_graph" else "user_side"
        assert not any(name.startswith(gone) for name in w)
        complete = parameters_of(drawn("ludp", five_nodes, **options))
        E_u, P, E_i, H, _, _ = slow(five_nodes, complete | w, **options)
        user, item = vectors_of(model)
        assert np.allclose(user, E_u + (P if gone == "item_side" else 0), atol=1e-5)
        assert np.allclose(item, E_i + (H if gone == "user_side" else 0), atol=1e-5)


def test_equation_15_is_mean_bpr_and_the_squares_of_all_parameters(five_nodes):
    model = drawn("ludp", five_nodes, reg=0.3)
    l2 = sum((value**2).sum() for value in parameters_of(model).values())
    assert model.loss(BATCH).item() == pytest.approx(bpr(scores_of(model), BATCH) + 0.3 * l2, rel=1e-5)


def test_one_modality_needs_no_attention_and_gets_all_weight(five_nodes):
    inputs = Inputs(five_nodes.train, {"smell": five_nodes.features["visual"]})
    model = drawn("ludp", inputs, k=2)
    assert not any("fusion" in name for name in parameters_of(model))
    E_u, P, E_i, H, _, _ = slow(inputs, parameters_of(model), 2, 1, 2, "sum", "one")
    user, item = vectors_of(model)
    assert np.allclose(user, E_u + P, atol=1e-5) and np.allclose(item, E_i + H, atol=1e-5)
    assert model.about_user(0) == model.about_item(0) == []


def test_what_is_stored_for_a_missing_feature_never_matters(five_nodes):
    changed = with_99_where_missing(five_nodes)
    for scale in ("none", "standard"):
        first = vectors_of(drawn("ludp", five_nodes, feature_scale=scale))
        second = vectors_of(drawn("ludp", changed, feature_scale=scale))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_who_has_no_modality_and_no_interaction_keeps_the_vector_of_the_interaction_graph(five_nodes):
    train = dataclasses.replace(five_nodes.train, num_users=3, num_items=4)
    features = {
        m: Features(np.vstack([f.values, np.zeros((1, f.values.shape[1]), "f4")]), np.append(f.present, False))
        for m, f in five_nodes.features.items()
    }
    for fusion in ("attention", "sum", "concat"):
        model = drawn("ludp", Inputs(train, features), fusion=fusion)
        user, item = vectors_of(model)
        assert np.allclose(user[2], model.get_parameter("e_user")[2].detach())
        assert np.allclose(item[3], model.get_parameter("e_item")[3].detach())
        batch = Triplets(torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([3, 0]))
        model.loss(batch).backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_modality_that_an_item_lacks_adds_nothing_to_the_score(five_nodes):
    model = drawn("ludp", five_nodes, use_user_graph=False)
    with torch.no_grad():
        parts = model.contributions(torch.tensor([0]), torch.tensor([[0, 2]]))
    assert parts["acoustic"][0, 1] == 0 and parts["acoustic"][0, 0] != 0


@pytest.mark.parametrize("fusion", ["attention", "sum", "concat"])
@pytest.mark.parametrize("left_out", [None, "use_item_graph", "use_user_graph"])
def test_parts_sum_to_the_scores(five_nodes, fusion, left_out):
    model = drawn("ludp", five_nodes, fusion=fusion, **({left_out: False} if left_out else {}))
    users, items = torch.tensor([1, 0]), torch.tensor([[0, 2], [2, 1]])
    with torch.no_grad():
        parts = model.contributions(users, items)
    assert list(parts) == ["id", "visual", "acoustic"]
    assert np.allclose(sum(parts.values()), scores_of(model)[users[:, None], items], rtol=1e-4, atol=1e-4)


def test_parts_halve_the_products_of_two_modalities_between_the_two(five_nodes):
    model = drawn("ludp", five_nodes, fusion="sum", k=2)
    E_u, P, E_i, H, _, _ = slow(five_nodes, parameters_of(model), 2, 1, 2, "sum", "one")
    alone = {}
    for m in five_nodes.features:
        only = Inputs(five_nodes.train, {m: five_nodes.features[m]})
        E_u, P, E_i, H, _, _ = slow(only, parameters_of(model), 2, 1, 2, "sum", "one")
        alone[m] = P[0], H[1]
    (P_v, H_v), (P_a, H_a) = alone["visual"], alone["acoustic"]
    with torch.no_grad():
        parts = {m: part.item() for m, part in model.contributions(torch.tensor([0]), torch.tensor([[1]])).items()}
    assert parts["id"] == pytest.approx(E_u[0] @ E_i[1], rel=1e-4)
    visual = P_v @ E_i[1] + E_u[0] @ H_v + P_v @ H_v + (P_v @ H_a + P_a @ H_v) / 2
    assert parts["visual"] == pytest.approx(visual, rel=1e-4)


def test_insights_are_the_weights_of_attention_largest_first(five_nodes):
    model = drawn("ludp", five_nodes, k=2)
    *_, beta, alpha = slow(five_nodes, parameters_of(model), 2, 1, 2, "attention", "one")
    for row, expected in beta.items():
        (insight,) = model.about_user(row)
        assert insight.weights == pytest.approx({"visual": 0, "acoustic": 0} | expected, abs=1e-5)
        assert list(insight.weights.values()) == sorted(insight.weights.values(), reverse=True)
    for row, expected in alpha.items():
        (insight,) = model.about_item(row)
        assert insight.weights == pytest.approx({"visual": 0, "acoustic": 0} | expected, abs=1e-5)
    assert alpha[2] == {"visual": 1.0}


def test_fusions_without_attention_and_graphs_that_are_left_out_have_no_insights(five_nodes):
    for options in ({"fusion": "sum"}, {"fusion": "concat"}):
        model = models.build("ludp", five_nodes, dim=DIM, **options)
        assert model.about_user(0) == model.about_item(0) == []
    assert models.build("ludp", five_nodes, dim=DIM, use_user_graph=False).about_user(0) == []
    assert models.build("ludp", five_nodes, dim=DIM, use_item_graph=False).about_item(0) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_item_graph": False, "use_user_graph": False}, "choose the model lightgcn, combine=sum"),
        ({"num_item_layers": 0}, "option 'num_item_layers' of ludp: expected 1 or more, got 0"),
        ({"num_layers": -1}, "option 'num_layers' of ludp: expected 0 or more, got -1"),
        ({"k": 0}, "option 'k' of ludp: expected 1 or more, got 0"),
        ({"fusion": "max"}, "'fusion' of ludp"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(five_nodes, options, message):
    with pytest.raises(ValueError, match=message):
        models.build("ludp", five_nodes, **options)


def test_a_data_set_without_features_is_refused(five_nodes):
    with pytest.raises(ValueError, match="at least one modality"):
        models.build("ludp", Inputs(five_nodes.train, {}))
