"""Evaluations: masks, counts, and which evaluations are comparable."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from medley.data.dataset import Dataset
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.evaluation.evaluator import Evaluation, Evaluator, evaluate, same_protocol
from medley.evaluation.ties import tie_places
from medley.types import Embeddings


def write_dataset(folder, num_users, num_items, log):
    with DatasetWriter(folder, name="small") as writer:
        users = pl.DataFrame({"user_id": [str(u) for u in range(num_users)]})
        items = pl.DataFrame({"item_id": [str(i) for i in range(num_items)]})
        writer.write_tables(users, items, log)
        writer.finish(provenance={})
    return Dataset(folder)


ROWS = [(0, 0, "train"), (0, 1, "valid"), (0, 2, "test"), (0, 4, "test"), (1, 2, "train"), (1, 3, "test")]


@pytest.fixture
def data(tmp_path):
    """Three users, five items. User 2 has nothing held out; items 3 and 4 are cold."""
    rows = [*ROWS, (2, 1, "train")]
    return write_dataset(tmp_path / "data", 3, 5, pl.DataFrame(rows, schema=["user", "item", "split"], orient="row"))


def descending(user):
    """Item 0 is best, item 4 worst."""
    return -torch.arange(5.0).expand(len(user), -1)


def test_the_test_split_masks_train_and_validation(data):
    found = evaluate(descending, data, at=(1, 2, 3), metrics=("recall",))
    # user 0: candidates 2, 3, 4 and held out 2, 4; user 1: candidates 0, 1, 3, 4 and held out 3
    assert {name: values.tolist() for name, values in found.per_user.items()} == {
        "recall@1": [0.5, 0],
        "recall@2": [0.5, 0],
        "recall@3": [1, 1],
    }
    assert found.metrics == {"recall@1": 0.25, "recall@2": 0.25, "recall@3": 1}


def test_validation_masks_train_alone(data):
    found = evaluate(descending, data, split="valid", at=(1, 2), metrics=("mrr",))
    assert found.user.tolist() == [0]
    assert found.metrics == {"mrr@1": 1, "mrr@2": 1}  # item 0 is seen; items 2 and 4 of test come after item 1


def test_users_without_held_out_items_and_cold_items_are_counted(data):
    found = evaluate(descending, data)
    assert found.user.tolist() == [0, 1]
    assert (found.num_users, found.num_users_without, found.num_held_out, found.num_cold) == (2, 1, 3, 2)


def test_groups_separate_cold_held_out_items_from_warm_ones(data):
    found = evaluate(descending, data, at=(1,), metrics=("precision",), groups=True)
    assert found.per_user["warm_recall@1"].tolist() == pytest.approx([1, np.nan], nan_ok=True)
    assert found.per_user["cold_recall@1"].tolist() == [0, 0]
    assert found.metrics == {"precision@1": 0.5, "warm_recall@1": 1, "cold_recall@1": 0}


def test_each_pair_is_a_query_of_its_own_in_the_protocol_of_mmgcn(data):
    found = evaluate(descending, data, at=(1, 2), metrics=("recall",), candidates="sampled-1000", groups=True)
    # pair (0, 2) competes with item 3, pair (0, 4) with item 3, pair (1, 3) with items 0, 1 and 4
    assert found.user.tolist() == [0, 0, 1]
    assert found.per_user["recall@1"].tolist() == [1, 0, 0]
    assert found.per_user["recall@2"].tolist() == [1, 1, 0]
    assert found.per_user["cold_recall@2"].tolist() == pytest.approx([np.nan, 1, 0], nan_ok=True)
    assert found.num_users == 2


def test_a_list_per_user_pools_the_held_out_items_with_one_sample(data):
    found = evaluate(descending, data, at=(1, 2), metrics=("recall",), candidates="sampled-1000-per-user")
    assert found.per_user["recall@1"].tolist() == [0.5, 0]
    assert found.per_user["recall@2"].tolist() == [0.5, 0]


def test_an_evaluator_samples_the_same_candidates_for_every_model(data):
    evaluator = Evaluator(data, candidates="sampled-1", at=(1,), metrics=("recall",))
    assert len({tuple(evaluator(descending).per_user["recall@1"]) for _ in range(5)}) == 1
    seeds = {tuple(evaluate(descending, data, candidates="sampled-1", seed=s, at=(1,)).per_user["recall@1"])
             for s in range(30)}  # fmt: skip
    assert len(seeds) > 1


def test_the_fingerprint_depends_on_the_protocol_and_not_on_the_model(data, tmp_path):
    other_split = [(0, 4, "valid") if row[:2] == (0, 4) else row for row in ROWS]
    log = pl.DataFrame(other_split, schema=["user", "item", "split"], orient="row")
    other_data = write_dataset(tmp_path / "other", 3, 5, log)
    plain = evaluate(descending, data)
    assert evaluate(lambda user: -descending(user), data, at=(3,), seed=7).fingerprint == plain.fingerprint
    prints = [
        plain,
        evaluate(descending, data, split="valid"),
        evaluate(descending, data, candidates="sampled-1000"),
        evaluate(descending, data, candidates="sampled-1000", seed=1),
        evaluate(descending, data, candidates="sampled-1000-per-user"),
        evaluate(descending, data, candidates="sampled-10"),
        evaluate(descending, other_data),
    ]
    assert len({found.fingerprint for found in prints}) == len(prints)


def test_unlike_evaluations_are_not_compared(data):
    full, sampled = evaluate(descending, data), evaluate(descending, data, candidates="sampled-10")
    same_protocol({"a": full, "b": full})
    with pytest.raises(InputError, match="a and c cannot be compared: expected candidates=all, seed=None, got"):
        same_protocol({"a": full, "b": full, "c": sampled})


def test_an_evaluation_is_a_document_and_a_table(data):
    found = evaluate(descending, data, groups=True)
    again = Evaluation.of(json.loads(json.dumps(found.document())), found.table())
    assert again.document() == found.document()
    assert again.user.tolist() == found.user.tolist()
    assert again.per_user.keys() == found.per_user.keys()
    for name, values in found.per_user.items():
        np.testing.assert_array_equal(again.per_user[name], values)


@pytest.mark.parametrize(
    "options",
    [{"split": "train"}, {"at": (0,)}, {"metrics": ("auc",)}, {"candidates": "sampled-0"}, {"candidates": "some"}],
)
def test_options_that_do_not_exist_are_refused_before_anything_is_scored(data, options):
    with pytest.raises(InputError, match="expected"):
        Evaluator(data, **options)


def test_an_empty_split_cannot_be_evaluated(tmp_path):
    log = pl.DataFrame([(0, 0, "train")], schema=["user", "item", "split"], orient="row")
    with pytest.raises(InputError, match="split valid: expected interactions, got none"):
        Evaluator(write_dataset(tmp_path / "data", 1, 2, log), split="valid")


def test_popularity_on_tiktok_scores_what_others_measured(data_folder, tmp_path):
    parts = [
        pl.read_csv(data_folder / "tiktok" / f"{split}.csv").with_columns(split=pl.lit(split))
        for split in ("train", "valid", "test")
    ]
    data = write_dataset(
        tmp_path / "tiktok", 9308, 6710, pl.concat(parts).rename({"user_id": "user", "item_id": "item"})
    )
    popularity = torch.from_numpy(data.train.users_per_item()).float()
    found = evaluate(Embeddings(torch.ones(9308, 1), popularity[:, None]), data, at=(20,))
    assert found.metrics["recall@20"] == pytest.approx(0.060, abs=0.001)
    assert found.metrics["ndcg@20"] == pytest.approx(0.025, abs=0.001)
    assert found.num_held_out == 6130


@pytest.mark.parametrize("kind", ["vectors", "function"])
def test_cold_candidates_compete_among_themselves(simulated, kind):
    train, test = simulated.train, simulated.interactions("test")
    cold = np.flatnonzero(train.users_per_item() == 0)
    rng = np.random.default_rng(0)
    shape = (simulated.manifest.num_users, simulated.manifest.num_items)
    vectors = Embeddings(*(torch.from_numpy(rng.integers(-2, 3, (n, 2)).astype(np.float32)) for n in shape))
    scores = (vectors.user @ vectors.item.T).numpy()
    evaluator = Evaluator(simulated, candidates="cold", at=(2,), metrics=("recall",))
    found = evaluator(vectors if kind == "vectors" else lambda users: vectors.user[users] @ vectors.item.T)
    place, expected, valid = tie_places(shape[1]), {}, simulated.valid.csr()
    for user in np.unique(test.user):
        held_out = [item for item in test.item[test.user == user] if item in cold]
        rivals = [item for item in cold if not valid[user, item]]
        best = sorted(rivals, key=lambda item: (-scores[user, item], place[item]))[:2]
        if held_out:
            expected[user] = len(set(best) & set(held_out)) / len(held_out)
    assert len(expected) > 3 and len(cold) > 3
    assert dict(zip(found.user, found.per_user["recall@2"], strict=True)) == pytest.approx(expected)
    assert found.num_cold == found.num_held_out < len(test)
    assert found.fingerprint != Evaluator(simulated)(vectors).fingerprint
    whole = Evaluator(simulated, at=(2,))
    same_users = np.isin(whole.queries.user, evaluator.queries.user)
    lists = evaluator.top_lists(vectors)
    np.testing.assert_array_equal(lists, whole.top_lists(vectors)[same_users])  # lists are of the whole catalogue
    assert not np.isin(lists, cold).all()


def test_cold_candidates_need_a_cold_item_that_is_held_out(tmp_path):
    log = pl.DataFrame(
        [(0, 0, "train"), (0, 1, "test"), (1, 1, "train")], schema=["user", "item", "split"], orient="row"
    )
    with pytest.raises(InputError, match=r"cold items in split test: expected at least one, got none.*split=cold-item"):
        Evaluator(write_dataset(tmp_path / "data", 2, 3, log), candidates="cold")
