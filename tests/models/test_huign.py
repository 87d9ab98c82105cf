"""HUIGN: its equations as slow loops, its variants, missing edges and modalities, its explanations."""

from typing import Any

import numpy as np
import pytest
import torch

from medley import models
from medley.testing import bpr, drawn, parameters_of, scores_of, softmax, with_99_where_missing
from medley.types import Features, Inputs, Interactions, Triplets

BATCH = Triplets(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([2, 0]))
JOINED = {(0, 1), (0, 2)}  # items with a common user in `shared`


@pytest.fixture
def shared(five_nodes: Inputs) -> Inputs:
    """Two users and four items; 0 and 1 share user 0, 0 and 2 share user 1. 2 lacks the acoustic modality.

    Item 3 has no interaction and both modalities.
    """
    train = Interactions(np.array([0, 0, 1, 1], "i4"), np.array([0, 1, 0, 2], "i4"), num_users=2, num_items=4)
    features = {
        m: Features(np.concatenate([of.values, of.values[:1] - 2]), np.append(of.present, True))
        for m, of in five_nodes.features.items()
    }
    return Inputs(train, features)


@pytest.fixture
def alone(shared: Inputs) -> Inputs:
    """The same with user 2, who has seen item 3 alone: item 3 shares its user with no other item."""
    train = shared.train
    pairs = np.append(train.user, 2).astype("i4"), np.append(train.item, 3).astype("i4")
    return shared._replace(train=Interactions(*pairs, num_users=3, num_items=4))


def build(inputs: Inputs, **options: Any) -> models.Recommender:
    """With large supernodes, so that distributions are far from uniform."""
    return drawn("huign", inputs, **({"levels": (3, 2), "threshold": 1} | options))


def slow_adjacency(present: np.ndarray, looped: set[int]) -> np.ndarray:
    A = np.zeros((len(present), len(present)))  # eq. 2
    for i, j in JOINED:
        if present[i] and present[j]:
            A[i, j] = A[j, i] = 1
    for i in looped:
        A[i, i] = present[i]
    return A


def slow_gammas(
    w: dict[str, np.ndarray], inputs: Inputs, m: str, num_levels: int, *, self_loops: bool = True
) -> list[np.ndarray]:
    features, gammas = inputs.features[m], []
    looped = {3} & set(inputs.train.item.tolist()) if self_loops else set()
    A, X = slow_adjacency(features.present, looped), features.values.astype(float)
    there = features.present
    for level in range(num_levels):
        degree, above = A.sum(axis=1), w[f"hierarchies.{m}.X.{level}"]
        gamma = np.zeros((len(X), len(above)))
        for i in np.flatnonzero(there):
            z = X[i] * (level == 0 and self_loops and degree[i] == 0)
            for j in np.flatnonzero(A[i]):
                z += A[i, j] * X[j] / np.sqrt(degree[i] * degree[j])  # eq. 4
            gamma[i] = softmax(np.array([z @ x for x in above]))  # eq. 6, 7
        next_A = np.zeros((len(above), len(above)))
        for k in range(len(above)):
            for other in range(len(above)):
                next_A[k, other] = sum(
                    gamma[i, k] * A[i, j] * gamma[j, other] for i in range(len(X)) for j in range(len(X))
                )  # eq. 8
        A, X, there = next_A, above, np.ones(len(above), dtype=bool)
        gammas.append(gamma)
    return gammas


def slow_items(
    w: dict[str, np.ndarray], inputs: Inputs, levels: tuple[int, ...], **options: bool
) -> dict[str, np.ndarray]:
    """Modality -> v_im (I, K)."""
    items = {}
    for m in inputs.features:
        gammas = slow_gammas(w, inputs, m, len(levels), **options)
        items[m] = np.zeros((inputs.train.num_items, sum(levels)))
        for i in range(inputs.train.num_items):
            share, shares = gammas[0][i], [gammas[0][i]]
            for gamma in gammas[1:]:
                share = share @ gamma  # eq. 11
                shares.append(share)
            items[m][i] = np.concatenate(shares)  # eq. 12
    return items


@pytest.mark.parametrize("dim", [3, 0])
@pytest.mark.parametrize("levels", [(3,), (3, 2), (2, 4, 2)])
def test_scores_are_equations_2_to_15_without_ids_too(shared: Inputs, levels: tuple[int, ...], dim: int):
    model = build(shared, levels=levels, dim=dim)
    w = parameters_of(model)
    items = slow_items(w, shared, levels)
    for u in range(2):
        for i in range(4):
            score = w["id_user"][u] @ w["id_item"][i]
            score += w["u"][u] @ sum(item[i] for item in items.values())  # eq. 14, 15
            assert scores_of(model)[u, i] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("levels", [(3,), (3, 2), (2, 4, 2)])
