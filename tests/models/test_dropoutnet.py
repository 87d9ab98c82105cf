"""DropoutNet's latent model, networks and objective as slow loops, and what it is for: items without interactions."""

from functools import partial

import numpy as np
import pytest
import torch

from medley.models import Recommender
from medley.models.dropoutnet import NUM_STEPS, wmf
from medley.testing import BATCH, DIM, SEEN, content_of, drawn, parameters_of, scores_of, vectors_of
from medley.types import Inputs, Interactions, Triplets

REG = 10.0  # the default of latent_reg
build = partial(drawn, "dropoutnet", hidden_dim=5)


@pytest.fixture
def cold_item(five_nodes: Inputs) -> Inputs:
    """Five nodes; item 1 has no interactions."""
    train = five_nodes.train
    return five_nodes._replace(train=train.only(np.array([0, 2])))


def standardised(x: np.ndarray, known: list[int]) -> np.ndarray:
    """Columns of mean 0 and variance 1 over the known rows; 0 elsewhere."""
    centre, deviation = x[known].mean(axis=0), np.maximum(x[known].std(axis=0), 1e-6)
    return np.array([(x[row] - centre) / deviation if row in known else 0 * x[row] for row in range(len(x))])


def expected(
    model: Recommender, inputs: Inputs, *, keep: bool = True, known: list[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """g of users and of items; without `keep`, items lose their preference vectors."""
    w = parameters_of(model)
    user, item = (x.astype(float) for x in wmf(inputs.train, DIM, alpha=10.0, reg=REG))
    known_users = sorted(set(inputs.train.user.tolist()))
    user, item = standardised(user, known_users), standardised(item, sorted(set(inputs.train.item.tolist())))
    g_user = [w["A2.weight"] @ np.tanh(w["A1.weight"] @ x + w["A1.bias"]) + w["A2.bias"] for x in user]
    g_item = []
    for i, x in enumerate(item):
        hidden = w["P.weight"] @ (x if keep else 0 * x) + content_of(w, "W1", inputs, i) + w["W1.b"]
        g_item.append(w["W2.weight"] @ np.tanh(hidden) + w["W2.bias"])
    return np.array(g_user), np.array(g_item)


def test_the_factorisation_tells_seen_from_unseen_items(five_nodes: Inputs):
    user, item = wmf(five_nodes.train, DIM, alpha=10.0, reg=0.1)
    assert np.allclose((user @ item.T)[[0, 0, 1], [0, 1, 2]], 1, atol=0.05)
    assert np.abs((user @ item.T)[[1, 1, 0], [0, 1, 2]]).max() < 0.05


def test_the_last_sweep_solves_for_users_exactly(five_nodes: Inputs):
    assert NUM_STEPS >= DIM  # conjugate gradients end at the solution of DIM equations
    user, item = wmf(five_nodes.train, DIM, alpha=4.0, reg=0.5)
    for u, seen in SEEN.items():
        matrix = item.T @ item + 4 * item[seen].T @ item[seen] + 0.5 * np.eye(DIM)
        assert np.allclose(user[u], np.linalg.solve(matrix, 5 * item[seen].sum(axis=0)), atol=1e-5)


def test_rows_without_interactions_have_no_latent_vector():
    train = Interactions(np.array([0, 2], "i4"), np.array([1, 1], "i4"), num_users=4, num_items=3)
    user, item = wmf(train, DIM, alpha=10.0, reg=REG)
    assert not user[[1, 3]].any() and not item[[0, 2]].any()
    assert user[[0, 2]].any(axis=1).all() and item[1].any()


def test_both_networks_compute_their_equations(five_nodes: Inputs):
    model = build(five_nodes)
    for found, slow in zip(vectors_of(model), expected(model, five_nodes), strict=True):
        assert np.allclose(found, slow, atol=1e-4)


def test_an_item_without_interactions_is_scored_by_its_content_alone(cold_item: Inputs):
    model = build(cold_item)
    kept, dropped = (expected(model, cold_item, keep=keep)[1] for keep in (True, False))
    assert np.allclose(vectors_of(model)[1], kept, atol=1e-4)
    assert np.allclose(kept[1], dropped[1]) and not np.allclose(kept[[0, 2]], dropped[[0, 2]])


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_the_loss_is_the_squared_distance_from_the_latent_scores_of_all_pairs(cold_item: Inputs, dropout: float):
    model = build(cold_item, dropout=dropout)
    user, item = wmf(cold_item.train, DIM, alpha=10.0, reg=REG)
    g_user, g_item = expected(model, cold_item, keep=dropout == 0)
    pairs = [(u, i) for u in range(2) for i in (0, 2)]  # the cold item has no latent score
    distances = [(user[u] @ item[i] - g_user[u] @ g_item[i]) ** 2 for u, i in pairs]
    assert model.train().loss(BATCH).item() == pytest.approx(np.mean(distances), rel=1e-4)
    one = Triplets(torch.tensor([1, 1]), torch.tensor([2, 2]), torch.tensor([1, 1]))
    assert model.loss(one).item() == pytest.approx(distances[3], rel=1e-3)


def test_dropout_takes_its_share_of_the_preference_vectors_and_none_in_evaluation_mode(five_nodes: Inputs):
    model, items = build(five_nodes, dropout=0.7), torch.zeros(4000, dtype=torch.int64)
    torch.manual_seed(0)
    assert model.train()._kept(items).mean().item() == pytest.approx(0.3, abs=0.03)
    assert model.eval()._kept(items).all()


def test_a_batch_of_items_without_latent_scores_has_no_loss(cold_item: Inputs):
    only = Triplets(torch.tensor([0]), torch.tensor([1]), torch.tensor([1]))
    assert build(cold_item).train().loss(only).item() == 0


def test_scores_follow_the_latent_model_where_the_networks_can(five_nodes: Inputs):
    model = build(five_nodes, std=0.3)
    user, item = wmf(five_nodes.train, DIM, alpha=10.0, reg=REG)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    every = Triplets(*(torch.tensor(rows) for rows in ([0, 0, 1, 1, 0, 1], [0, 1, 2, 0, 2, 1], [2, 2, 0, 1, 1, 2])))
    torch.manual_seed(0)
    for _ in range(300):
        optimizer.zero_grad()
        model.train().loss(every).backward()
        optimizer.step()
    assert np.allclose(scores_of(model), user @ item.T, atol=0.1)
