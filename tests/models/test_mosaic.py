"""Mosaic against slow loops, and what it promises beyond the contract."""

import numpy as np
import pytest
import torch

import medley
from medley.models.mosaic import Mosaic
from medley.testing import DIM, check_model, drawn, parameters_of, scores_of, vectors_of
from medley.types import Features, Inputs, Interactions, Triplets

TAU, WEIGHT, POPULARITY, OFFSET = 0.5, 2.0, 0.3, 0.7


def five_nodes(timed=True) -> Inputs:
    """User 0 has seen 2, 0, 1 in this order, user 1 has seen 1; nobody has seen item 3, and item 2 lacks sound."""
    user, item = np.array([0, 0, 0, 1], "i4"), np.array([0, 1, 2, 1], "i4")
    time = np.array([5, 9, 1, 4]) if timed else None
    rng = np.random.default_rng(1)
    visual, acoustic = rng.normal(size=(4, 3)).astype("f4"), rng.normal(size=(4, 2)).astype("f4")
    has_sound = np.array([True, True, False, True])
    features = {"visual": Features(visual, np.ones(4, dtype=bool)), "acoustic": Features(acoustic, has_sound)}
    return Inputs(Interactions(user, item, num_users=2, num_items=4, time=time), features)


def built(inputs, **options):
    chosen = {"tau": TAU, "k": 2, "graph_weight": WEIGHT, "popularity": POPULARITY, "cold_offset": OFFSET}
    return drawn("mosaic", inputs, **{**chosen, **options})


def cosine(x, y):
    return x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) if np.linalg.norm(x) * np.linalg.norm(y) else 0.0


def item_vectors(inputs, w, warm=(0, 1, 2), counts=(1, 2, 1, 0)):
    """h_i by loops."""
    h, e = np.zeros((4, DIM)), w["e"]
    for i in range(4):
        own = e[i] if i in warm else np.zeros(DIM)
        has = {m: f for m, f in inputs.features.items() if f.present[i]}
        for m, f in has.items():
            sources = [j for j in (0, 1, 2) if f.present[j]]
            nearest = sorted(sources, key=lambda j: -cosine(f.values[i], f.values[j]))[:2]
            nearest = [j for j in nearest if cosine(f.values[i], f.values[j]) > 0]
            own = own + sum(WEIGHT * e[j] / (len(has) * len(nearest)) for j in nearest if j in warm)
            says = w[f"views.{m}.W.weight"] @ f.values[i]
            own = own + says / len(has) / np.sqrt(1 + (counts[i] if i in warm else 0))
        h[i] = own
    return h


def prior():
    count = np.array([1, 2, 1, 0])
    pi = np.where(count > 0, np.log1p(count) - np.log1p(count[:3]).mean(), 0)
    return POPULARITY * pi + OFFSET * (count == 0)


@pytest.mark.parametrize("timed", [True, False])
def test_scores_are_those_of_the_equations(timed):
    inputs = five_nodes(timed)
    model = built(inputs, max_length=2)
    w = parameters_of(model)
    h = item_vectors(inputs, w)
    if timed:
        r = np.exp(w["users.log_r"])
        user = [r[0] * h[1] + r[1] * h[0], r[0] * h[1]]  # the latest two of 2, 0, 1
    else:
        user = [h[0] + h[1] + h[2], h[1]]
    expected = [[cosine(x @ w["A"], h[i]) / TAU + prior()[i] for i in range(4)] for x in user]
    assert np.allclose(scores_of(model), expected, atol=1e-5)


@pytest.mark.parametrize("timed", [True, False])
def test_the_loss_predicts_an_item_from_what_was_seen_before_it_or_from_all_others(timed):
    inputs = five_nodes(timed)
    model = built(inputs, train_popularity=0.5, gamma=1.0)
    w = parameters_of(model)
    h = item_vectors(inputs, w)
    batch = Triplets(torch.tensor([0, 0, 0, 1]), torch.tensor([2, 1, 0, 1]), torch.tensor([3, 3, 3, 0]))
    if timed:
        r = np.exp(w["users.log_r"])
        histories = {1: r[0] * h[0] + r[1] * h[2], 0: r[0] * h[2]}  # nothing came before item 2
    else:
        histories = {2: h[0] + h[1], 1: h[0] + h[2], 0: h[1] + h[2]}
    pi = prior() / POPULARITY * 0.5
    losses = []
    for pos, x in histories.items():
        score = [cosine(x @ w["A"], h[i]) / TAU + pi[i] for i in range(3)]  # item 3 is never a negative
        losses.append(np.log(np.exp(score).sum()) - score[pos])
    per_user = (3 * (1 / 3) + 1) / 4  # mean over interactions of 1 / n_u
    assert model.loss(batch).item() == pytest.approx(np.mean(losses) * (1 / 3) / per_user, rel=1e-4)


