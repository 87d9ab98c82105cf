"""Ranks by counting against ranks by sorting."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medley.errors import InputError
from medley.evaluation import ranking
from medley.evaluation.ranking import TILE, Queries, full_ranks, sampled_ranks
from medley.evaluation.ties import tie_places
from medley.scoring.top_k import top_k
from medley.types import Embeddings, Interactions

SEEN, HELD_OUT = 1, 2
LEVELS = [-np.inf, -2.0, 0.0, 0.5, 3.0, np.inf]  # few, so that ties are the rule


def rank_held_out(score, held_out, seen, **options):
    queries = Queries.of(held_out, seen)
    return queries.ranking(full_ranks(score, queries, **options))


def rank_sampled(score, held_out, seen, *, per="pair", **options):
    queries = Queries.of(held_out, seen)
    rank = sampled_ranks(score, queries, per=per, **options)
    return (queries if per == "user" else queries.per_pair()).ranking(rank)


@st.composite
def worlds(draw):
    """Scores (U, I) full of ties, and the relation of each item to each user: SEEN, HELD_OUT or neither."""
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    scores = draw(arrays(np.float32, shape, elements=st.sampled_from(LEVELS)))
    return scores, draw(arrays(np.int8, shape, elements=st.sampled_from([0, SEEN, HELD_OUT])))


def split(role):
    user, item = np.nonzero(role == HELD_OUT)
    return Interactions(user.astype("i4"), item.astype("i4"), *role.shape), sp.csr_array(role == SEEN)


def scorer(scores):
    return torch.from_numpy(scores).__getitem__


def sorted_items(scores, role, user, place=None):
    """The unseen items of a user, best first, equal scores by place, by default that of the evaluator."""
    place = tie_places(scores.shape[1]) if place is None else place
    return sorted(np.flatnonzero(role[user] != SEEN), key=lambda item: (-scores[user, item], place[item]))


def slow_ranks(scores, role):
    """user -> ascending ranks of the held-out items."""
    ranks = {}
    for user in range(len(scores)):
        order = sorted_items(scores, role, user)
        found = [place for place, item in enumerate(order, start=1) if role[user, item] == HELD_OUT]
        if found:
            ranks[user] = found
    return ranks


def as_dict(result):
    bounds = zip(result.start[:-1], result.start[1:], strict=True)
    return {int(u): result.rank[low:high].tolist() for u, (low, high) in zip(result.user, bounds, strict=True)}


@given(worlds(), st.sampled_from([0, 64]))
def test_counted_ranks_equal_sorted_ranks_with_ties_and_infinite_scores(world, memory_mb):
    scores, role = world
    assert as_dict(rank_held_out(scorer(scores), *split(role), memory_mb=memory_mb)) == slow_ranks(scores, role)


@given(worlds(), st.sampled_from([0, 64]))
def test_the_count_for_other_devices_equals_sorted_ranks(world, memory_mb):
    scores, role = world
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(ranking.COUNT_ON, "cpu")
        assert as_dict(rank_held_out(scorer(scores), *split(role), memory_mb=memory_mb)) == slow_ranks(scores, role)


@given(worlds(), st.integers(1, 15), st.sampled_from([0, 64]), st.booleans())
def test_top_k_is_the_front_of_the_sorted_list_padded_where_it_ends(world, k, memory_mb, by_row):
    scores, role = world
    users, rows = np.arange(len(scores))[::-1].copy(), np.arange(scores.shape[1])
    place = None if by_row else tie_places(len(rows))
    items, values = top_k(scorer(scores), users, split(role)[1], k, place=place, memory_mb=memory_mb)
    for user, row, row_values in zip(users, items, values, strict=True):
        best = sorted_items(scores, role, user, rows if by_row else place)[:k]
        padding = k - len(best)
        assert row.tolist() == best + [-1] * padding
        assert row_values.tolist() == scores[user, best].tolist() + [-np.inf] * padding


def test_catalogues_of_several_tiles_are_ranked_the_same():
    rng = np.random.default_rng(0)
    shape = 3, 2 * TILE + 77
    scores, role = rng.integers(0, 50, shape).astype("f4"), rng.choice([0, SEEN, HELD_OUT], shape, p=[0.9, 0.09, 0.01])
    assert as_dict(rank_held_out(scorer(scores), *split(role))) == slow_ranks(scores, role)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_embeddings_rank_as_their_inner_products_do(dtype):
    generator = torch.Generator().manual_seed(0)  # whole numbers: exact in every precision, and many ties
    vectors = Embeddings(*(torch.randint(-2, 3, (n, 4), generator=generator).to(dtype) for n in (200, 300)))
    role = np.random.default_rng(0).choice([0, SEEN, HELD_OUT], (200, 300), p=[0.9, 0.07, 0.03])
    expected = slow_ranks((vectors.user.double() @ vectors.item.double().T).numpy(), role)
    assert as_dict(rank_held_out(vectors, *split(role))) == expected
    assert as_dict(rank_held_out(lambda user: vectors.user[user] @ vectors.item.T, *split(role))) == expected


def test_embeddings_that_require_gradients_can_be_ranked():
    vectors = Embeddings(torch.ones(2, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True))
    held_out, seen = Interactions(np.array([1], "i4"), np.array([3], "i4"), 2, 4), sp.csr_array((2, 4))
    assert rank_held_out(vectors, held_out, seen).rank.tolist() == [4]


def test_the_scores_of_the_model_are_not_written_to():
    table = torch.arange(6.0).repeat(3, 1)  # a model may hand out its own memory
    seen = sp.csr_array(np.array([[0, 0, 1, 0, 0, 1]] * 3))
    held_out = Interactions(np.arange(3, dtype="i4"), np.full(3, 3, dtype="i4"), 3, 6)
    assert rank_held_out(lambda user: table, held_out, seen).rank.tolist() == [2, 2, 2]
    assert top_k(lambda user: table, np.arange(3), seen, 2)[0].tolist() == [[4, 3]] * 3
    assert table.tolist() == [[0, 1, 2, 3, 4, 5]] * 3


@pytest.mark.parametrize("on", ["cpu", "other"])
def test_nan_scores_are_refused(on, monkeypatch):
    if on == "other":
        monkeypatch.delitem(ranking.COUNT_ON, "cpu")
    scores = torch.zeros(2, 5)
    scores[1, 4] = torch.nan
    held_out, seen = Interactions(np.array([0, 1], "i4"), np.array([0, 1], "i4"), 2, 5), sp.csr_array((2, 5))
    for call in (
        lambda: rank_held_out(scores.__getitem__, held_out, seen),
        lambda: rank_sampled(scores.__getitem__, held_out, seen, generator=np.random.default_rng(0)),
        lambda: top_k(scores.__getitem__, np.arange(2), seen, 2),
    ):
        with pytest.raises(InputError, match="expected numbers, got 1 NaN"):
            call()


def test_scores_of_another_shape_are_refused():
    held_out, seen = Interactions(np.array([0], "i4"), np.array([0], "i4"), 2, 5), sp.csr_array((2, 5))
    with pytest.raises(InputError, match=r"expected \(1, 5\) \(users, items\), got \(1, 4\)"):
        rank_held_out(torch.zeros(2, 4).__getitem__, held_out, seen)


def test_a_held_out_item_that_was_seen_is_a_mistake_of_the_caller():
    pair = Interactions(np.array([0], "i4"), np.array([1], "i4"), 1, 3)
    with pytest.raises(AssertionError, match="held-out items must not be among the seen ones"):
        rank_held_out(torch.zeros(1, 3).__getitem__, pair, pair.csr())


def test_top_k_of_no_items_is_refused():
    with pytest.raises(InputError, match="expected a whole number of at least 1, got 0"):
        top_k(torch.zeros(1, 3).__getitem__, np.array([0]), sp.csr_array((1, 3)), 0)


@given(worlds())
def test_enough_sampled_candidates_for_a_user_are_the_full_ranking(world):
    scores, role = world
    result = rank_sampled(scorer(scores), *split(role), generator=np.random.default_rng(0), per="user")
    assert as_dict(result) == slow_ranks(scores, role)


@given(worlds())
def test_enough_sampled_candidates_for_a_pair_are_all_items_that_are_neither_seen_nor_held_out(world):
    scores, role = world
    result = rank_sampled(scorer(scores), *split(role), generator=np.random.default_rng(0), per="pair")
    alone = []
    for user, item in np.argwhere(role == HELD_OUT):
        only = np.where(role[user] == HELD_OUT, SEEN, role[user])
        only[item] = HELD_OUT
        alone += slow_ranks(scores[[user]], only[None])[0]
    assert result.rank.tolist() == alone
    assert result.num_relevant.tolist() == [1] * len(alone)


def test_every_candidate_is_sampled_equally_often_and_never_twice():
    # User u's held-out item 0 is beaten by item 1 + u % 20 alone: rank 2 means that it was among the 12 of 20.
    num_users, num_items, num_candidates = 20_000, 23, 12
    scores = -np.ones((num_users, num_items), "f4")
    better = 1 + np.arange(num_users) % 20
    scores[:, 0], scores[np.arange(num_users), better], scores[:, 21] = 0, 1, 2  # 21 was seen, 22 is held out
    role = np.zeros((num_users, num_items), np.int8)
    role[:, [0, 22]], role[:, 21] = HELD_OUT, SEEN
    result = rank_sampled(
        scorer(scores), *split(role), generator=np.random.default_rng(1), num_candidates=num_candidates
    )
    rank = result.rank[::2]  # of item 0; the other pairs are item 22
    frequency = np.bincount(better, weights=rank == 2)[1:] / 1000
    assert set(rank) == {1, 2}
    assert np.abs(frequency - 0.6).max() < 4 * np.sqrt(0.6 * 0.4 / 1000)
    assert abs(frequency.mean() - 0.6) < 4 * np.sqrt(0.6 * 0.4 / num_users)


@settings(max_examples=20)
@given(worlds())
def test_the_same_generator_samples_the_same_whatever_the_block_size(world):
    scores, role = world
    one, other = (
        rank_sampled(
            scorer(scores), *split(role), generator=np.random.default_rng(3), num_candidates=3, memory_mb=memory_mb
        )
        for memory_mb in (0, 64)
    )
    assert one.rank.tolist() == other.rank.tolist()
