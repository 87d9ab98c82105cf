import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medley.errors import InputError
from medley.training.sampling import TripletSampler, batches
from medley.types import Interactions


def sampler_of(seen: np.ndarray, seed: int = 0) -> TripletSampler:
    user, item = np.nonzero(seen)
    train = Interactions(user.astype("i4"), item.astype("i4"), *seen.shape)
    return TripletSampler(train, torch.Generator().manual_seed(seed))


@given(st.integers(1, 6), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_an_epoch_holds_every_interaction_once_and_no_negative_was_seen(num_users, num_items, seed):
    seen = np.random.default_rng(seed).random((num_users, num_items)) < 0.6
    seen[:, 0] = False
    seen[0, 1] = True
    epoch = sampler_of(seen, seed).epoch()
    pairs = set(zip(epoch.user.tolist(), epoch.pos.tolist(), strict=True))
    assert len(pairs) == len(epoch.user) and pairs == set(zip(*map(np.ndarray.tolist, np.nonzero(seen)), strict=True))
    assert not seen[epoch.user, epoch.neg].any()


def test_negatives_are_uniform_over_the_unseen_items():
    seen = np.zeros((1, 5), dtype=bool)
    seen[0, [0, 3]] = True
    sampler = sampler_of(seen)
    drawn = torch.cat([sampler.epoch().neg for _ in range(3000)])
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    assert shares[[0, 3]].tolist() == [0, 0]
    assert np.allclose(shares[[1, 2, 4]], 1 / 3, atol=0.03)


def test_users_who_have_seen_all_items_are_left_out():
    epoch = sampler_of(np.array([[True, True, True], [True, False, False]])).epoch()
    assert epoch.user.tolist() == [1]


def test_a_catalogue_that_everyone_has_seen_is_refused():
    with pytest.raises(InputError, match="not seen all items"):
        sampler_of(np.ones((2, 3), dtype=bool))


def test_the_same_generator_state_gives_the_same_epochs_and_the_next_epoch_differs():
    seen = np.random.default_rng(0).random((5, 20)) < 0.3
    one, other = sampler_of(seen, 7), sampler_of(seen, 7)
    first, second = one.epoch(), one.epoch()
    assert all(torch.equal(a, b) for a, b in zip(first, other.epoch(), strict=True))
    assert not torch.equal(first.user, second.user) or not torch.equal(first.neg, second.neg)


def test_batches_cut_an_epoch_without_losing_a_triplet():
    epoch = sampler_of(np.random.default_rng(0).random((5, 20)) < 0.3).epoch()
    parts = list(batches(epoch, 7))
    assert all(len(part.user) <= 7 for part in parts)
    assert torch.equal(torch.cat([part.neg for part in parts]), epoch.neg)


def test_the_search_of_other_devices_finds_the_same(monkeypatch):
    seen = np.random.default_rng(0).random((7, 30)) < 0.4
    sampler = sampler_of(seen)
    user, item = torch.randint(7, (500,)), torch.randint(30, (500,))
    compiled, _ = sampler._is_seen(user, item), sampler._codes
    monkeypatch.setattr(sampler, "device", torch.device("meta"))
    assert torch.equal(sampler._is_seen(user, item), compiled)
    assert compiled.tolist() == seen[user, item].tolist()
