from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError, MedleyWarning
from medley.serving.recommend import recommend, write_recommendations
from medley.types import Embeddings


def best_by_hand(model, data, user: int, seen) -> list[int]:
    with torch.no_grad():
        embeddings: Embeddings = model()
        scores = (embeddings.user[user] @ embeddings.item.T).numpy()
    for split in seen:
        part = data.interactions(split)
        scores[part.item[part.user == user]] = -np.inf
    order = np.argsort(-scores, kind="stable")
    return [int(item) for item in order if np.isfinite(scores[item])]


@pytest.mark.parametrize("seen", [("train",), ("train", "valid"), ("train", "valid", "test")])
def test_the_best_unseen_items_come_first(simulated, seen):
    model = models.build("lightgcn", simulated.inputs(), dim=8)
    found = recommend(model, simulated, [simulated.users.raw_id(7)], k=5, seen=seen)[0]
    assert [simulated.items.row(item.item) for item in found] == best_by_hand(model, simulated, 7, seen)[:5]


def test_a_user_gets_no_more_items_than_there_are(simulated):
    model = models.build("mf", simulated.inputs(), dim=8)
    found = recommend(model, simulated, [simulated.users.raw_id(0)], k=10_000)[0]
    assert len(found) == len(best_by_hand(model, simulated, 0, ("train", "valid", "test")))


def test_shares_are_the_parts_of_the_score_by_modality(simulated):
    model = models.build("mmgcn", simulated.inputs(), dim=8)
    for item in recommend(model, simulated, [simulated.users.raw_id(0)], explain=True)[0]:
        assert set(item.parts) == {"visual", "acoustic", "textual"}
        assert sum(item.parts.values()) == pytest.approx(item.score, abs=1e-4)
        row = simulated.items.row(item.item)
        for modality, features in simulated.features.items():
            assert features.present[row] or item.shares[modality] == 0


def test_a_model_whose_score_has_no_parts_says_so_by_giving_none(simulated):
    model = models.build("mf", simulated.inputs(), dim=8)
    assert recommend(model, simulated, [simulated.users.raw_id(0)], explain=True)[0][0].parts == {}


def test_an_unknown_user_and_a_senseless_k_are_refused(simulated):
    model = models.build("mf", simulated.inputs(), dim=8)
    with pytest.raises(InputError, match="unknown user id"):
        recommend(model, simulated, ["nobody"])
    with pytest.raises(InputError, match="k"):
        recommend(model, simulated, [simulated.users.raw_id(0)], k=0)


def test_many_users_get_the_lists_that_each_gets_alone(simulated):
    model = models.build("vbpr", simulated.inputs(), dim=8)
    users = simulated.users.raw.to_list()
    together = recommend(model, simulated, users, k=4, explain=True)
    for user, items in list(zip(users, together, strict=True))[::13]:
        (alone,) = recommend(model, simulated, [user], k=4, explain=True)
        assert [item.item for item in alone] == [item.item for item in items]
        assert alone[0].parts == pytest.approx(items[0].parts, abs=1e-5)


def test_items_are_filtered_by_column_exclusion_and_what_was_seen(simulated):
    model, user = models.build("popularity", simulated.inputs()), simulated.users.raw_id(0)
    (everything,) = recommend(model, simulated, [user], k=1000, seen=())
    assert len(everything) == simulated.manifest.num_items
    first = everything[0]
    (left,) = recommend(model, simulated, [user], k=1000, seen=(), exclude=[first.item])
    assert [item.item for item in left] == [item.item for item in everything[1:]]
    (alike,) = recommend(model, simulated, [user], k=1000, seen=(), where={"title": first.title})
    assert first.item in [item.item for item in alike] and {item.title for item in alike} == {first.title}
    for where, message in (
        ({"colour": "red"}, r"column of the items: expected item_id.*got 'colour'"),
        ({"title": "no such title"}, "expected at least one, got none"),
    ):
        with pytest.raises(InputError, match=message):
            recommend(model, simulated, [user], where=where)
    with pytest.raises(InputError, match="unknown item id"):
        recommend(model, simulated, [user], exclude=["nothing"])


def test_strangers_and_one_list_for_all_are_said(simulated):
    users = [simulated.users.raw_id(row) for row in range(5)]
    with pytest.warns(MedleyWarning, match="all 5 users get the same list"):
        model = models.build("mf", simulated.inputs(), dim=4)
        torch.nn.init.ones_(model.p)
        recommend(model, simulated, users, seen=())
    train = simulated.train
    without = replace(train, user=train.user[train.user > 0], item=train.item[train.user > 0])
    strange = SimpleNamespace(
        users=simulated.users,
        items=simulated.items,
        item_table=simulated.item_table,
        manifest=simulated.manifest,
        train=without,
        title=simulated.title,
        disliked=simulated.disliked,
        interactions=lambda split: without if split == "train" else simulated.interactions(split),
    )
    model = models.build("mf", simulated.inputs(), dim=4)
    with pytest.warns(MedleyWarning, match=f"user {users[0]} has no train interaction"):
        recommend(model, strange, users[:1])
    with pytest.warns(MedleyWarning, match=r"1 of 5 users .* have no train interaction"):
        recommend(model, strange, users)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".CSV"])
def test_lists_are_written_as_one_table(simulated, tmp_path, suffix):
    users = [simulated.users.raw_id(row) for row in (3, 1)]
    found = recommend(models.build("vbpr", simulated.inputs(), dim=4), simulated, users, k=3, explain=True)
    path = tmp_path / f"lists{suffix}"
    write_recommendations(path, dict(zip(users, found, strict=True)))
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}[suffix.lower()]
    table = read(path)
    assert table["user_id"].to_list() == [user for user in users for _ in range(3)]
    assert table["place"].to_list() == [1, 2, 3, 1, 2, 3]
    assert table["item_id"].to_list() == [item.item for items in found for item in items]
    assert table["share_visual"].to_list() == pytest.approx([i.shares["visual"] for items in found for i in items])
    with pytest.raises(InputError, match=r"expected \.csv or \.parquet or \.jsonl, got '\.xlsx'"):
        write_recommendations(tmp_path / "lists.xlsx", {})


def test_disliked_items_are_never_recommended(tmp_path):
    ratings = [(user, item, 5 if (user + item) % 3 else 1) for user in range(6) for item in range(8) if user != item]
    frame = pl.DataFrame(ratings, schema=["user_id", "item_id", "rating"], orient="row")
    data = Dataset.from_frames(frame, rating_threshold=3, out=tmp_path / "data")
    assert len(data.disliked) > 5
    for seen in ((), ("train", "valid", "test")):
        found = recommend(models.build("popularity", data.inputs()), data, data.users.raw.to_list(), k=99, seen=seen)
        listed = {(user, item.item) for user, items in zip(data.users.raw, found, strict=True) for item in items}
        disliked = {(str(user), str(item)) for user, item, rating in ratings if rating < 3}
        assert listed and not listed & disliked
