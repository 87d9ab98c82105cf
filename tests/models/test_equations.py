"""The equations of several models as slow loops over a graph of five nodes."""

import numpy as np
import pytest
import torch

from medley import models
from medley.data.dataset import Dataset
from medley.nn.losses import bpr_loss
from medley.runs import TrainSettings
from medley.testing import (
    BATCH,
    SEEN,
    SEEN_BY,
    bpr,
    content_of,
    drawn,
    leaky_relu,
    lightgcn,
    parameters_of,
    scores_of,
    with_99_where_missing,
)
from medley.training.fit import fit
from medley.types import Inputs, Triplets


def test_mf(five_nodes: Inputs):
    model = models.build("mf", five_nodes, dim=3)
    w = parameters_of(model)
    expected = [[w["p"][u] @ w["q"][i] for i in range(3)] for u in range(2)]
    assert np.allclose(scores_of(model), expected, atol=1e-6)


def test_popularity(five_nodes: Inputs):
    assert np.array_equal(scores_of(models.build("popularity", five_nodes)), [[1, 1, 1], [1, 1, 1]])


def test_vbpr_equation_4(five_nodes: Inputs):
    model = models.build("vbpr", five_nodes, dim=3, feature_scale="none")
    torch.nn.init.normal_(model.get_parameter("beta"))
    w, f = parameters_of(model), {m: features.values for m, features in five_nodes.features.items()}
    for u in range(2):
        for i in range(3):
            score = w["beta"][i, 0] + w["p"][u] @ w["q"][i]
            for m in ("visual", "acoustic"):
                score += w["theta"][u] @ (w[f"E.{m}.weight"] @ f[m][i]) + w[f"beta_content.{m}.weight"][0] @ f[m][i]
            assert scores_of(model)[u, i] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("use_content", [False, True])
@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_lightgcn_equations_3_and_4(five_nodes: Inputs, num_layers: int, combine: str, use_content: bool):
    own = {"feature_scale": "none"} if use_content else {}
    model = drawn("lightgcn", five_nodes, num_layers=num_layers, combine=combine, use_content=use_content, **own)
    w = parameters_of(model)
    assert ("e0_item" in w) != use_content
    first = np.stack([content_of(w, "content", five_nodes, i) for i in range(3)]) if use_content else w["e0_item"]
    user, item = lightgcn(w["e0_user"], first, num_layers)  # means
    scale = num_layers + 1 if combine == "sum" else 1
    scores = scale * user @ (scale * item).T
    assert np.allclose(scores_of(model), scores, atol=1e-6 * np.abs(scores).max())
    rows = [[w["e0_user"][u], first[i], first[j]] for u, i, j in torch.stack(BATCH).T.tolist()]
    expected = bpr(scores) + model.reg * np.square(rows).sum() / (2 * len(rows))
    assert model.loss(BATCH).item() == pytest.approx(expected, rel=1e-5)


def test_lightgcn_reads_what_an_item_looks_like_only_where_it_is_asked_to(five_nodes: Inputs):
    changed = five_nodes._replace(
        features={m: f._replace(values=f.values[::-1].copy()) for m, f in five_nodes.features.items()}
    )
    for use_content in (False, True):
        one, other = (models.build("lightgcn", x, dim=3, use_content=use_content) for x in (five_nodes, changed))
        assert np.array_equal(scores_of(one), scores_of(other)) != use_content
        assert one.reads_features == use_content


