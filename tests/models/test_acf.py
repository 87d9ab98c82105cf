"""ACF's two attentions as slow loops; blocks, missing modalities, insights about a user."""

import numpy as np
import pytest
import torch

from medley.models import Recommender, acf
from medley.models.inputs import choose
from medley.testing import drawn, parameters_of, softmax, with_99_where_missing
from medley.types import Features, Inputs, Interactions, Triplets

SEEN = {0: [0, 1, 2], 1: [0, 1], 2: [2, 3], 3: [1, 2, 3], 4: [], 5: [0]}
BATCH = Triplets(torch.tensor([0, 3, 0, 5]), torch.tensor([0, 2, 1, 0]), torch.tensor([4, 0, 3, 2]))


@pytest.fixture
def inputs() -> Inputs:
    """Item 2 lacks the acoustic modality, item 3 has no modality; item 4 and user 4 have no interactions."""
    rng = np.random.default_rng(1)
    pairs = np.array([(user, item) for user, items in SEEN.items() for item in items], "i4")
    train = Interactions(pairs[:, 0], pairs[:, 1], num_users=6, num_items=5)
    return Inputs(
        train,
        {
            "visual": Features(rng.normal(size=(5, 4)).astype("f4"), np.array([True, True, True, False, True])),
            "acoustic": Features(rng.normal(size=(5, 2)).astype("f4"), np.array([True, True, False, False, True])),
        },
    )


def attention(
    model: Recommender, inputs: Inputs, u: int, items: list[int]
) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Returns alpha over these items of the user, and beta (modality -> weight) of each item."""
    w = parameters_of(model)
    scores, betas = [], []
    for i in items:
        x = {m: w[f"E.{m}.weight"] @ f.values[i] for m, f in inputs.features.items() if f.present[i]}
        if len(inputs.features) > 1:
            v_u = w["V_u.weight"] @ w["p"][u] + w["V_u.bias"]
            logits = [w["w2.weight"][0] @ np.maximum(v_u + w["V_x.weight"] @ x_m, 0) for x_m in x.values()]
            beta = dict(zip(x, softmax(logits), strict=True)) if x else {}
        else:
            beta = dict.fromkeys(x, 1.0)
        x_ul = sum((beta[m] * x[m] for m in x), np.zeros(3))
        inside = w["W_u.weight"] @ w["p"][u] + w["W_u.bias"] + w["W_v.weight"] @ w["q"][i]
        inside = inside + w["W_p.weight"] @ w["y"][i] + w["W_x.weight"] @ x_ul
        scores.append(w["w1.weight"][0] @ np.maximum(inside, 0))
        betas.append(beta)
    return softmax(scores), betas


def expected_user(model: Recommender, inputs: Inputs, u: int, items: list[int]) -> np.ndarray:
    """Returns p_u + sum_l alpha_ul y_l."""
    w = parameters_of(model)
    alpha, _ = attention(model, inputs, u, items)
    return w["p"][u] + sum((a * w["y"][i] for a, i in zip(alpha, items, strict=True)), np.zeros(3))


@pytest.mark.parametrize("modalities", [["visual", "acoustic"], ["visual"], ["acoustic"]])
def test_users_add_their_items_weighted_by_both_attentions(inputs: Inputs, modalities: list[str]):
    inputs = choose(inputs, modalities)
    model = drawn("acf", inputs)
    with torch.no_grad():
        user, item = model()
    expected = [expected_user(model, inputs, u, items) for u, items in SEEN.items()]
    assert np.allclose(user.numpy(), expected, atol=1e-4)
    assert torch.equal(item, model.get_parameter("q"))


def test_the_parts_of_a_score_are_the_users_own_vector_and_the_seen_items(inputs: Inputs):
    model = drawn("acf", inputs)
    w = parameters_of(model)
    with torch.no_grad():
        parts = {name: (user @ item.T).numpy() for name, (user, item) in model.parts().items()}
    assert list(parts) == ["id", "history"]
    history = [expected_user(model, inputs, u, items) - w["p"][u] for u, items in SEEN.items()]
    assert np.allclose(parts["id"], w["p"] @ w["q"].T, atol=1e-4)
    assert np.allclose(parts["history"], history @ w["q"].T, atol=1e-4)


def test_a_user_without_items_is_represented_by_the_own_vector(inputs: Inputs):
    model = drawn("acf", inputs)
    with torch.no_grad():
        assert torch.equal(model().user[4], model.get_parameter("p")[4])


@pytest.mark.parametrize("leave_out", [True, False])
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_the_loss_is_bpr_and_l2_of_the_rows_of_the_batch(inputs: Inputs, reg: float, leave_out: bool):
    model = drawn("acf", inputs, reg=reg, leave_out=leave_out)
    w = parameters_of(model)
    loss = 0.0
    for u, i, j in torch.stack(BATCH).T.tolist():
        user = expected_user(model, inputs, u, [item for item in SEEN[u] if item != i or not leave_out])
        loss += np.log1p(np.exp(user @ (w["q"][j] - w["q"][i]))) / 4
        rows = [w["p"][u], w["q"][i], w["q"][j], w["y"][i], w["y"][j]]
        loss += reg * sum((row**2).sum() for row in rows) / 2 / 4
    assert model.loss(BATCH).item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("block", [1, 9, 12])  # numbers: one pair, three pairs, four pairs of size 3
def test_blocks_that_are_computed_again_for_the_gradient_change_nothing(inputs: Inputs, monkeypatch, block: int):
    model = drawn("acf", inputs)
    whole = model.loss(BATCH)
    whole.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    monkeypatch.setattr(acf, "BLOCK", block)
    blocks = model.loss(BATCH)
    blocks.backward()
    assert torch.allclose(blocks, whole)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5), name


def test_values_stored_for_missing_features_never_matter(inputs: Inputs):
    with torch.no_grad():
        assert torch.equal(drawn("acf", inputs)().user, drawn("acf", with_99_where_missing(inputs))().user)


def test_insights_rank_the_items_and_modalities_by_weight(inputs: Inputs):
    model = drawn("acf", inputs)
    items, modalities = model.about_user(0)
    alpha, betas = attention(model, inputs, 0, SEEN[0])
    assert items.kind == "items" and modalities.kind == "names"
    assert list(items.weights) == [SEEN[0][place] for place in np.argsort(-alpha)]
    assert list(items.weights.values()) == pytest.approx(sorted(alpha, reverse=True), abs=1e-5)
    for m, weight in modalities.weights.items():
        assert weight == pytest.approx(sum(a * beta.get(m, 0) for a, beta in zip(alpha, betas, strict=True)), abs=1e-5)
    assert list(modalities.weights.values()) == sorted(modalities.weights.values(), reverse=True)
    assert model.about_user(4) == []
