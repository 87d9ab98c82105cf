"""Vectors of cold items from their neighbours: the rule as a slow loop, and what the rule leaves alone."""

import numpy as np
import pytest
import torch

import medley
from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.models.cold import NUM_NEIGHBOURS, OFFSETS, neighbours_of_cold
from medley.models.inputs import CONTROLS
from medley.nn.chosen import COLD_VALUE, numbers_to_choose
from medley.testing import (
    BATCH,
    CHECKS,
    EDGES,
    check_model,
    drawn,
    parameters_of,
    scores_of,
    vectors_of,
    with_99_where_missing,
)
from medley.testing.contract import learns_the_checkerboard, resumes_from_its_parameters
from medley.types import Features, Inputs, Interactions

NAMES = ("egogcn", "freedom", "lattice", "lightgcn", "ludp", "mgcn")
TRAINING = (learns_the_checkerboard, resumes_from_its_parameters)  # the slow checks
COLD = 3  # the row of the cold item among the five nodes


@pytest.fixture
def with_cold_item(five_nodes: Inputs) -> Inputs:
    """The five nodes and a cold item, row 3, that has both modalities; the acoustic one is lacking in item 2."""
    user, item = (np.array(column, dtype="i4") for column in zip(*EDGES, strict=True))
    features = {}
    for m, raw in five_nodes.features.items():
        values = np.concatenate([raw.values, 0.5 * raw.values[:1] + raw.values[1:2]])
        features[m] = Features(values, np.append(raw.present, True))
    return Inputs(Interactions(user, item, num_users=2, num_items=4), features)


def slow_weights(inputs: Inputs, is_warm: np.ndarray, i: int, k: int) -> np.ndarray:
    """The weights of the neighbours of cold item i, (I,), by loops."""
    each = []
    for features in inputs.features.values():
        if not features.present[i]:
            continue
        x = features.values.astype(float)
        warm = np.flatnonzero(is_warm & features.present)
        x = x - x[warm].mean(axis=0)
        cosine = {j: x[i] @ x[j] / (np.linalg.norm(x[i]) * np.linalg.norm(x[j])) for j in warm}
        near = sorted(cosine, key=lambda j: (-cosine[j], j))[:k]
        weights = {j: max(cosine[j], 0.0) for j in near}
        if sum(weights.values()) == 0:
            weights = dict.fromkeys(near, 1.0)
        w = np.zeros(len(is_warm))
        for j in near:
            w[j] = weights[j] / sum(weights.values())
        each.append(w)
    return np.mean(each, axis=0) if each else np.zeros(len(is_warm))


@pytest.mark.parametrize("offset", [0.0, 0.7])
@pytest.mark.parametrize("name", NAMES)
def test_the_score_of_a_cold_item_is_that_of_a_slow_loop(with_cold_item, name, offset):
    plain = drawn(name, with_cold_item)
    model = drawn(name, with_cold_item, cold="neighbours", cold_offset=offset)
    before, found = scores_of(plain), scores_of(model)
    w = slow_weights(with_cold_item, np.array([True, True, True, False]), COLD, NUM_NEIGHBOURS)
    assert w.sum() == pytest.approx(1)
    for u in range(2):
        sigma = np.std(before[u, :COLD])
        assert found[u, COLD] == pytest.approx(w @ before[u] + offset * sigma, rel=1e-4, abs=1e-5)
    assert np.allclose(found[:, :COLD], before[:, :COLD], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 4, 100])
def test_the_k_nearest_warm_items_weigh_by_their_cosine(checkerboard, k):
    is_warm = np.arange(32) % 5 > 0
    checkerboard.features["mood"].present[5] = False
    found = neighbours_of_cold(checkerboard.features, is_warm, k=k).toarray()
    for i in range(32):
        expected = np.zeros(32) if is_warm[i] else slow_weights(checkerboard, is_warm, i, k)
        assert np.allclose(found[i], expected, atol=1e-5)


def test_equal_neighbours_are_taken_by_lower_row():
    values = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [2, 0.1]], dtype="f4")
    features = {"visual": Features(values, np.ones(5, dtype=bool))}
    found = neighbours_of_cold(features, np.array([True, True, True, True, False]), k=2).toarray()
    assert found[4].nonzero()[0].tolist() == [0, 2]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_the_rule_keeps_its_promises(name, check):
    if name != "lightgcn" and check in TRAINING:
        pytest.skip("the training does not read the rule, as another test shows")
    check_model(name, options={"cold": "neighbours", "cold_offset": 0.5}, checks=[check])


@pytest.mark.parametrize("name", NAMES)
def test_warm_scores_the_loss_and_the_weights_are_those_without_the_rule(name, checkerboard):
    plain, model = (models.build(name, checkerboard, dim=8, cold=cold) for cold in ("model", "neighbours"))
    assert set(model.state_dict()) - set(plain.state_dict()) == {"cold.cold_offset.value"}
    assert set(plain.state_dict()) <= set(model.state_dict())
    before, after = scores_of(plain), scores_of(model)
    np.testing.assert_allclose(after[:, :31], before[:, :31], rtol=1e-5, atol=1e-7)
    assert not np.allclose(after[:, 31], before[:, 31])  # the only cold item
    assert torch.equal(plain.loss(BATCH), model.loss(BATCH))


