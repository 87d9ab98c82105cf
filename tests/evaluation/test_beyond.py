"""Figures beyond accuracy against slow loops, numbers worked out by hand, and what must hold for special lists."""

import math
from itertools import combinations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

import medley
from medley.errors import InputError
from medley.evaluation.beyond import (
    MEASURES,
    Beyond,
    coverage,
    gini,
    intra_list_diversity,
    inverse_norms,
    measure_of,
    miscalibration,
    novelty,
    popularity_lift,
    share_of_cold,
)
from medley.evaluation.evaluator import Evaluator
from medley.types import Embeddings, Features

NUM_ITEMS = 9
POPULARITY = np.array([8, 4, 4, 2, 1, 1, 0, 0, 0])


@st.composite
def worlds(draw):
    """Lists (q, K) of distinct items, some of them short."""
    num_users, k = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    lists = np.full((num_users, k), -1)
    for row in lists:
        items = draw(st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=k))
        row[: len(items)] = items
    return lists


def listed(row):
    return [int(item) for item in row if item >= 0]


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def close(expected):
    return pytest.approx(expected, nan_ok=True, abs=1e-6)


@given(worlds())
def test_coverage_and_gini_equal_slow_loops(lists):
    count = [sum(item in listed(row) for row in lists) for item in range(NUM_ITEMS)]
    assert coverage(lists, NUM_ITEMS) == sum(c > 0 for c in count) / NUM_ITEMS
    pairs = sum(abs(a - b) for a in count for b in count)  # Gini: mean absolute difference / twice the mean
    slow = pairs / (2 * NUM_ITEMS * sum(count)) if sum(count) else math.nan
    assert gini(lists, NUM_ITEMS) == close(slow)


def test_gini_is_0_for_even_lists_and_nearly_1_for_one_item():
    assert gini(np.arange(9).reshape(3, 3), 9) == 0
    assert gini(np.zeros((50, 1), dtype=int), 1000) == pytest.approx(0.999)


@given(worlds())
def test_novelty_and_share_of_cold_equal_slow_loops(lists):
    bits = [-math.log2(max(count, 1) / 16) for count in POPULARITY]
    assert novelty(lists, POPULARITY, 16) == close([mean(bits[i] for i in listed(row)) for row in lists])
    cold = [mean(POPULARITY[i] == 0 for i in listed(row)) for row in lists]
    assert share_of_cold(lists, POPULARITY) == close(cold)


def test_an_item_that_half_of_the_users_have_seen_surprises_by_one_bit():
    assert novelty(np.array([[0]]), POPULARITY, 16).tolist() == [1]


@given(worlds(), st.lists(st.sampled_from([1.0, 2.5, math.nan]), min_size=5, max_size=5))
def test_popularity_lift_equals_a_slow_loop(lists, profiles):
    profile = np.array(profiles[: len(lists)])
    known = [(row, p) for row, p in zip(lists, profile, strict=True) if listed(row) and not math.isnan(p)]
    ours = mean(mean(POPULARITY[i] for i in listed(row)) for row, _ in known)
    slow = ours / mean(p for _, p in known) - 1 if known else math.nan
    assert popularity_lift(lists, POPULARITY, profile) == close(slow)


def features_at_random(dtype):
    rng = np.random.default_rng(0)
    values, present = rng.normal(size=(NUM_ITEMS, 5)).astype(dtype), rng.random(NUM_ITEMS) < 0.8
    present[:2] = True
    values[1] = 0  # no direction
    values[~present] = np.nan  # rows of absent items carry no meaning
    return Features(values, present)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@given(worlds(), st.sampled_from([0, 64]))
def test_diversity_is_the_mean_cosine_distance_of_all_pairs(dtype, lists, memory_mb):
    features = features_at_random(dtype)
    has = [item for item in range(NUM_ITEMS) if features.present[item] and features.values[item].any()]
    values = features.values.astype(np.float64)

    def distance(i, j):
        return 1 - values[i] @ values[j] / np.linalg.norm(values[i]) / np.linalg.norm(values[j])

    inverse = inverse_norms(features, memory_mb=memory_mb)
    ks = (lists.shape[1], 2)
    found = intra_list_diversity(lists, features, inverse, ks, memory_mb=memory_mb)
    for row, k in enumerate(ks):
        pairs = [list(combinations([i for i in listed(one[:k]) if i in has], 2)) for one in lists]
        assert found[row] == close([mean(distance(i, j) for i, j in one) for one in pairs])