def test_an_item_that_is_dropped_in_training_has_the_vector_of_a_new_item(monkeypatch):
    inputs = five_nodes()
    model = built(inputs, id_dropout=0.5, train_popularity=0.0).train()
    monkeypatch.setattr(torch, "rand", lambda *size, **options: torch.tensor([0.9, 0.1, 0.6, 0.7])[:, None])  # 1 is not
    w = parameters_of(model)
    h = item_vectors(inputs, w, warm=(0, 2))
    batch = Triplets(torch.tensor([0]), torch.tensor([0]), torch.tensor([3]))
    x = np.exp(w["users.log_r"])[0] * h[2]
    score = np.array([cosine(x @ w["A"], h[i]) / TAU for i in range(3)])
    pos_and_neg = model.loss(batch).item()
    assert pos_and_neg == pytest.approx(np.log(np.exp(score).sum()) - score[0], rel=1e-4)


@pytest.mark.parametrize(("options", "missing"), [({"use_content": False}, "W"), ({"graph_weight": 0.0}, "S")])
def test_the_item_graph_and_the_map_of_features_can_be_left_out(options, missing):
    model = built(five_nodes(), **options)
    assert all(getattr(view, missing) is None for view in model.views.values())
    assert model.reads_features
    assert np.isfinite(scores_of(model)).all()


def test_of_items_of_one_moment_each_is_predicted_from_those_before_it_in_a_fixed_order():
    inputs = five_nodes()
    same = Interactions(*(getattr(inputs.train, name) for name in ("user", "item")), 2, 4, np.zeros(4))
    histories = built(inputs._replace(train=same)).users.histories
    sizes = histories.bags_before(torch.tensor([0, 0, 0]), torch.tensor([0, 1, 2])).size
    assert sorted(sizes.tolist()) == [0, 1, 2]


def test_contract():
    check_model("mosaic")
    check_model("mosaic", options={"use_order": False, "id_dropout": 0.0})
    check_model("mosaic", options={"use_content": False})


def test_parts_sum_to_the_scores_and_name_the_modalities():
    model = built(five_nodes())
    with torch.no_grad():
        parts = model.parts()
    assert list(parts) == ["id", "visual", "acoustic", "popularity"]
    total = sum((part.user @ part.item.T).numpy() for part in parts.values())
    assert np.allclose(total, scores_of(model), atol=1e-5)


def test_items_without_interactions_have_the_direction_of_similar_items_and_features_and_the_offset():
    inputs = five_nodes()
    with torch.no_grad():
        vectors = built(inputs)().item.numpy()
    h = item_vectors(inputs, parameters_of(built(inputs)))
    assert np.allclose(vectors[3, :-1], h[3] / np.linalg.norm(h[3]), atol=1e-5)
    assert vectors[3, -1] == pytest.approx(OFFSET)


def test_a_new_history_makes_the_user_that_the_training_would_have_made():
    inputs = five_nodes()
    model, train = built(inputs), inputs.train
    swapped = Interactions(1 - train.user, train.item, 2, 4, train.time)
    with torch.no_grad():
        found = model.scorer_of(swapped)
    user, item = vectors_of(model)
    assert np.allclose(found.user.numpy()[::-1], user, atol=1e-6)
    assert np.allclose(found.item.numpy(), item, atol=1e-6)


def test_a_user_without_items_is_shown_what_is_popular():
    inputs = five_nodes()
    train = inputs.train
    alone = inputs._replace(train=Interactions(train.user[:3], train.item[:3], 2, 4, train.time[:3]))
    model = built(alone)
    count = np.array([1, 1, 1, 0])
    expected = POPULARITY * np.where(count > 0, 0, 0) + OFFSET * (count == 0)  # all are equally popular
    assert np.allclose(scores_of(model)[1], expected, atol=1e-6)


def test_without_features_it_is_a_model_of_interactions_alone():
    inputs = five_nodes()._replace(features={})
    model = built(inputs)
    assert not model.reads_features
    assert np.isfinite(scores_of(model)).all()


def test_weights_of_popularity_and_new_items_are_chosen_on_validation(simulated):
    run = medley.train(Mosaic, simulated, dim=16, num_epochs=3, progress=False)
    assert set(run.record.chosen) == {"popularity", "cold_offset"}


def test_it_finds_planted_tastes_also_in_new_items(tmp_path):
    settings = medley.preset("demo", num_users=300, num_items=400, num_interactions=9000)
    data = medley.simulate(tmp_path / "data", settings=settings, seed=1)
    training = {"dim": 32, "lr": 0.01, "num_epochs": 8, "batch_size": 256, "use_order": False, "progress": False}
    found = medley.evaluate(medley.train("mosaic", data, **training), split="test", groups=True).metrics
    popular = medley.evaluate(medley.train("popularity", data, progress=False), split="test").metrics
    assert found["recall@20"] > 1.5 * popular["recall@20"]
    assert found["cold_recall@20"] > 3 * 20 / 400
