"""MacridVAE's scores and bound as slow loops; blocks, randomness, insights."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medley import models
from medley.errors import InputError
from medley.models.macridvae import SMALLEST_TAU
from medley.testing import BATCH, EDGES, SEEN, content_of, parameters_of, scores_of, softmax, unit
from medley.types import Inputs, Interactions, Triplets


def build(inputs: Inputs, **options) -> models.Recommender:
    model = models.build("macridvae", inputs, **{"dim": 3, "num_concepts": 2, **options})
    for name in ("b1", "b2"):
        torch.nn.init.normal_(model.get_parameter(name))
    return model


def item_vectors(model: models.Recommender, inputs: Inputs, name: str) -> np.ndarray:
    """Returns h or t, with the content if the model reads features."""
    w = parameters_of(model)
    x = w[name].copy()
    if f"content_{name}.W.visual.weight" in w:
        x += [content_of(w, f"content_{name}", inputs, i) for i in range(3)]
    return x


def slow(model: models.Recommender, inputs: Inputs, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores (U, I) and the KL divergence of each user without the constant."""
    w = parameters_of(model)
    h, t, prototypes = unit(item_vectors(model, inputs, "h")), item_vectors(model, inputs, "t"), unit(w["m"])
    c = softmax(h @ prototypes.T / tau)
    scores, kl = np.zeros((2, 3)), np.zeros(2)
    for u, items in SEEN.items():
        for k in range(len(prototypes)):
            x = sum(c[i, k] * t[i] for i in items) / np.sqrt(sum(c[i, k] ** 2 for i in items))
            a, b = np.split(w["W2.weight"] @ np.tanh(x + w["b1"]) + w["b2"], 2)
            kl[u] += sum(np.exp(-b) + b - 1) / 2
            for i in range(3):
                scores[u, i] += c[i, k] * np.exp(unit(a) @ h[i] / tau)
    return np.log(scores), kl


@pytest.mark.parametrize("num_concepts", [1, 2])
@pytest.mark.parametrize("use_content", [False, True])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_scores_and_the_bound_are_those_of_slow_loops(five_nodes: Inputs, num_concepts, use_content, tau):
    options = {"num_concepts": num_concepts, "tau": tau, "use_content": use_content, "feature_scale": "none"}
    model = build(five_nodes, beta=0.7, **options).eval()
    scores, kl = slow(model, five_nodes, tau)
    assert np.allclose(scores_of(model), scores, atol=1e-4)
    likelihood = sum(np.log(softmax(scores)[u, i]) for u, i in EDGES)
    with torch.no_grad():
        assert model.loss(BATCH).item() == pytest.approx((-likelihood + 0.7 * kl.sum()) / 2, abs=1e-4)


def test_an_epoch_of_batches_holds_every_user_once(five_nodes: Inputs):
    model = build(five_nodes).eval()
    with torch.no_grad():
        one, other = (model.loss(Triplets(*(torch.tensor(users),) * 3)).item() for users in ([0], [1]))
        for users, weights in [([0, 1], (1 / 2, 1)), ([0, 0, 1], (1, 1)), ([0, 0], (1, 0))]:
            expected = (weights[0] * one + weights[1] * other) / sum(weights)
            assert model.loss(Triplets(*(torch.tensor(users),) * 3)).item() == pytest.approx(expected, rel=1e-5)