GROUPS = sp.csr_array(np.array([[1, 0], [0.5, 0.5], [0, 1], [0, 0], [1, 0], [0, 1], [0, 1], [0.5, 0.5], [0, 0]]))


@given(worlds(), st.lists(st.sets(st.integers(0, 8)), min_size=5, max_size=5), st.sampled_from([0, 64]))
def test_miscalibration_equals_a_slow_loop(lists, profiles, memory_mb):
    share = GROUPS.toarray()

    def mix(items):
        total = [sum(share[i][g] for i in items) for g in range(2)]
        return [t / sum(total) for t in total] if sum(total) else None

    def divergence(items, profile):
        p, q = mix(profile), mix(items)
        if p is None or q is None:
            return math.nan
        return sum(a * math.log2(a / (0.99 * b + 0.01 * a)) for a, b in zip(p, q, strict=True) if a)

    has = [[float(item in profile) for item in range(NUM_ITEMS)] for profile in profiles[: len(lists)]]
    found = miscalibration(lists, sp.csr_array(np.array(has)), GROUPS, memory_mb=memory_mb)
    assert found == close([divergence(listed(row), p) for row, p in zip(lists, profiles, strict=False)])


def test_a_list_like_the_profile_is_calibrated_and_a_list_of_other_genres_is_not():
    profile = sp.csr_array(np.array([[1, 0, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0.0]]))
    found = miscalibration(np.array([[4, 5], [5, 6]]), profile, GROUPS)
    assert found == pytest.approx([0, math.log2(100)])


def test_every_figure_has_a_meaning_and_a_direction(simulated):
    data = simulated
    beyond = Beyond(data, Evaluator(data, at=(5,)).queries, at=(5,), genres="title")
    means, _ = beyond(np.tile(np.arange(5), (len(beyond.queries.user), 1)))
    assert {measure_of(name) for name in means} == MEASURES.keys()


@pytest.fixture
def evaluator(simulated):
    return Evaluator(simulated, at=(3, 10))


def test_figures_of_a_data_set_are_those_of_the_functions(simulated, evaluator):
    rng = np.random.default_rng(0)
    items = np.array([rng.permutation(90)[:10] for _ in evaluator.queries.user])
    means, single = Beyond(simulated, evaluator.queries, at=(3, 10))(items)
    train = simulated.train
    popularity, users = train.users_per_item(), evaluator.queries.user
    profile = [mean(popularity[train.item[train.user == user]]) for user in users]
    assert means["coverage@3"] == coverage(items[:, :3], 90)
    assert means["gini@10"] == gini(items, 90)
    assert means["popularity_lift@3"] == close(popularity_lift(items[:, :3], popularity, np.array(profile)))
    assert single["novelty@10"] == close(novelty(items, popularity, len(np.unique(train.user))))
    for name, features in simulated.features.items():
        slow = intra_list_diversity(items, features, inverse_norms(features), (10, 3))
        assert single[f"{name}_diversity@10"] == close(slow[0]) and single[f"{name}_diversity@3"] == close(slow[1])
    for name, values in single.items():
        assert means[name] == close(np.nanmean(values))
    whole = {f"{name}@{k}" for name in ("coverage", "gini", "popularity_lift") for k in (3, 10)}
    assert means.keys() == single.keys() | whole


