"""Histories that are weighed by recency: what is served equals what torch computes of the same history."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.serving.asking import served

import medley
from medley.errors import InputError
from medley.models import Recommender
from medley.nn.seen import SeenItems
from medley.scoring.blocks import sum_of_parts
from medley.serving.bundle import Bundle
from medley.serving.export import export
from medley.serving.fold_in import fit_fold_in
from medley.serving.requests import Event, RecommendRequest, UserRequest
from medley.serving.scores import Vectors
from medley.serving.service import Service
from medley.types import Interactions, ItemToItem

MODELS = {"itemknn": {"k": 20}, "by content": {"similarity": "content"}, "ease": {}}


@pytest.fixture(scope="module", params=[*MODELS])
def exported(request, simulated, tmp_path_factory):
    """A model with recency, its data and its bundle, read from a file."""
    name = "itemknn" if request.param == "by content" else request.param
    model = medley.build(name, simulated, recency=0.7, **MODELS[request.param])
    path = tmp_path_factory.mktemp("bundles") / "bundle.medley"
    medley.export(model, simulated, out=path)
    return model, simulated, Bundle.read(path)


def torch_scores(model: Recommender, histories: list[list[int]], ages: list[list[int]] | None = None) -> np.ndarray:
    """(B, I), the scores of users who have seen these items, the latest last or by age."""
    user = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    item = np.concatenate([np.array(items, dtype=np.int64) for items in histories])
    time = np.concatenate([np.arange(len(items)) for items in histories])
    time = time if ages is None else -np.concatenate(ages)
    history = Interactions(user.astype("i4"), item.astype("i4"), len(histories), model.num_items, time)
    return sum_of_parts(model.scorer_of(history), torch.arange(len(histories))).numpy()


def test_known_users_have_the_scores_of_the_model(exported):
    model, data, bundle = exported
    users = np.arange(20)
    expected = sum_of_parts(model.scorer(), torch.arange(20)).numpy()
    np.testing.assert_allclose(bundle.scores.scores(bundle.scores.queries(users)), expected, atol=1e-5)
    service = Service(bundle)
    raw = data.users.raw_id(3)
    np.testing.assert_allclose(served(service, user=raw), expected[3], atol=1e-5)
    assert bundle.manifest.fold_in["settings"]["recency"] == 0.7


def test_a_history_in_a_question_is_read_with_the_latest_last(exported):
    model, data, bundle = exported
    history = [5, 17, 2, 40]
    service, raw = Service(bundle), [data.items.raw_id(row) for row in history]
    expected = torch_scores(model, [history, history[::-1]])
    assert not np.allclose(*expected)
    np.testing.assert_allclose(served(service, history=raw), expected[0], atol=1e-5)
    np.testing.assert_allclose(served(service, history=raw[::-1]), expected[1], atol=1e-5)
    np.testing.assert_allclose(bundle.scores.scores(bundle.fold_in(np.array(history))[None])[0], expected[0], atol=1e-5)


def test_examples_have_no_order(exported):
    model, data, bundle = exported
    rows = [5, 17, 2]
    answer = Service(bundle).recommend(
        RecommendRequest(positive=[data.items.raw_id(row) for row in rows], k=5, hide_seen=False)
    )
    expected = torch_scores(model, [rows], [[0, 0, 0]])[0]
    assert len(answer.items) == 5
    for item in answer.items:
        assert item.score == pytest.approx(expected[data.items.row(item.id)], abs=1e-5)


def test_feedback_makes_earlier_items_older(exported):
    model, data, bundle = exported
    service, user = Service(bundle), 4
    seen = data.union("train+valid+test").csr()[[user]].indices
    new = np.setdiff1d(np.arange(model.num_items), seen)[:2].tolist()
    raw = data.users.raw_id(user)
    for row in new:
        service.feedback([Event(user=raw, item=data.items.raw_id(row), type="like")])
    train = data.train.only(data.train.user == user)
    expected = torch_scores(model, [[*train.item, *new]], [[*(train.ages() + 2), 1, 0]])[0]
    np.testing.assert_allclose(served(service, user=raw), expected, atol=1e-5)


def test_a_user_who_was_put_has_a_history_in_order_and_later_feedback(exported):
    model, data, bundle = exported
    service, history = Service(bundle), [8, 3, 30]
    ids = [data.items.raw_id(row) for row in [*history, 21]]
    service.put_user("new", UserRequest(history=ids[:3]))
    np.testing.assert_allclose(served(service, user="new"), torch_scores(model, [history])[0], atol=1e-5)
    service.feedback([Event(user="new", item=ids[3], type="like")])
    np.testing.assert_allclose(served(service, user="new"), torch_scores(model, [[*history, 21]])[0], atol=1e-5)


def test_a_dislike_of_an_item_of_train_counts_as_one_of_an_item_of_a_put_history(exported):
    _, data, bundle = exported
    service, user = Service(bundle), 4
    train = data.train.only(data.train.user == user)
    history = [data.items.raw_id(row) for row in train.item[np.argsort(-train.ages())]]
    service.put_user("new", UserRequest(history=history))
    known = data.users.raw_id(user)
    service.feedback([Event(user=each, item=history[-2], type="dislike") for each in ("new", known)])
    np.testing.assert_allclose(served(service, user=known), served(service, user="new"), atol=1e-5)


def test_a_service_of_a_model_in_memory_weighs_by_recency_too(exported):
    model, data, _ = exported
    expected = sum_of_parts(model.scorer(), torch.arange(1)).numpy()[0]
    listed = medley.recommend(model, data, user=data.users.raw_id(0), k=5)
    assert len(listed) == 5
    for item in listed:
        assert item.score == pytest.approx(expected[data.items.row(item.item)], abs=1e-5)


def test_bundles_without_recency_hold_no_ages_and_know_no_order(simulated, tmp_path):
    bundle = export(medley.build("itemknn", simulated), simulated, tmp_path / "bundle")
    assert bundle.age is None and "recency" not in bundle.manifest.fold_in["settings"]
    read = Bundle.read(tmp_path / "bundle")
    history = np.array([3, 9, 1])
    assert np.array_equal(read.fold_in(history), read.fold_in(history[::-1]))
    assert not read.ages(0).any() and len(read.ages(0)) == len(read.history(0))


def test_weights_that_only_the_model_knows_are_refused(simulated):
    model = medley.build("ease", simulated)
    own = SeenItems(simulated.train, 0.5)
    score = model.scorer()
    model.scorer = lambda: ItemToItem(lambda users: own(users), score.weights)
    with pytest.raises(InputError, match="weights of its own"):
        export(model, simulated)


def test_the_rule_of_vectors_chooses_a_recency_where_the_latest_items_tell_the_next(simulated):
    """Users drift: the taste behind validation is that of the latest items, and their vectors say so."""
    rng = np.random.default_rng(0)
    item = rng.standard_normal((200, 6))
    early, late = rng.standard_normal((2, 300, 6))
    pairs, valid = [], []
    for user in range(300):
        old, new = (np.argsort(-(2 * taste @ item.T + rng.gumbel(size=200))) for taste in (early[user], late[user]))
        new = new[~np.isin(new, old[:10])]
        pairs += [(user, row, age) for age, row in enumerate([*new[:5], *old[:10]])]
        valid += [(user, row) for row in new[5:9]]
    user, row, age = np.array(sorted(pairs)).T
    train = matrix(user, row, (300, 200))
    scores = Vectors(
        np.column_stack([late, np.ones(300)]).astype("f4"), np.column_stack([item, np.zeros(200)]).astype("f4"), {}
    )
    held_out = matrix(*np.array(valid).T, (300, 200))
    plain, timed = (fit_fold_in(scores, train, held_out, ages=ages) for ages in (None, age))
    assert "recency" not in plain.settings and timed.recency < 1
    assert timed.measured[timed.rule] > timed.measured["without recency"] == plain.measured[plain.rule]
    history = np.arange(8)
    assert not np.allclose(timed(scores, history), timed(scores, history[::-1]))
    np.testing.assert_allclose(
        timed(scores, history), timed(scores, history[::-1], timed.recency ** np.arange(8)), rtol=1e-5, atol=1e-6
    )


def matrix(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]):
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(user), dtype="f4"), (user, item)), shape=shape)


def test_users_of_vectors_with_feedback_keep_what_was_learned_of_them(simulated):
    """The learned vector changes by what the feedback adds to the fold-in of the user's aged history."""
    run = medley.train("mf", simulated, num_epochs=3, progress=False)
    bundle = export(run, simulated)
    rule = dataclasses.replace(bundle.fold_in_rule, settings={**bundle.fold_in_rule.settings, "recency": 0.5})
    age = np.arange(len(bundle.seen.data), dtype="i4") % 7
    service = Service(dataclasses.replace(bundle, fold_in_rule=rule, age=age))
    user = 2
    before, ages = bundle.history(user), dataclasses.replace(bundle, age=age).ages(user)
    seen = simulated.union("train+valid+test").csr()[[user]].indices
    new = np.setdiff1d(np.arange(90), seen)[0]
    service.feedback([Event(user=simulated.users.raw_id(user), item=simulated.items.raw_id(new), type="like")])
    expected = bundle.scores.queries(np.array([user]))[0]
    expected = expected + rule(bundle.scores, np.append(before, new), 0.5 ** np.append(ages + 1, 0))
    expected = expected - rule(bundle.scores, before, 0.5**ages)
    np.testing.assert_allclose(service.people.query(simulated.users.raw_id(user)), expected, rtol=1e-4, atol=1e-5)