@pytest.mark.parametrize("name", NAMES)
def test_cold_items_without_a_modality_keep_the_vector_of_the_model(name, with_cold_item):
    lacking = {
        m: raw._replace(present=raw.present & (np.arange(4) != COLD)) for m, raw in with_cold_item.features.items()
    }
    inputs = with_cold_item._replace(features=lacking)
    plain, model = (drawn(name, inputs, cold=cold) for cold in ("model", "neighbours"))
    assert np.array_equal(scores_of(plain), scores_of(model))
    assert set(plain.state_dict()) == set(model.state_dict())


def test_a_modality_that_the_cold_item_lacks_has_no_say(with_cold_item):
    acoustic = with_cold_item.features["acoustic"]
    lacking = acoustic._replace(present=np.array([True, True, False, False]))
    inputs = with_cold_item._replace(features={**with_cold_item.features, "acoustic": lacking})
    model, other = (drawn("lightgcn", x, cold="neighbours") for x in (inputs, with_99_where_missing(inputs)))
    alone = drawn("lightgcn", with_cold_item, cold="neighbours", modalities=["visual"])
    assert np.array_equal(scores_of(model), scores_of(other))
    assert np.allclose(scores_of(model), scores_of(alone), atol=1e-6)


def test_with_no_cold_item_nothing_changes(five_nodes):
    plain, model = (drawn("freedom", five_nodes, cold=cold) for cold in ("model", "neighbours"))
    assert all(np.array_equal(a, b) for a, b in zip(vectors_of(plain), vectors_of(model), strict=True))
    assert not numbers_to_choose(model)


def test_constant_features_leave_the_items_as_they_are(checkerboard):
    plain = models.build("lightgcn", checkerboard, dim=8)
    model = models.build("lightgcn", checkerboard, dim=8, cold="neighbours", constant_features=True)
    assert np.array_equal(scores_of(plain), scores_of(model))


@pytest.mark.parametrize("control", [c for c in CONTROLS if c != "constant_features"])
def test_controls_change_the_neighbours_of_a_model_that_reads_no_other_features(checkerboard, control):
    model = models.build("lightgcn", checkerboard, dim=8, cold="neighbours")
    other = models.build("lightgcn", checkerboard, dim=8, cold="neighbours", **{control: True})
    assert model.reads_features
    assert not np.allclose(scores_of(model)[:, 31], scores_of(other)[:, 31])
    assert np.allclose(scores_of(model)[:, :31], scores_of(other)[:, :31])


def test_wrong_options_are_refused(checkerboard):
    with pytest.raises(InputError, match="cold_offset: expected cold=neighbours"):
        models.build("freedom", checkerboard, cold_offset=0.5)
    with pytest.raises(InputError, match="'cold' of lightgcn"):
        models.build("lightgcn", checkerboard, cold="features")
    with pytest.raises(InputError, match="cold=neighbours: expected a data set with at least one modality"):
        models.build("lightgcn", checkerboard._replace(features={}), cold="neighbours")
    with pytest.raises(InputError, match="random_features of lightgcn"):
        models.build("lightgcn", checkerboard, random_features=True)


def test_the_offset_is_chosen_on_validation_and_saved(simulated: Dataset, tmp_path):
    options = {"cold": "neighbours", "dim": 8, "num_epochs": 3, "lr": 0.01}
    run = medley.train("lightgcn", simulated, out=tmp_path / "run", progress=False, **options)
    chosen, model = run.record.chosen["cold_offset"], medley.Run(tmp_path / "run").model(simulated)
    figures = {}
    for value in (0.0, *OFFSETS):
        model.cold.cold_offset.value.fill_(value)
        figures[value] = medley.evaluate(model, simulated, split="valid", groups=True).metrics
    wanted = {value: found["recall@20"] + COLD_VALUE * found["cold_recall@20"] for value, found in figures.items()}
    assert wanted[chosen] == max(wanted.values())
    assert run.record.best == figures[chosen]["recall@20"]
    assert run.record.data.modalities == list(simulated.manifest.modalities)
    again = medley.refit(run, simulated, out=tmp_path / "again", progress=False)
    both = simulated.inputs("train+valid")
    assert again.record.recipe.options["cold_offset"] == chosen
    refitted = again.model(simulated)
    is_cold = both.train.users_per_item() == 0
    assert not is_cold.all() and is_cold.sum() < (simulated.inputs().train.users_per_item() == 0).sum()
    followers = set() if refitted.cold.w is None else set(refitted.cold.row.tolist())
    assert followers <= set(np.flatnonzero(is_cold).tolist())


def test_a_bundle_holds_the_scores_of_the_rule(simulated: Dataset):
    model = models.build("freedom", simulated.inputs(), dim=8, cold="neighbours", cold_offset=1.0)
    bundle = medley.export(model, simulated)
    users = np.arange(5)
    scores = bundle.scores.scores(bundle.scores.queries(users))
    np.testing.assert_allclose(scores, scores_of(model)[users], rtol=1e-4, atol=1e-6)
    assert "cold" in bundle.scores.parts


def test_the_rule_has_the_parameters_of_the_model_alone(checkerboard):
    plain, model = (models.build("mgcn", checkerboard, dim=8, cold=cold) for cold in ("model", "neighbours"))
    assert all(np.array_equal(value, parameters_of(plain)[name]) for name, value in parameters_of(model).items())