def test_an_epoch_of_training_trains_every_user_once(checkerboard: Inputs, monkeypatch):
    model = models.build("macridvae", checkerboard, dim=8, sigma=0.0, dropout=0.0).train()
    monkeypatch.setattr(F, "gumbel_softmax", lambda logits: logits.softmax(dim=1))
    train = checkerboard.train
    epoch = Triplets(*(torch.tensor(rows, dtype=torch.int64) for rows in (train.user, train.item, train.item)))
    drawn = []
    for _ in range(20):
        model.start_epoch()
        chosen = model.turn[epoch.user] == epoch.pos
        assert epoch.user[chosen].tolist() == list(range(train.num_users))
        drawn.append(model.turn.clone())
    assert all(len({int(turn[u]) for turn in drawn}) > 1 for u in range(train.num_users))
    with torch.no_grad():
        whole = model.loss(epoch).item()
        parts = [model.loss(Triplets(*(x[k::3] for x in epoch))).item() for k in range(3)]
        sizes = [int(chosen[k::3].sum()) for k in range(3)]
        assert whole == pytest.approx(np.average(parts, weights=sizes), rel=1e-5)
        assert model.eval().loss(epoch).item() == pytest.approx(whole, rel=1e-5)  # each |N_u| times 1 / |N_u|
    nobody = Triplets(*(x[~chosen] for x in epoch))
    loss = model.train().loss(nobody)
    loss.backward()
    assert loss == 0


def test_blocks_of_users_give_loss_gradients_and_scores_of_all_at_once(checkerboard: Inputs, monkeypatch):
    model = models.build("macridvae", checkerboard, dim=8).eval()
    batch = Triplets(*(torch.tensor(checkerboard.train.user[::3], dtype=torch.int64),) * 3)
    results = []
    for rows in (64, 5):
        monkeypatch.setattr("medley.models.macridvae.MIN_ROWS", rows)
        monkeypatch.setattr("medley.models.macridvae.BLOCK", 1)
        model.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        with torch.no_grad():
            scores = model.scorer()(torch.arange(24))
        results.append([loss.detach(), scores, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("source", ["dropout", "sigma", "concepts"])
def test_training_draws_concepts_dropout_and_noise_at_random(checkerboard: Inputs, source, monkeypatch):
    options = {"dropout": 0.0, "sigma": 0.0} | ({source: 0.5} if source != "concepts" else {})
    if source != "concepts":
        monkeypatch.setattr(F, "gumbel_softmax", lambda logits: logits.softmax(dim=1))
    model = models.build("macridvae", checkerboard, dim=8, **options)
    batch = Triplets(*(torch.tensor(checkerboard.train.user, dtype=torch.int64),) * 3)
    with torch.no_grad():
        model.train()
        assert model.loss(batch) != model.loss(batch)
        model.eval()
        assert model.loss(batch) == model.loss(batch)


def test_scores_draw_nothing_even_while_training(checkerboard: Inputs):
    model, users = models.build("macridvae", checkerboard, dim=8).train(), torch.arange(24)
    with torch.no_grad():
        assert torch.equal(model.scorer()(users), model.scorer()(users))


@pytest.mark.parametrize("tau", [SMALLEST_TAU, 0.1])
def test_scores_are_finite_after_training_without_interactions_too(checkerboard: Inputs, tau):
    train = checkerboard.train
    inputs = Inputs(Interactions(train.user, train.item, 25, 32), checkerboard.features)
    model = models.build("macridvae", inputs, dim=8, tau=tau)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        model.loss(Triplets(*(torch.arange(24),) * 3)).backward()
        optimizer.step()
    with torch.no_grad():
        assert model.scorer()(torch.arange(25)).isfinite().all()
    assert model.about_user(24) == []


def test_concepts_of_users_are_the_average_over_their_items(five_nodes: Inputs):
    model = build(five_nodes)
    (user,) = model.about_user(0)
    items = [model.about_item(i)[0].weights for i in SEEN[0]]
    assert sum(user.weights.values()) == pytest.approx(1)
    assert list(user.weights.values()) == sorted(user.weights.values(), reverse=True)
    for name, weight in user.weights.items():
        assert weight == pytest.approx(np.mean([shares[name] for shares in items]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tau": 0.01}, r"'tau' of macridvae: expected 0\.025 or more, got 0\.01"),
        ({"num_concepts": 0}, "'num_concepts' of macridvae: expected 1 or more, got 0"),
    ],
)
def test_options_out_of_range_are_refused(five_nodes: Inputs, option, message):
    with pytest.raises(InputError, match=message):
        models.build("macridvae", five_nodes, **option)