def test_popular_lists_are_the_least_novel_and_random_lists_have_the_cold_items_of_the_catalogue(simulated, evaluator):
    beyond = Beyond(simulated, evaluator.queries, at=(10,))
    references = beyond.references()
    assert references == beyond.references() != beyond.references(seed=1)
    popular, chance = references["popular"], references["random"]
    popularity = simulated.train.users_per_item()
    assert chance["share_of_cold@10"] == pytest.approx((popularity == 0).mean(), abs=0.03)
    assert popular["novelty@10"] < chance["novelty@10"] and popular["gini@10"] > chance["gini@10"]
    assert popular["popularity_lift@10"] > 0
    model = Embeddings(torch.ones(60, 1), torch.from_numpy(popularity[:, None]).float())
    assert beyond(evaluator.top_lists(model))[0] == popular


def test_an_evaluation_beyond_accuracy_changes_no_other_figure_and_is_kept_in_the_run(simulated, tmp_path):
    run = medley.train("mf", simulated, out=tmp_path / "mf", dim=4, num_epochs=1, progress=False)
    plain = medley.evaluate(run)
    found = medley.evaluate(run, beyond=True)
    assert (found.metrics, found.lists, found.fingerprint) == (plain.metrics, plain.lists, plain.fingerprint)
    assert plain.beyond == {} and plain.references == {}
    assert found.beyond["coverage@20"] == found.lists["coverage@20"]
    assert found.references.keys() == {"popular", "random"}
    assert found.per_user["novelty@20"].mean() == pytest.approx(found.beyond["novelty@20"])
    again = run.evaluation()
    assert (again.beyond, again.references) == (found.beyond, found.references)
    medley.evaluate(run, beyond=True, candidates="sampled-20")
    sampled = run.evaluation(candidates="sampled-20")
    assert "novelty@20" not in sampled.per_user and "novelty@20" in sampled.beyond


def test_runs_are_compared_by_figures_beyond_accuracy_and_by_groups(simulated, tmp_path):
    runs = [
        medley.train(name, simulated, out=tmp_path / name, progress=False, **options)
        for name, options in {"popularity": {}, "mf": {"dim": 4, "num_epochs": 1}}.items()
    ]
    for run in runs:
        medley.evaluate(run, beyond=True, groups=True)
    row = medley.compare(runs, metric="novelty@20", test="t")[1]
    first, second = (run.evaluation().beyond["novelty@20"] for run in runs)
    assert row.comparison.difference == pytest.approx(second - first)
    assert row.comparison.p_value == row.comparison.t_p < 0.01 and row.metrics["novelty@20"] == second
    cold = medley.compare(runs, metric="cold_recall@20")[1].comparison
    assert cold.num_pairs == (~np.isnan(runs[0].evaluation().per_user["cold_recall@20"])).sum() > 1
    first, second = (run.evaluation().metrics["cold_recall@20"] for run in runs)
    assert cold.difference == pytest.approx(second - first)


def test_genres_need_figures_beyond_accuracy_and_a_column_that_exists(simulated):
    model = medley.build("popularity", simulated)
    with pytest.raises(InputError, match="expected figures beyond accuracy, got none"):
        medley.evaluate(model, simulated, genres="title")
    with pytest.raises(InputError, match="column of genres: expected title, got 'genre'"):
        medley.evaluate(model, simulated, beyond=True, genres="genre")
    with pytest.raises(InputError, match="expected a column of genres too"):
        medley.evaluate(model, simulated, beyond=True, genre_separator="|")


def test_genres_of_a_data_set_are_measured():
    log = pl.DataFrame({"user": list("aaabbbccc"), "item": list("xyzxywxzw"), "split": ["train", "train", "test"] * 3})
    items = pl.DataFrame({"item": list("xyzw"), "genre": ["rock", "rock|pop", "pop", None]})
    data = medley.Dataset.from_frames(log, items=items, user_column="user", item_column="item")
    found = medley.evaluate(medley.build("popularity", data), data, at=1, beyond=True, genres="genre")
    # a and b have seen x and y (3/4 rock) and get z (pop); c has seen x and z (half, half) and gets y (half, half)
    p, q = (0.75, 0.25), (0, 1)
    one = sum(a * math.log2(a / (0.99 * b + 0.01 * a)) for a, b in zip(p, q, strict=True))
    assert found.per_user["genre_miscalibration@1"] == pytest.approx([one, one, 0])