@pytest.mark.parametrize("name", ["shared", "alone"])
def test_an_item_without_neighbours_keeps_its_features_or_has_equal_shares_as_printed(
    name: str, levels: tuple[int, ...], self_loops: bool, request: pytest.FixtureRequest
):
    inputs = request.getfixturevalue(name)
    model = build(inputs, levels=levels, self_loops=self_loops)
    items = slow_items(parameters_of(model), inputs, levels, self_loops=self_loops)
    for m, part in model.parts().items():
        if m != "id":
            assert np.allclose(part.item.detach().numpy(), items[m], atol=1e-6)
            assert np.allclose(items[m][3, : levels[0]], 1 / levels[0]) != self_loops


@pytest.mark.parametrize("self_loops", [True, False])
def test_an_item_without_interactions_leaves_the_scores_of_all_others_as_they_are(shared: Inputs, self_loops: bool):
    with_it = build(shared, levels=(2, 4, 2), self_loops=self_loops)
    train = Interactions(shared.train.user, shared.train.item, num_users=2, num_items=3)
    features = {m: Features(of.values[:3], of.present[:3]) for m, of in shared.features.items()}
    without = build(Inputs(train, features), levels=(2, 4, 2), self_loops=self_loops)
    state = with_it.state_dict()
    without.load_state_dict({**state, "id_item": state["id_item"][:3]})
    assert np.array_equal(scores_of(without), scores_of(with_it)[:, :3])


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (0.7, 0.0, 0.0), (0.0, 0.7, 0.0), (0.0, 0.0, 0.7)])
def test_the_loss_is_equation_18_and_each_term_can_be_switched_off(shared: Inputs, weights: tuple[float, ...]):
    reg, entropy_reg, independence_reg = weights
    model = build(shared, reg=reg, intent_reg=1.0, entropy_reg=entropy_reg, independence_reg=independence_reg)
    w, expected = parameters_of(model), bpr(scores_of(model), BATCH)  # eq. 17
    for u, pos, neg in zip(*(rows.tolist() for rows in BATCH), strict=True):
        rows = [w["id_user"][u], w["u"][u], w["id_item"][pos], w["id_item"][neg]]
        expected += reg * sum((row**2).sum() for row in rows) / 4
    for m, features in shared.features.items():
        for level, gamma in enumerate(slow_gammas(w, shared, m, 2)):
            nodes = np.flatnonzero(features.present) if level == 0 else range(len(gamma))
            num_intents, X = gamma.shape[1], w[f"hierarchies.{m}.X.{level}"]
            mean_entropy = np.mean([-sum(g * np.log(g) for g in gamma[i]) / num_intents for i in nodes])
            expected += entropy_reg * mean_entropy  # eq. 9
            squares = [(X[k] @ X[j] - (k == j)) ** 2 for k in range(num_intents) for j in range(num_intents)]
            expected += independence_reg * np.sqrt(sum(squares)) / num_intents  # eq. 10
    assert model.loss(BATCH).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("intent_reg", [0.0, 1.0, 4.0])
def test_the_weights_of_intents_have_a_multiple_of_the_reg_of_ids(shared: Inputs, intent_reg: float):
    model, without = build(shared, reg=0.3, intent_reg=intent_reg), build(shared, reg=0.0)
    w, squares = parameters_of(model), 0.0
    for u, pos, neg in zip(*(rows.tolist() for rows in BATCH), strict=True):
        squares += sum((row**2).sum() for row in (w["id_user"][u], w["id_item"][pos], w["id_item"][neg]))
        squares += intent_reg * (w["u"][u] ** 2).sum()
    expected = without.loss(BATCH).item() + 0.3 * squares / (2 * len(BATCH.user))
    assert model.loss(BATCH).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("levels", [(3,), (3, 2), (2, 4, 2)])
def test_gradients_are_the_slopes_of_the_loss(shared: Inputs, levels: tuple[int, ...]):
    model = build(shared, levels=levels, entropy_reg=1.0, independence_reg=1.0).double()
    model.loss(BATCH).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        step, losses = 1e-6 * torch.sign(parameter.grad), []
        with torch.no_grad():
            for move in (step, -2 * step, step):  # above, below, back
                parameter.add_(move)
                losses.append(model.loss(BATCH).item())
        assert losses[0] - losses[1] == pytest.approx(2e-6 * parameter.grad.abs().sum().item(), rel=1e-4), name


def test_items_are_joined_when_enough_users_have_seen_both(shared: Inputs):
    """At a threshold that no pair reaches, every item keeps its own features."""
    model = build(shared, threshold=2, levels=(3,))
    w = parameters_of(model)
    visual = shared.features["visual"].values.astype(float)
    expected = np.array([softmax(w["hierarchies.visual.X.0"] @ visual[i]) for i in range(4)])
    (level,) = model.get_submodule("hierarchies.visual")()
    assert np.allclose(level.gamma.detach().numpy(), expected, atol=1e-6)


