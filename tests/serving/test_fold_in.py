"""Folding in: exact rules give the model's own scores; inferred vectors are the optimum, and find planted users."""

import numpy as np
import pytest
import scipy.sparse as sp

from medley import models
from medley.errors import InputError
from medley.serving.export import export
from medley.serving.fold_in import FoldIn, fit_fold_in, recall_at
from medley.serving.scores import Vectors


@pytest.mark.parametrize(("name", "options"), [("ease", {}), ("itemknn", {"k": 7}), ("macridvae", {"dim": 8})])
def test_an_exact_rule_gives_a_known_user_the_scores_of_the_model(name, options, simulated):
    bundle = export(models.build(name, simulated.inputs(), **options), simulated)
    assert bundle.fold_in_rule.rule in ("history", "encoder")
    users = np.arange(10)
    folded = np.stack([bundle.fold_in(bundle.history(user)) for user in users])
    exact = bundle.scores.scores(bundle.scores.queries(users))
    np.testing.assert_allclose(bundle.scores.scores(folded), exact, atol=1e-4)


def by_hand(v, weights, x, C_inverse, target, noise):
    """The optimum of the regression, by its normal equations."""
    w = np.abs(weights) / noise
    residual = target * np.sign(weights) - v @ x
    return x + np.linalg.solve(v.T @ (w[:, None] * v) + C_inverse, v.T @ (w * residual))


@pytest.mark.parametrize("n", [1, 3, 12])
def test_an_inferred_vector_is_the_optimum_of_the_regression(n):
    rng = np.random.default_rng(n)
    item = np.concatenate([rng.standard_normal((20, 5)), np.zeros((20, 1))], axis=1).astype("f4")
    half = rng.standard_normal((5, 5))
    C = half @ half.T + np.eye(5)
    A, b, centre = rng.standard_normal((5, 5)), rng.standard_normal(5), rng.standard_normal(5)
    weights = rng.choice([-1.0, 0.5, 2.0], n)
    rule = FoldIn(
        "map and least squares",
        {"A": A, "b": b, "C": C, "centre": centre, "mean": np.zeros(5), "covariance": np.cov(item[:, :5].T, bias=True)},
        {"target": 1.5, "noise": 0.7},
    )
    history = rng.permutation(20)[:n]
    v = item[history, :5] - centre
    x = b + A @ (weights @ v) / np.sqrt(np.abs(weights).sum())
    expected = by_hand(v, weights, x, np.linalg.inv(C), 1.5, 0.7)
    query = rule(Vectors(np.zeros((1, 6), "f4"), item, {}), history, weights)
    np.testing.assert_allclose(query[:-1], expected, rtol=1e-3, atol=1e-4)
    assert query[-1] == pytest.approx((item[:, :5] @ expected).std(), rel=1e-3)


def planted(rng, num_users, num_items=120, dim=6):
    """Users with tastes, and 0/1 histories drawn from them."""
    item, user = rng.standard_normal((num_items, dim)), 1.5 * rng.standard_normal((num_users, dim))
    score = user @ item.T
    drawn = np.argsort(-(score + rng.gumbel(size=score.shape)), axis=1)
    train, valid = np.zeros((2, *score.shape), dtype="f4")
    for row, order in enumerate(drawn):
        train[row, order[:12]], valid[row, order[12:18]] = 1, 1
    return user, item, sp.csr_array(train), sp.csr_array(valid)


