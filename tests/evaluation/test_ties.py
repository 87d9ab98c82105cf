"""Equal scores: a fixed order that follows no order of the rows, the same in ranks and in lists."""

import numpy as np
import polars as pl
import pytest
import torch

from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.evaluation.evaluator import Evaluator, same_protocol
from medley.evaluation.ties import tie_places


def test_places_follow_the_published_sequence_of_splitmix64_from_seed_0():
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC, 0x1B39896A51A8749B]
    assert np.argsort(tie_places(5)).tolist() == sorted(range(5), key=published.__getitem__)


def test_the_order_of_two_items_is_the_same_in_every_catalogue():
    small, large = tie_places(50), tie_places(5000)
    assert (np.argsort(small) == np.argsort(large[:50])).all()


@pytest.mark.parametrize("num_items", [1_000, 100_000])
def test_places_do_not_follow_the_rows(num_items):
    place, row = tie_places(num_items), np.arange(num_items)
    assert sorted(place) == row.tolist()
    limit = 4 / np.sqrt(num_items)
    assert abs(np.corrcoef(place, row)[0, 1]) < limit
    assert abs(np.corrcoef(place[1:], place[:-1])[0, 1]) < limit


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """200 users whose held-out item has a larger row than their train items, as rows by time have."""
    rng = np.random.default_rng(0)
    pairs = [np.sort(rng.choice(400, 6, replace=False)) for _ in range(200)]
    rows = [
        (user, item, split)
        for user, items in enumerate(pairs)
        for item, split in zip(items, ["train"] * 4 + ["valid", "test"], strict=True)
    ]
    log = pl.DataFrame(rows, schema=["user", "item", "split"], orient="row")
    return Dataset.from_frames(log, split="given", out=tmp_path_factory.mktemp("late") / "data")


def test_equal_scores_neither_win_nor_lose_by_the_order_of_rows(late):
    evaluator = Evaluator(late, split="test", at=(1, 40, 200), metrics=("recall", "mrr"))
    found = evaluator(lambda users: torch.zeros(len(users), late.manifest.num_items))
    share = 40 / (late.manifest.num_items - 5)
    assert found.metrics["recall@40"] == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / found.num_users))
    assert found.metrics["recall@200"] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_the_lists_of_an_evaluator_hold_a_held_out_item_exactly_where_its_rank_says(late, levels):
    table = torch.randint(levels, (200, late.manifest.num_items), generator=torch.Generator().manual_seed(1)).float()
    evaluator = Evaluator(late, split="test", at=(30,), metrics=("mrr",))
    lists, found = evaluator.top_lists(table.__getitem__), evaluator(table.__getitem__)
    held = evaluator.queries.item[:, None]
    rank = np.where((lists == held).any(axis=1), 1 + (lists == held).argmax(axis=1), np.inf)
    assert found.per_user["mrr@30"] == pytest.approx(1 / rank)


def test_an_evaluation_under_the_old_rule_cannot_be_compared(late):
    evaluator = Evaluator(late, split="test", at=(1,), metrics=("recall",))
    new = evaluator(lambda users: torch.zeros(len(users), late.manifest.num_items))
    evaluator.protocol = evaluator.protocol | {"ties": "lower row first"}
    old = evaluator(lambda users: torch.zeros(len(users), late.manifest.num_items))
    assert old.fingerprint != new.fingerprint
    with pytest.raises(InputError, match="ties=lower row first, got ties=by splitmix64"):
        same_protocol({"old": old, "new": new})
