"""DualGNN: its equations as slow loops, its variants, missing modalities, insights about a user."""

import numpy as np
import pytest
import torch

from medley import models
from medley.testing import (
    bpr,
    drawn,
    leaky_relu,
    lightgcn,
    parameters_of,
    scores_of,
    unit,
    with_99_where_missing,
)
from medley.types import Features, Inputs, Interactions, Triplets

SEEN = {0: [0, 1, 2], 1: [0, 1], 2: [2, 3], 3: [1, 2, 3], 4: []}  # user -> items; user 4 has none, like item 4
SHARED = {(0, 1): 2, (0, 2): 1, (0, 3): 2, (1, 3): 1, (2, 3): 2}  # users -> number of items in common
NUM_USERS, NUM_ITEMS = 5, 5


@pytest.fixture
def inputs() -> Inputs:
    """Item 2 lacks the acoustic modality, item 4 has none at all."""
    rng = np.random.default_rng(1)
    pairs = np.array([(user, item) for user, items in SEEN.items() for item in items], "i4")
    train = Interactions(pairs[:, 0], pairs[:, 1], NUM_USERS, NUM_ITEMS)
    return Inputs(
        train,
        {
            "visual": Features(rng.normal(size=(NUM_ITEMS, 3)).astype("f4"), np.arange(NUM_ITEMS) != 4),
            "acoustic": Features(
                rng.normal(size=(NUM_ITEMS, 3)).astype("f4"), np.isin(np.arange(NUM_ITEMS), [0, 1, 3])
            ),
        },
    )


def build(inputs: Inputs, **options) -> models.Recommender:
    """A model whose weights of the modalities differ between users, and whose biases are not 0."""
    return drawn("dualgnn", inputs, std=0.5, **options)


def projected(w: dict[str, np.ndarray], m: str, projection: str, f: np.ndarray) -> np.ndarray:
    if projection == "none":
        return f
    if projection == "linear":
        return w[f"project.{m}.weight"] @ f
    hidden = leaky_relu(w[f"project.{m}.0.weight"] @ f + w[f"project.{m}.0.bias"])
    return w[f"project.{m}.2.weight"] @ hidden + w[f"project.{m}.2.bias"]


def single_modal(inputs, w, m, *, num_layers, projection, unit_input):
    """u_m and i_m (eq. 1-2); i_m is 0 where the item lacks m."""
    features = inputs.features[m]
    user = w[f"u.{m}"]
    item = np.array([projected(w, m, projection, f.astype(float)) for f in features.values])
    if unit_input:
        user, item = unit(user), unit(item)
    item[~features.present] = 0
    edges = [(u, i) for u, items in SEEN.items() for i in items if features.present[i]]  # of G_m
    means = lightgcn(user, item, num_layers, edges)  # eq. 1
    return [mean * (num_layers + 1) for mean in means]  # eq. 2: sums of the layers


def fused(w, construction, u_ms):
    """u_mul of one user from its u_m (eq. 3-5, Table IV)."""
    if construction == "mean":
        return np.mean(u_ms, axis=0)
    if construction == "sum":
        return np.sum(u_ms, axis=0)
    if construction == "max":
        return np.max(u_ms, axis=0)
    return w["W_m.weight"] @ np.concatenate(u_ms) + w["W_m.bias"]


def top_users(user: int, k: int) -> dict[int, int]:
    """The k users that share most items with this one -> how many (Top-K sampling strategy)."""
    shared = {a + b - user: count for (a, b), count in SHARED.items() if user in (a, b)}
    return dict(sorted(shared.items(), key=lambda pair: (-pair[1], pair[0]))[:k])


def expected_scores(
    inputs, w, *, num_layers, construction, aggregation, num_user_layers, k, projection="linear", unit_input=False
):
    parts = {
        m: single_modal(inputs, w, m, num_layers=num_layers, projection=projection, unit_input=unit_input)
        for m in inputs.features
    }
    u_mul = []
    for u in range(NUM_USERS):
        alpha = np.ones(2) if construction == "mean" else w["alpha"][u]
        u_mul.append(fused(w, construction, [alpha[x] * user[u] for x, (user, _) in enumerate(parts.values())]))
    for _ in range(num_user_layers):
        before = list(u_mul)
        for u in range(NUM_USERS):
            others = top_users(u, k)
            for other, count in others.items():
                if aggregation == "mean":
                    weight = 1 / len(others)  # eq. 6
                else:
                    weight = np.exp(count) / sum(np.exp(c) for c in others.values())  # eq. 7
                u_mul[u] = u_mul[u] + weight * before[other]
    item = sum(item for _, item in parts.values())  # eq. 8
    return np.array([[u_mul[u] @ item[i] for i in range(NUM_ITEMS)] for u in range(NUM_USERS)])  # eq. 9


@pytest.mark.parametrize("aggregation", ["softmax", "mean"])
@pytest.mark.parametrize("construction", ["sum", "max", "concat", "mean"])
def test_equations_1_to_9_for_each_construction_and_aggregation(inputs, construction, aggregation):
    options = {"num_layers": 2, "construction": construction, "aggregation": aggregation, "num_user_layers": 2, "k": 2}
    model = build(inputs, projection="linear", unit_input=False, **options)
    assert np.allclose(scores_of(model), expected_scores(inputs, parameters_of(model), **options), atol=1e-5)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
