"""Groups of users by activity and by dominant part, against slow loops and numpy."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

import medley
from medley.evaluation.evaluator import Evaluator
from medley.evaluation.ranking import Queries
from medley.evaluation.user_groups import by_activity, by_dominant_part, shares_of_spread
from medley.types import Interactions


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_users_are_divided_into_thirds_and_equally_active_users_stay_together(activity):
    def third(number):
        places = [place + 0.5 for place, other in enumerate(sorted(activity)) if other == number]
        middle = sum(places) / len(places) / len(activity)
        return "sparse" if middle < 1 / 3 - 1e-9 else "dense" if middle > 2 / 3 + 1e-9 else "medium"

    slow = [third(number) for number in activity]
    expected = {name: [one == name for one in slow] for name in ("sparse", "medium", "dense") if name in slow}
    found = {name: members.tolist() for name, members in by_activity(np.array(activity)).items()}
    assert found == (expected if len(expected) > 1 else {})


def test_thirds_of_users_who_all_differ_are_thirds():
    groups = by_activity(np.random.default_rng(0).permutation(300))
    assert {name: int(members.sum()) for name, members in groups.items()} == {
        "sparse": 100,
        "medium": 100,
        "dense": 100,
    }


def world(num_users=7, num_items=11):
    rng = np.random.default_rng(0)
    parts = {name: rng.normal(size=(num_users, num_items)).astype("f4") for name in ("visual", "id", "textual")}
    parts["visual"][:2] *= 5
    parts["textual"][4] *= 5
    parts["textual"] += 3  # a level that is the same for all items is no spread
    seen = rng.random((num_users, num_items)) < 0.3
    seen[:, -1] = False
    user, last = np.arange(num_users, dtype="i4"), np.full(num_users, num_items - 1, dtype="i4")
    return parts, seen, Queries.of(Interactions(user, last, num_users, num_items), sp.csr_array(seen))


def function_of(parts):
    return lambda users: {name: torch.from_numpy(part[users.numpy()]) for name, part in parts.items()}


@pytest.mark.parametrize("memory_mb", [0, 64])
def test_shares_of_the_spread_are_covariances_over_the_unseen_items(memory_mb):
    parts, seen, queries = world()
    found = shares_of_spread(function_of(parts), queries, memory_mb=memory_mb)
    for user, row in enumerate(seen):
        unseen = {name: part[user, ~row].astype(np.float64) for name, part in parts.items()}
        total = sum(unseen.values())
        for name, part in unseen.items():
            assert found[name][user] == pytest.approx(np.cov(part, total, ddof=0)[0, 1] / total.var(), abs=1e-5)
    assert sum(found.values()) == pytest.approx(np.ones(len(seen)), abs=1e-5)


def test_users_are_grouped_by_the_part_with_the_largest_share():
    parts, _, queries = world()
    shares = shares_of_spread(function_of(parts), queries)
    groups = by_dominant_part(function_of(parts), queries)
    largest = [max(shares, key=lambda name: shares[name][user]) for user in range(7)]
    assert groups == {name: pytest.approx([one == name for one in largest]) for name in shares if name in largest}
    assert groups["visual"][:2].all() and groups["textual"][4]


def test_a_user_whose_scores_are_all_equal_is_in_no_group():
    parts, _, queries = world()
    for part in parts.values():
        part[3] = 0.1
    groups = by_dominant_part(function_of(parts), queries)
    assert not any(members[3] for members in groups.values())
    assert by_dominant_part(function_of({name: np.full_like(part, 2) for name, part in parts.items()}), queries) == {}


def test_one_part_and_no_parts_make_no_groups():
    parts, _, queries = world()
    assert by_dominant_part(function_of({"id": parts["id"]}), queries) == {}
    assert by_dominant_part(lambda users: {}, queries) == {}


@pytest.mark.parametrize("candidates", ["all", "sampled-20", "sampled-20-per-user"])
def test_the_recall_of_groups_of_users_is_their_part_of_the_recall(simulated, candidates):
    model = medley.build("mmgcn", simulated, dim=4)
    found = medley.evaluate(model, simulated, at=5, groups=True, candidates=candidates)
    plain = medley.evaluate(model, simulated, at=5, candidates=candidates)
    assert found.fingerprint == plain.fingerprint and plain.metrics.items() <= found.metrics.items()
    recall = found.per_user["recall@5"]
    activity = by_activity(simulated.train.items_per_user()[np.unique(found.user)])
    dominant = [name for name in found.metrics if name.startswith("mostly_")]
    for names in ([f"{name}_users_recall@5" for name in activity], dominant):
        assert len(names) > 1
        known = [~np.isnan(found.per_user[name]) for name in names]
        assert (np.sum(known, axis=0) == 1).all()  # every user is in one group
        for name, members in zip(names, known, strict=True):
            assert (found.per_user[name][members] == recall[members]).all()
            assert found.metrics[name] == pytest.approx(recall[members].mean())
    sparse = np.unique(found.user)[activity["sparse"]]
    assert set(found.user[~np.isnan(found.per_user["sparse_users_recall@5"])]) == set(sparse)


def test_parts_that_come_from_item_weights_make_groups_too(simulated):
    model = medley.build("itemknn", simulated, similarity="content")
    found = medley.evaluate(model, simulated, at=5, groups=True)
    queries = Evaluator(simulated).queries
    groups = by_dominant_part(model.part_scores, queries)
    assert groups.keys() >= {"visual"}
    for name, members in groups.items():
        assert (~np.isnan(found.per_user[f"mostly_{name}_users_recall@5"]) == members).all()


def test_a_model_without_parts_has_groups_by_activity_alone(simulated):
    found = medley.evaluate(medley.build("mf", simulated, dim=4), simulated, at=5, groups=True)
    assert "dense_users_recall@5" in found.metrics and not any(name.startswith("mostly") for name in found.metrics)
