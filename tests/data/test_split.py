"""Every split puts each interaction into exactly one part, as its docstring says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.data.split import RATIOS, SPLITTERS, TEST, TRAIN, VALID, Log, carve, normal_ratios
from medley.errors import InputError

edges = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 30)), min_size=1, max_size=80, unique=True)
ratios = st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)).map(normal_ratios)
seeds = st.integers(0, 99)


def log_of(pairs: list[tuple[int, int]], seed: int = 0) -> Log:
    user, item = np.array(sorted(pairs)).T
    rng = np.random.default_rng(seed)
    return Log(user, item, rng.integers(0, 9, len(user)), rng.integers(0, 3, len(user)))


def rule(n: int, ratios: tuple[float, float, float]) -> tuple[int, int]:
    """Returns (valid, test), the counts by the rule of RecBole for n interactions."""
    wanted = [0, 0]
    for part in (VALID, TEST):
        wanted[part - 1] = max(int(n * ratios[part] + 1e-9), 1 if ratios[part] else 0)
    test = min(wanted[1], n - 1)
    return min(wanted[0], n - 1 - test), test


@pytest.mark.parametrize("name", SPLITTERS)
@given(pairs=edges, ratios=ratios, seed=seeds)
def test_a_split_gives_every_interaction_one_part_and_repeats_itself(name, pairs, ratios, seed):
    log = log_of(pairs)
    codes = SPLITTERS[name](log, ratios, np.random.default_rng(seed))
    assert codes.shape == log.user.shape
    assert set(codes.tolist()) <= {TRAIN, VALID, TEST}
    assert np.array_equal(codes, SPLITTERS[name](log, ratios, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", ["random", "time"])
@given(pairs=edges, ratios=ratios)
def test_global_splits_have_the_sizes_of_the_rule(name, pairs, ratios):
    codes = SPLITTERS[name](log_of(pairs), ratios, np.random.default_rng(0))
    assert ((codes == VALID).sum(), (codes == TEST).sum()) == rule(len(pairs), ratios)


@pytest.mark.parametrize("name", ["random-user", "time-user"])
@given(pairs=edges, ratios=ratios)
def test_splits_per_user_have_the_sizes_of_the_rule_for_each_user(name, pairs, ratios):
    log = log_of(pairs)
    codes = SPLITTERS[name](log, ratios, np.random.default_rng(0))
    for user in np.unique(log.user):
        mine = codes[log.user == user]
        assert ((mine == VALID).sum(), (mine == TEST).sum()) == rule(len(mine), ratios)
        assert (mine == TRAIN).any()


@given(pairs=edges)
def test_leave_one_out_leaves_the_last_and_the_one_before(pairs):
    log = log_of(pairs)
    codes = SPLITTERS["leave-one-out"](log, RATIOS, np.random.default_rng(0))
    for user in np.unique(log.user):
        mine, time = codes[log.user == user], log.time[log.user == user]
        assert (mine == TEST).sum() == (len(mine) >= 2)
        assert (mine == VALID).sum() == (len(mine) >= 3)
        for earlier, later in ((TRAIN, VALID), (VALID, TEST), (TRAIN, TEST)):
            assert time[mine == earlier].max(initial=0) <= time[mine == later].min(initial=99)


@pytest.mark.parametrize("name", ["time", "time-user"])
@given(pairs=edges)
def test_in_splits_by_time_nothing_in_train_is_later_than_test(name, pairs):
    log = log_of(pairs)
    codes = SPLITTERS[name](log, RATIOS, np.random.default_rng(0))
    for user in np.unique(log.user):
        mine = log.user == user if name == "time-user" else np.ones_like(log.user, dtype=bool)
        for earlier, later in ((TRAIN, VALID), (VALID, TEST)):
            assert log.time[mine & (codes == earlier)].max(initial=0) <= log.time[mine & (codes == later)].min(
                initial=99
            )


@given(pairs=edges)
def test_a_cold_item_is_wholly_in_one_part(pairs):
    log = log_of(pairs)
    codes = SPLITTERS["cold-item"](log, RATIOS, np.random.default_rng(0))
    parts = [set(codes[log.item == item].tolist()) for item in np.unique(log.item)]
    assert all(len(part) == 1 for part in parts)
    assert tuple(parts.count({code}) for code in (VALID, TEST)) == rule(len(parts), RATIOS)


def test_a_given_split_is_kept_and_lacking_validation_is_carved_from_train():
    log = log_of([(u, i) for u in range(4) for i in range(20)])
    assert np.array_equal(SPLITTERS["given"](log, RATIOS, np.random.default_rng(0)), log.given)
    no_valid = np.where(log.given == VALID, TRAIN, log.given)
    codes = SPLITTERS["given"](log._replace(given=no_valid), RATIOS, np.random.default_rng(0))
    assert np.array_equal(codes == TEST, no_valid == TEST)
    assert (codes == VALID).sum() == (no_valid == TRAIN).sum() // 9


@given(pairs=edges, share=st.floats(0, 1), seed=seeds)
def test_carving_leaves_each_user_one_interaction(pairs, share, seed):
    user = log_of(pairs).user
    drawn = carve(user, share, np.random.default_rng(seed))
    assert len(set(drawn.tolist())) == len(drawn) == min(int(share * len(user) + 1e-9), len(user) - len(set(user)))
    assert set(np.delete(user, drawn)) == set(user)


def test_another_seed_gives_another_split():
    log = log_of([(u, i) for u in range(9) for i in range(20)])
    one, two = (SPLITTERS["random"](log, RATIOS, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(one, two)


def test_ten_interactions_are_cut_eight_one_one():
    codes = SPLITTERS["random"](log_of([(0, i) for i in range(10)]), RATIOS, np.random.default_rng(0))
    assert np.bincount(codes).tolist() == [8, 1, 1]


def test_without_time_a_split_by_time_is_refused_and_leave_one_out_is_random():
    log = log_of([(0, 0), (0, 1), (0, 2)])._replace(time=None)
    with pytest.raises(InputError, match="without timestamps"):
        SPLITTERS["time"](log, RATIOS, np.random.default_rng(0))
    codes = SPLITTERS["leave-one-out"](log, RATIOS, np.random.default_rng(0))
    assert sorted(codes.tolist()) == [TRAIN, VALID, TEST]


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, -1, 1), (1, 1), (float("nan"), 1, 1)])
def test_ratios_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match="ratios"):
        normal_ratios(wrong)