def test_an_item_whose_neighbours_all_lack_a_modality_keeps_its_own_features_there(shared: Inputs):
    """Items 1 and 2 are joined to item 0 alone, which has no visual features here."""
    features = dict(shared.features)
    features["visual"] = features["visual"]._replace(present=np.array([False, True, True, True]))
    model = build(Inputs(shared.train, features), levels=(3,))
    X = parameters_of(model)["hierarchies.visual.X.0"]
    (level,) = model.get_submodule("hierarchies.visual")()
    expected = [softmax(X @ x) for x in features["visual"].values[1:].astype(float)]
    assert np.allclose(level.gamma.detach().numpy(), [np.zeros(3), *expected], atol=1e-6)


def test_a_missing_modality_has_no_part_in_the_score_nor_in_the_distributions_of_others(shared: Inputs):
    model = build(shared)
    with torch.no_grad():
        parts = model.contributions(torch.tensor([0]), torch.tensor([[0, 2]]))
    assert parts["acoustic"][0, 1] == 0
    assert parts["acoustic"][0, 0] != 0
    assert np.array_equal(scores_of(build(with_99_where_missing(shared))), scores_of(model))


def test_one_modality_has_the_scores_of_its_part_and_the_ids(shared: Inputs):
    both = build(shared)
    alone = build(Inputs(shared.train, {"acoustic": shared.features["acoustic"]}))
    alone.load_state_dict({key: value for key, value in both.state_dict().items() if "visual" not in key})
    users, items = torch.tensor([0, 1]), torch.arange(4).expand(2, 4)
    with torch.no_grad():
        parts = both.contributions(users, items)
    assert np.allclose(scores_of(alone), (parts["id"] + parts["acoustic"]).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "levels", [(), (4, 1), (0,), 1, True, None, "", "8;4", "8,4.5", "8,four", [8, 4.0], {"8": 4}], ids=repr
)
def test_levels_other_than_numbers_of_intents_are_refused(shared: Inputs, levels: object):
    with pytest.raises(
        ValueError, match="option 'levels' of huign: expected numbers of intents, each 2 or more, such as 32,8,4, got "
    ):
        build(shared, levels=levels)


def test_options_are_the_same_after_a_round_trip_through_json(shared: Inputs):
    assert build(shared, levels=[3, 2]).spec == build(shared, levels=(3, 2)).spec


@pytest.mark.parametrize(
    ("written", "levels"), [("3,2", (3, 2)), (" 3, 2", (3, 2)), ("3", (3,)), (3, (3,)), (["3", 2], (3, 2))], ids=repr
)
def test_levels_may_be_written_as_on_a_command_line(shared: Inputs, written: object, levels: tuple[int, ...]):
    assert build(shared, levels=written).spec == build(shared, levels=levels).spec


def test_insights_of_an_item_are_its_shares_of_the_intents_largest_first(shared: Inputs):
    model = build(shared)
    insights = {insight.topic: insight for insight in model.about_item(0)}
    assert set(insights) == {f"{m}: intents of level {at}" for m in shared.features for at in (1, 2)}
    for m, vectors in slow_items(parameters_of(model), shared, (3, 2)).items():
        for at, share in ((1, vectors[0][:3]), (2, vectors[0][3:])):
            found = insights[f"{m}: intents of level {at}"].weights
            assert list(found.values()) == sorted(found.values(), reverse=True)
            assert found == pytest.approx({f"intent {k + 1}": share[k] for k in range(len(share))}, abs=1e-5)
    assert [insight.topic for insight in model.about_item(2)] == [
        "visual: intents of level 1",
        "visual: intents of level 2",
    ]


def test_insights_of_a_user_are_its_weights_of_the_intents_and_items_of_the_heaviest(shared: Inputs):
    model = build(shared)
    w = parameters_of(model)
    fine, coarse, examples = model.about_user(1)
    assert fine.weights == pytest.approx(
        {f"intent {k + 1}": x for k, x in enumerate(w["u"][1, :3] - w["u"][1, :3].mean())}
    )
    assert sum(coarse.weights.values()) == pytest.approx(0, abs=1e-6)
    favourite = int(np.argmax(w["u"][1, :3]))
    assert next(iter(fine.weights)) == f"intent {favourite + 1}"
    shares = np.sum(list(slow_items(w, shared, (3, 2)).values()), axis=0)[:, favourite]
    assert examples.topic == f"items of intent {favourite + 1} of level 1"
    assert examples.kind == "items"
    assert list(examples.weights) == np.argsort(-shares).tolist()
    assert list(examples.weights.values()) == pytest.approx(sorted(shares, reverse=True), abs=1e-5)
