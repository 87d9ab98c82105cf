"""Recency of models that make users of their items, and users made of other histories."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medley import models
from medley.errors import InputError
from medley.nn.chosen import numbers_to_choose
from medley.scoring.blocks import sum_of_parts
from medley.testing import scores_of
from medley.types import Inputs, Interactions

FORGETFUL = [
    ("itemknn", {}),
    ("itemknn", {"similarity": "content"}),
    ("ease", {}),
    ("popularity", {}),
]
FOLDS_IN = [*FORGETFUL, ("macridvae", {}), ("itemknn", {"recency": 0.5}), ("ease", {"recency": "auto"})]


@pytest.fixture
def timed(checkerboard: Inputs) -> Inputs:
    """The checkerboard with times, some of them equal."""
    train = checkerboard.train
    time = np.random.default_rng(0).integers(0, 6, len(train))
    return Inputs(Interactions(train.user, train.item, train.num_users, train.num_items, time), checkerboard.features)


def aged(train: Interactions, recency: float) -> np.ndarray:
    """(U, I), recency^age at the pairs."""
    x = np.zeros((train.num_users, train.num_items))
    for user, item, time in zip(train.user, train.item, train.time, strict=True):
        x[user, item] = recency ** np.sum((train.user == user) & (train.time > time))
    return x


def weights_of(model) -> np.ndarray:
    """(I, I), the sum of the weights between items, by the scores of users who have seen one item each."""
    size = model.num_items
    train = Interactions(np.arange(size, dtype="i4"), np.arange(size, dtype="i4"), size, size, np.zeros(size))
    score = model.scorer_of(train)
    return sum_of_parts(score, torch.arange(size)).numpy()


@pytest.mark.parametrize(("name", "options"), FORGETFUL[:3])
def test_an_item_weighs_less_for_every_later_one_and_the_weights_between_items_stay(timed: Inputs, name, options):
    plain, forgetful = (models.build(name, timed, **options, recency=recency) for recency in (1.0, 0.6))
    between = weights_of(plain)
    assert np.array_equal(weights_of(forgetful), between)
    assert np.allclose(scores_of(forgetful), aged(timed.train, 0.6) @ between, atol=1e-4)
    assert np.allclose(scores_of(plain), aged(timed.train, 1.0) @ between, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), FORGETFUL)
def test_without_recency_no_bit_depends_on_the_times(timed: Inputs, checkerboard: Inputs, name, options):
    options = {**options, "recency": 1.0}
    scores = [scores_of(models.build(name, inputs, **options)) for inputs in (timed, checkerboard)]
    assert np.array_equal(*scores)
    assert models.build(name, timed, **options).state_dict().keys() == {}.keys()


@pytest.mark.parametrize(("name", "options"), FORGETFUL)
def test_without_times_a_fixed_recency_is_refused_and_a_chosen_one_is_1(checkerboard: Inputs, name, options):
    checkerboard = checkerboard._replace(train=replace(checkerboard.train, time=None))
    with pytest.raises(InputError, match="times"):
        models.build(name, checkerboard, **options, recency=0.9)
    auto = models.build(name, checkerboard, **options, recency="auto")
    assert not numbers_to_choose(auto)
    assert np.array_equal(scores_of(auto), scores_of(models.build(name, checkerboard, **options)))


@pytest.mark.parametrize(("name", "options"), FOLDS_IN)
def test_users_with_the_history_of_another_get_the_scores_of_the_other(timed: Inputs, name, options):
    model = models.build(name, timed, **options).eval()
    for number in numbers_to_choose(model).values():
        number.value.fill_(0.7)
    other = np.random.default_rng(1).permutation(model.num_users)
    train = timed.train
    history = Interactions(other[train.user].astype("i4"), train.item, train.num_users, train.num_items, train.time)
    before = scores_of(model)
    model.scorer = lambda: model.scorer_of(history)
    after = scores_of(model)
    assert np.allclose(after[other], before, atol=1e-6)
    assert name == "popularity" or not np.allclose(after, before, atol=1e-3)


def test_models_with_learned_user_vectors_refuse_other_histories(checkerboard: Inputs):
    for name in models.names():
        if not models.find(name).folds_in:
            model = models.build(name, checkerboard)
            with pytest.raises(InputError, match="refit the model on the new history"):
                model.scorer_of(checkerboard.train)


def test_recent_popularity_sums_weights_by_the_order_of_each_user_and_by_the_clock(timed: Inputs):
    train = timed.train
    train.time[:] = train.time + train.user % 2  # a clock: not all users begin at the same moment
    ages = aged(train, 0.5)[train.user, train.item]
    clock = 2.0 ** (-(train.time.max() - train.time) / 3)
    for options, weight in (
        ({"recency": 0.5}, ages),
        ({"half_life": 3}, clock),
        ({"recency": 0.5, "half_life": 3}, ages * clock),
    ):
        scores = scores_of(models.build("popularity", timed, **options))
        expected = np.bincount(train.item, weights=weight, minlength=train.num_items)
        assert np.allclose(scores, expected[None], atol=1e-4)


def test_the_clock_forgets_nothing_with_the_longest_half_life(timed: Inputs):
    timed.train.time[:] += timed.train.user
    model = models.build("popularity", timed, half_life="auto")
    assert np.array_equal(scores_of(model)[0], timed.train.users_per_item())
    number = numbers_to_choose(model)["half_life"]
    number.value.fill_(number.among[-1])
    assert scores_of(model).max() < timed.train.users_per_item().max()


def test_places_in_the_lists_of_users_are_not_a_clock(timed: Inputs):
    train = timed.train
    train.time[:] = train.ages().max() - train.ages()
    train.time[np.unique(train.user, return_index=True)[1]] = -1
    with pytest.raises(InputError, match="places in the list of each user"):
        models.build("popularity", timed, half_life=2.0)
    assert not numbers_to_choose(models.build("popularity", timed, half_life="auto"))
    assert "recency" in numbers_to_choose(models.build("popularity", timed, recency="auto"))