@pytest.mark.parametrize(("num_user_layers", "k"), [(0, 1), (1, 1), (1, 40)])
def test_any_number_of_layers_and_of_users_to_learn_from(inputs, num_layers, num_user_layers, k):
    options = {"num_layers": num_layers, "num_user_layers": num_user_layers, "k": k}
    options |= {"construction": "sum", "aggregation": "softmax"}
    model = build(inputs, projection="linear", unit_input=False, **options)
    assert np.allclose(scores_of(model), expected_scores(inputs, parameters_of(model), **options), atol=1e-5)


@pytest.mark.parametrize("unit_input", [True, False])
@pytest.mark.parametrize("projection", ["linear", "mlp", "none"])
def test_features_enter_by_each_projection(inputs, projection, unit_input):
    options = {"num_layers": 2, "construction": "sum", "aggregation": "softmax", "num_user_layers": 1, "k": 40}
    options |= {"projection": projection, "unit_input": unit_input}
    model = build(inputs, **options)
    assert np.allclose(scores_of(model), expected_scores(inputs, parameters_of(model), **options), atol=1e-5)


def test_the_variants_of_table_4_are_options(inputs):
    with_alpha = {"dual-u": {"num_user_layers": 0}, "dualgnn": {}}
    without = {"dual-a-u": {"construction": "mean", "num_user_layers": 0}, "dual-a": {"construction": "mean"}}
    scores = {name: scores_of(build(inputs, **options)) for name, options in (with_alpha | without).items()}
    assert all(not np.allclose(scores["dualgnn"], scores[name]) for name in ("dual-u", "dual-a", "dual-a-u"))
    assert all("alpha" in parameters_of(build(inputs, **options)) for options in with_alpha.values())
    assert all("alpha" not in parameters_of(build(inputs, **options)) for options in without.values())


def test_at_first_every_user_weighs_all_modalities_by_one(inputs):
    assert np.array_equal(parameters_of(models.build("dualgnn", inputs))["alpha"], np.ones((NUM_USERS, 2)))


def test_the_loss_is_equation_11(inputs):
    model = build(inputs, reg=0.3, construction="concat", projection="linear")
    batch = Triplets(torch.tensor([0, 3, 0]), torch.tensor([0, 1, 2]), torch.tensor([3, 0, 4]))
    w = parameters_of(model)
    norm = sum((w[table][u] ** 2).sum() / 2 for u in batch.user for table in ("u.visual", "u.acoustic", "alpha"))
    matrices = ["project.visual.weight", "project.acoustic.weight", "W_m.weight", "W_m.bias"]
    l2 = norm / 3 + sum((w[name] ** 2).sum() for name in matrices)
    assert model.loss(batch).item() == pytest.approx(bpr(scores_of(model), batch) + 0.3 * l2, rel=1e-5)


def test_values_stored_for_missing_features_never_matter(inputs):
    changed = with_99_where_missing(inputs)
    for scale in ("none", "l2", "standard"):
        expected = scores_of(build(inputs, feature_scale=scale))
        assert np.array_equal(scores_of(build(changed, feature_scale=scale)), expected)


def test_a_missing_modality_has_no_part_in_an_items_score_and_no_edge(inputs):
    model = build(inputs)
    with torch.no_grad():
        parts = model.contributions(torch.tensor([0]), torch.tensor([[0, 2, 4]]))
    assert parts["acoustic"][0, 0] != 0 and parts["visual"][0, 1] != 0
    assert parts["acoustic"][0, 1:].tolist() == [0, 0]
    assert parts["visual"][0, 2] == 0
    num_edges = {m: graph.by_row.index.numel() for m, graph in model.graph.items()}
    assert num_edges == {"visual": 10, "acoustic": 7}  # item 2 has three users


def test_modalities_that_no_item_lacks_share_one_graph(inputs):
    complete = {m: features._replace(present=np.ones(NUM_ITEMS, bool)) for m, features in inputs.features.items()}
    visual, acoustic = build(Inputs(inputs.train, complete)).graph.values()
    assert visual is acoustic


def test_without_a_projection_every_dim_must_be_that_of_the_model(inputs):
    with pytest.raises(ValueError, match=r"visual.*expected dim = 8, got 3.*Remedy: choose projection=linear"):
        models.build("dualgnn", inputs, dim=8, projection="none")


@pytest.mark.parametrize("option", ["num_layers", "num_user_layers"])
def test_a_negative_number_of_layers_is_refused(inputs, option):
    with pytest.raises(ValueError, match=f"option '{option}' of dualgnn: expected 0 or more, got -1"):
        models.build("dualgnn", inputs, **{option: -1})


def test_insights_are_the_weights_of_a_user_and_the_users_it_aggregates(inputs):
    model = build(inputs, k=2)
    with torch.no_grad():
        model.alpha[0] = torch.tensor([0.25, 1.5])
    weights, users = model.about_user(0)
    assert list(weights.weights.items()) == [("acoustic", 1.5), ("visual", 0.25)]
    assert users.kind == "users" and list(users.weights) == [1, 3]
    assert list(model.about_user(2)[1].weights) == [3, 0]
    assert users.weights[1] == pytest.approx(0.5) and sum(model.about_user(2)[1].weights.values()) == pytest.approx(1)


def test_a_user_without_neighbours_aggregates_nobody_and_dual_a_u_has_no_insights(inputs):
    assert build(inputs).about_user(4)[1].weights == {}
    assert build(inputs, construction="mean", num_user_layers=0).about_user(0) == []