@pytest.mark.parametrize("use_id", [True, False])
@pytest.mark.parametrize("combination", ["element-wise", "concat"])
@pytest.mark.parametrize("aggregation", ["mean", "max"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_mmgcn_equations_2_to_9(five_nodes: Inputs, num_layers: int, aggregation: str, combination: str, use_id: bool):
    options = {"num_layers": num_layers, "aggregation": aggregation, "combination": combination, "use_id": use_id}
    model = models.build("mmgcn", five_nodes, dim=3, feature_scale="none", **options)
    pool = {"mean": np.mean, "max": np.max}[aggregation]
    w = parameters_of(model)
    total_user, total_item = np.zeros((2, 3)), np.zeros((3, 3))
    for m, features in five_nodes.features.items():
        neighbours_u = {u: [i for i in items if features.present[i]] for u, items in SEEN.items()}
        neighbours_i = {i: users if features.present[i] else [] for i, users in SEEN_BY.items()}
        user = [w[f"branches.{m}.user"][u] for u in range(2)]
        item = [features.values[i].astype(float) for i in range(3)]
        for layer in range(num_layers):
            W1, W2, W3 = (w[f"branches.{m}.{W}.{layer}.weight"] for W in ("W1", "W2", "W3"))

            def combine(x, neighbours, x_id, W1=W1, W2=W2, W3=W3):
                h = leaky_relu(pool([W1 @ j for j in neighbours], axis=0)) if neighbours else np.zeros(3)  # eq. 2, 3
                hat = leaky_relu(W2 @ x) + (x_id if use_id else 0)  # eq. 5
                if combination == "concat":
                    return leaky_relu(W3 @ np.concatenate([h, hat]))  # eq. 6
                return leaky_relu(W3 @ h + hat)  # eq. 7

            id_user, id_item = w.get("id_user", np.zeros((2, 3))), w.get("id_item", np.zeros((3, 3)))
            new_user = [combine(user[u], [item[j] for j in neighbours_u[u]], id_user[u]) for u in range(2)]
            new_item = [combine(item[i], [user[j] for j in neighbours_i[i]], id_item[i]) for i in range(3)]
            user, item = new_user, new_item
        total_user += np.array(user)  # eq. 9
        total_item += np.array([item[i] if features.present[i] else np.zeros(3) for i in range(3)])
    assert np.allclose(scores_of(model), total_user @ total_item.T, atol=1e-5)


def test_a_missing_modality_has_no_part_in_an_items_score(five_nodes: Inputs):
    model = models.build("mmgcn", five_nodes, dim=3)
    with torch.no_grad():
        parts = model.contributions(torch.tensor([0]), torch.tensor([[0, 2]]))
    assert parts["acoustic"][0, 1] == 0
    assert parts["acoustic"][0, 0] != 0


def test_values_stored_for_missing_features_never_matter(five_nodes: Inputs):
    changed = with_99_where_missing(five_nodes)
    for name in ("vbpr", "mmgcn"):
        expected = scores_of(models.build(name, five_nodes, dim=3))
        assert np.array_equal(scores_of(models.build(name, changed, dim=3)), expected)


@pytest.mark.parametrize(
    "options", [{}, {"combination": "concat", "use_id": False}, {"aggregation": "max", "num_layers": 1}]
)
def test_mmgcn_computes_for_the_rows_of_a_batch_what_it_computes_for_all(checkerboard: Inputs, options: dict):
    model = models.build("mmgcn", checkerboard, dim=8, **options)
    batch = Triplets(torch.tensor([3, 0, 3, 7]), torch.tensor([1, 2, 5, 1]), torch.tensor([31, 5, 0, 4]))
    model.loss(batch).backward()
    lean = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    whole = bpr_loss(model(), batch) + model.reg * sum(p.square().sum() for p in model.parameters())
    whole.backward()
    assert torch.allclose(model.loss(batch), whole)
    for name, parameter in model.named_parameters():
        assert torch.allclose(lean[name], parameter.grad, atol=1e-6), name


@pytest.mark.parametrize("use_id", [True, False])
def test_mmgcn_trains_all_but_users_and_ids_where_these_are_frozen(checkerboard: Inputs, use_id: bool):
    model = models.build("mmgcn", checkerboard, dim=8, use_id=use_id, freeze_vectors=True, reg=0.1)
    assert np.array_equal(scores_of(model), scores_of(models.build("mmgcn", checkerboard, dim=8, use_id=use_id)))
    vectors = {"id_user", "id_item"} if use_id else set()
    vectors |= {f"branches.{m}.user" for m in checkerboard.features}
    assert {name for name, x in model.named_parameters() if not x.requires_grad} == vectors
    batch = Triplets(torch.tensor([3, 0]), torch.tensor([1, 2]), torch.tensor([30, 5]))
    whole = bpr_loss(model(), batch) + 0.1 * sum(x.square().sum() for x in model.parameters() if x.requires_grad)
    model.loss(batch).backward()
    assert torch.allclose(model.loss(batch), whole)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in vectors)
        assert name in vectors or parameter.grad.abs().sum() > 0


def test_frozen_vectors_stay_as_they_are_drawn_while_mmgcn_learns(simulated: Dataset):
    model = models.build("mmgcn", simulated.inputs(), dim=8, freeze_vectors=True, reg=0)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    fit(model, simulated, TrainSettings(num_epochs=3, patience=0, lr=1e-2))
    for name, x in model.state_dict().items():
        assert torch.equal(x, before[name]) == (name.startswith("id_") or name.endswith(".user")), name
