"""Histories in the order of time against plain loops: windows, ties, lengths, and the negatives of a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medley.errors import InputError
from medley.nn import sequences
from medley.nn.sequences import Histories, dropout, sampled_softmax, scores_of_batch, states
from medley.types import Interactions, Triplets

NUM_USERS, NUM_ITEMS = 3, 9
LOGS = st.lists(
    st.tuples(st.integers(0, NUM_USERS - 1), st.integers(0, NUM_ITEMS - 1), st.integers(0, 5)),
    max_size=20,
    unique_by=lambda row: row[:2],
)


def interactions(rows) -> Interactions:
    user, item, time = (np.array(column, dtype="i4") for column in (zip(*rows, strict=True) if rows else ([], [], [])))
    return Interactions(user, item, NUM_USERS, NUM_ITEMS, time)


def digits(x, place):
    """A causal encoder: what has been read so far, as digits of a number to the base of 10."""
    total = torch.zeros(len(x), 1, dtype=torch.double)
    found = []
    for k in range(x.shape[1]):
        total = total * 10 + x[:, k]
        found.append(total)
    return torch.stack(found, dim=1).flatten(0, 1)[place]


def read(windows, num_queries: int) -> list[int]:
    items = torch.arange(1, NUM_ITEMS + 1, dtype=torch.double)[:, None]  # digit 0 is nothing
    return states(windows, items, digits, torch.zeros(1, dtype=torch.double), num_queries)[:, 0].long().tolist()


def slow(rows, user: int, max_length: int, before: float = np.inf) -> int:
    """The latest items of a user before a moment, as digits."""
    mine = sorted((row for row in rows if row[0] == user and row[2] < before), key=lambda row: row[2])
    return int("".join(str(item + 1) for _, item, _ in mine[-max_length:]) or "0")


@given(LOGS, st.integers(1, 6), st.integers(1, 40), st.randoms(use_true_random=False))
def test_queries_read_the_latest_strictly_earlier_items(rows, max_length, max_tokens, random):
    histories = Histories(interactions(rows), max_length)
    queries = random.choices(rows, k=12) if rows else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "MAX_TOKENS", max_tokens)
        user, item = (torch.tensor([row[c] for row in queries], dtype=torch.int64) for c in (0, 1))
        found = read(histories.before(user, item), len(queries))
        latest = read(histories.latest(torch.arange(NUM_USERS)), NUM_USERS)
    assert found == [slow(rows, u, max_length, before=time) for u, _, time in queries]
    assert latest == [slow(rows, u, max_length) for u in range(NUM_USERS)]


@given(LOGS)
def test_ages_count_the_other_interactions_that_are_not_earlier(rows):
    found = Histories(interactions(rows), 2).ages().tolist()
    expected = [sum(u == user and t >= time for u, _, t in rows) - 1 for user, _, time in sorted(rows)]
    assert found == expected


def test_without_ties_ages_are_those_of_the_bags():
    rows = [(0, 4, 3), (0, 2, 1), (1, 5, 0), (0, 7, 2), (1, 1, 9)]
    histories = Histories(interactions(rows), 9)
    bags, ages = histories.bags(torch.tensor([0, 1])), histories.ages().tolist()
    by_item = dict(zip([item for _, item, _ in sorted(rows)], ages, strict=True))
    assert {item: by_item[item] for item in bags.item.tolist()} == dict(
        zip(bags.item.tolist(), bags.age.tolist(), strict=True)
    )


def test_a_batch_reads_a_short_history_once():
    rows = [(0, item, item) for item in range(6)] + [(1, item, item) for item in range(3)]
    user, item = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 3, 5, 1, 2])
    windows = Histories(interactions(rows), max_length=8).before(user, item)
    assert [w.item.shape for w in windows] == [(1, 2), (1, 5)]
    windows = Histories(interactions(rows), max_length=2).before(user, item)
    assert sum(len(w.item) for w in windows) == 4  # user 0 before item 1; before item 3; before item 5; user 1


def test_pieces_have_little_padding_and_a_bounded_size(monkeypatch):
    monkeypatch.setattr(sequences, "MAX_TOKENS", 64)
    rng = np.random.default_rng(0)
    length = np.minimum(rng.geometric(0.15, 400), 30)
    user = np.repeat(np.arange(400), length).astype("i4")
    item = np.concatenate([np.arange(n) for n in length]).astype("i4")
    histories = Histories(Interactions(user, item, 400, 30, time=item), max_length=25)
    windows = histories.latest(torch.arange(400))
    assert all(w.item.numel() <= 64 for w in windows)
    assert sum(w.item.numel() for w in windows) < 2 * np.minimum(length, 25).sum()
    assert sorted(torch.cat([w.query for w in windows]).tolist()) == [*range(400)]


def test_histories_without_times_are_refused():
    with pytest.raises(InputError, match="expected interactions with times, got none"):
        Histories(Interactions(np.array([0], "i4"), np.array([0], "i4"), 1, 1), max_length=3)


def drawn_batch() -> tuple[torch.Tensor, torch.Tensor, Triplets]:
    torch.manual_seed(0)
    batch = Triplets(torch.arange(4), torch.tensor([0, 3, 5, 5]), torch.tensor([3, 1, 2, 5]))
    return torch.randn(4, 3), torch.randn(9, 3), batch


@pytest.mark.parametrize("num_negatives", [2, 4, 8])
def test_negatives_are_the_first_of_the_batch_without_the_positive_of_a_row(num_negatives):
    state, items, batch = drawn_batch()
    positive, negative = scores_of_batch(state, items, batch, num_negatives)
    chosen = batch.neg.tolist()[:num_negatives]
    assert negative.shape == (4, len(chosen))
    for row, i in enumerate(batch.pos.tolist()):
        assert positive[row, 0] == pytest.approx(float(state[row] @ items[i]))
        for column, j in enumerate(chosen):
            expected = -np.inf if i == j else float(state[row] @ items[j])
            assert float(negative[row, column]) == pytest.approx(expected)


def test_the_softmax_over_a_small_catalogue_is_exact():
    state, items, batch = drawn_batch()
    expected = torch.nn.functional.cross_entropy(state @ items.T, batch.pos)
    for num_negatives in (9, 100):
        assert torch.allclose(sampled_softmax(state, items, batch, num_negatives), expected)
    assert not torch.allclose(sampled_softmax(state, items, batch, 8), expected)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_independently_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    x = torch.ones(1001, 301, requires_grad=True)
    out = dropout(x, rate)
    kept = (out > 0).double()
    error = 5 * (rate * (1 - rate) / x.numel()) ** 0.5
    assert abs(1 - kept.mean() - rate) < error
    neighbours = kept.flatten()[1:] * kept.flatten()[:-1]
    assert abs(neighbours.mean() - (1 - rate) ** 2) < 2 * error
    assert out.detach().unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-3)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_dropout_at_rate_0_draws_nothing():
    state, x = torch.get_rng_state(), torch.ones(3)
    assert dropout(x, 0.0) is x and torch.equal(torch.get_rng_state(), state)
    assert dropout(torch.ones(1000), 1 - 1e-9).count_nonzero() < 10