def test_new_users_of_known_tastes_get_lists_nearly_as_good_as_with_their_true_vectors():
    rng = np.random.default_rng(0)
    user, item, train, valid = planted(rng, 400)
    ends = [np.ones((400, 1)), np.zeros((120, 1))]
    known = Vectors(
        *(np.concatenate([x, end], axis=1, dtype="f4") for x, end in zip((user, item), ends, strict=True)), {}
    )
    some = Vectors(known.user[:300], known.item, {})
    rule = fit_fold_in(some, train[:300], valid[:300])
    folded = np.stack([rule(some, train[[u]].indices) for u in range(300, 400)])
    of_truth = recall_at(known.scores(known.user[300:]), train[300:], valid[300:])
    of_folded = recall_at(known.scores(folded), train[300:], valid[300:])
    of_mean = recall_at(np.tile(known.scores(known.user[:300].mean(axis=0)[None]), (100, 1)), train[300:], valid[300:])
    assert of_folded > 0.85 * of_truth > 1.5 * of_mean
    assert rule.measured[rule.rule] == max(v for name, v in rule.measured.items() if name != "trained")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_histories_so_long_that_the_weight_of_an_old_item_is_0_choose_a_recency():
    rng = np.random.default_rng(0)
    num_users, num_items, num_old = 40, 240, 160
    taste = rng.integers(40, size=num_users)  # the latest item and those of validation are of it; six items have it
    tastes = rng.standard_normal((40, 8))
    user, item = tastes[taste], tastes[np.arange(num_items) // 6] + 0.5 * rng.standard_normal((num_items, 8))
    train, valid, age = (np.zeros((num_users, num_items)) for _ in range(3))
    for row, each in enumerate(taste):
        latest, *later = 6 * each + np.arange(6)
        old = rng.choice(np.flatnonzero(np.arange(num_items) // 6 != each), num_old, replace=False)
        train[row, [*old, latest]], valid[row, later] = 1, 1
        age[row, [*old, latest]] = np.arange(num_old + 1)[::-1]
    table = [np.concatenate([one, np.zeros((len(one), 1))], axis=1).astype("f4") for one in (user, item)]
    pairs = sp.csr_array(train.astype("f4"))
    ages = age[pairs.nonzero()].astype("i4")
    rule = fit_fold_in(Vectors(*table, {}), pairs, sp.csr_array(valid.astype("f4")), ages=ages)
    assert rule.settings["recency"] in (0.3, 0.5) and 0.5**num_old < np.finfo("f4").smallest_subnormal
    assert rule.measured[rule.rule] > 1.1 * rule.measured["without recency"]


def test_columns_that_are_equal_for_all_users_stay_as_they_are(simulated):
    bundle = export(models.build("vbpr", simulated.inputs(), dim=8), simulated)
    query = bundle.fold_in(bundle.history(3))
    constant = (bundle.user == bundle.user[0]).all(axis=0)
    assert constant.sum() >= 4
    np.testing.assert_allclose(query[constant], bundle.user[0][constant], atol=1e-4)


def test_repeated_columns_of_a_user_stay_repeated(simulated):
    bundle = export(models.build("mmgcn", simulated.inputs(), dim=8), simulated)
    query = bundle.fold_in(bundle.history(3))
    first, *others = (query[columns] for columns in bundle.parts.values())
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-3 * np.abs(first).max())


def test_a_disliked_item_is_scored_lower(simulated):
    bundle = export(models.build("mf", simulated.inputs(), dim=8), simulated)
    history = bundle.history(0)[:5]
    liked, disliked = (bundle.fold_in(history, np.array([1, 1, 1, 1, sign])) for sign in (1, -1))
    vector = bundle.scores.item_vectors(history[4:])
    assert bundle.scores.match(disliked[None], vector) < bundle.scores.match(liked[None], vector)


def test_an_empty_history_is_the_mean_user(simulated):
    bundle = export(models.build("mf", simulated.inputs(), dim=8), simulated)
    query = bundle.fold_in(np.zeros(0, dtype=np.int64))
    np.testing.assert_allclose(query[:-1], bundle.user[:, :-1].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("history", "weights", "problem"),
    [
        ([0, 90], None, "item rows from 0 to 89"),
        ([-1], None, "item rows from 0 to 89"),
        ([3, 3], None, "distinct items"),
        ([0.5], None, "an array .* of item rows"),
        ([1, 2], [1.0], "2 finite numbers"),
        ([1], [np.nan], "NaN or infinity"),
    ],
)
def test_wrong_histories_are_refused(simulated, history, weights, problem):
    bundle = export(models.build("popularity", simulated.inputs()), simulated)
    with pytest.raises(InputError, match=problem):
        bundle.fold_in(np.array(history), None if weights is None else np.array(weights))


def test_a_model_that_knows_no_dislikes_says_so(simulated):
    bundle = export(models.build("macridvae", simulated.inputs(), dim=8), simulated)
    with pytest.raises(InputError, match="knows no dislikes"):
        bundle.fold_in(np.array([1, 2]), np.array([1.0, -1.0]))


def test_recall_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((6, 40))
    seen, held_out = (sp.csr_array((rng.random((6, 40)) < 0.2).astype("f4")) for _ in range(2))
    expected = []
    for u in range(6):
        order = [i for i in np.argsort(-scores[u]) if not seen[u, i]][:20]
        relevant = set(held_out[[u]].indices)
        expected.append(len(relevant & set(order)) / len(relevant))
    assert recall_at(scores, seen, held_out) == pytest.approx(np.mean(expected))
