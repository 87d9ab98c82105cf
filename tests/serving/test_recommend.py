import datetime

import numpy as np
import polars as pl
import pytest
import torch

from medley import models
from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS
from medley.errors import InputError, MedleyWarning
from medley.models import Recommender
from medley.scoring.top_k import top_k
from medley.serving.lists import Lists
from medley.serving.recommend import answers, recommend, service_of, similar, write_recommendations
from medley.serving.requests import ItemRequest, RecommendRequest
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


def test_one_list_for_all_is_said(simulated):
    users = [simulated.users.raw_id(row) for row in range(5)]
    with pytest.warns(MedleyWarning, match="all 5 users get the same list"):
        model = models.build("mf", simulated.inputs(), dim=4)
        torch.nn.init.ones_(model.p)
        recommend(model, simulated, users, seen=())


@pytest.fixture(scope="module")
def strangers(tmp_path_factory) -> Dataset:
    """Six users of train, `odd` without a train interaction, and `nobody` without any."""
    pairs = [(f"u{u}", f"i{i}", "train" if i % 5 else "test") for u in range(6) for i in range(10) if (u * 7 + i) % 4]
    pairs += [("odd", "i1", "valid"), ("odd", "i2", "test")]
    log = pl.DataFrame(pairs, schema=["user_id", "item_id", "split"], orient="row")
    items = {
        "year": [1990 + i for i in range(10)],
        "price": [i / 2 for i in range(10)],
        "new": [i > 7 for i in range(10)],
        "genres": ["Action|Comedy" if i % 2 else "Action" for i in range(10)],
        "size": ["10", "9.5", "x", *"1234567"],
        "since": [datetime.date(2020, 1, 1 + i) for i in range(10)],
    }
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(10)], **items})
    users = pl.DataFrame({"user_id": ["nobody", "odd"]})
    out = tmp_path_factory.mktemp("strangers") / "data"
    return Dataset.from_frames(log, items=items, users=users, split="given", unknown_users="keep", out=out)


def test_users_whom_the_training_did_not_know_are_said(strangers):
    model = models.build("mf", strangers.inputs(), dim=4)
    with pytest.warns(MedleyWarning, match="user odd has no train interaction"):
        (odd,) = recommend(model, strangers, ["odd"], k=3)
    assert [strangers.items.row(item.item) for item in odd] == best_by_hand(model, strangers, 1, SPLITS)[:3]
    lists = Lists(service_of(model, strangers), ["u1", "odd", "u2"], k=3)
    for _ in range(2):  # the second time is not counted to the first
        with pytest.warns(MedleyWarning, match=r"1 of 3 users \(odd, \.\.\.\) have no train interaction"):
            answers(lists)


def test_a_user_without_any_interaction_gets_popular_items_and_this_is_said(strangers):
    model = models.build("mf", strangers.inputs(), dim=4)
    popularity = dict(zip(strangers.items.raw, strangers.train.users_per_item().tolist(), strict=True))
    with pytest.warns(MedleyWarning, match=r"nobody has no interaction at all: .*they get the most popular items"):
        (found,) = recommend(model, strangers, ["nobody"], k=10, explain=True, exclude=["i3"])
    assert [item.score for item in found] == sorted((n for i, n in popularity.items() if i != "i3"), reverse=True)
    assert [popularity[item.item] for item in found] == [item.score for item in found]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("year", "1993", "i3"),
        ("year", 1993, "i3"),
        ("year", np.int64(1993), "i3"),
        ("price", "1.5", "i3"),
        ("price", 1.50, "i3"),
        ("new", "true", "i8 i9"),
        ("new", False, "i0 i1 i2 i3 i4 i5 i6 i7"),
        ("genres", "Comedy", "i1 i3 i5 i7 i9"),
        ("size", "9.5", "i1"),
        ("size", "x", "i2"),
        ("size", 3, "i5"),
        ("since", "2020-01-04", "i3"),
        ("since", datetime.date(2020, 1, 4), "i3"),
        ("item_id", "i4", "i4"),
    ],
)
def test_a_value_is_read_as_its_column_has_it(strangers, column, value, expected):
    model = models.build("popularity", strangers.inputs())
    (found,) = recommend(model, strangers, ["u1"], k=20, seen=(), where={column: value})
    assert {item.item for item in found} == set(expected.split())


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"year": "soon"}, "value of 'year'"),
        ({"year": None}, "filter"),
        ({"new": "yes"}, "value of 'new'"),
        ({"since": "soon"}, "items with since = soon: expected at least one"),
        ({"year": "1993", "price": "4"}, r"items with price = 4: expected at least one"),
    ],
)
def test_a_value_that_the_column_cannot_have_is_refused(strangers, where, message):
    with pytest.raises(InputError, match=message):
        recommend(models.build("popularity", strangers.inputs()), strangers, ["u1"], where=where)


@pytest.mark.parametrize("name", ["popularity", "lightgcn", "mmgcn", "acf", "itemknn", "ease", "macridvae", "mgcn"])
def test_lists_of_every_kind_of_model_are_those_that_torch_computes(name, simulated):
    options = {"dim": 8} if "dim" in models.describe(name)["options"] else {}
    model, rows = models.build(name, simulated.inputs(), **options), np.arange(simulated.manifest.num_users)
    seen = simulated.union("train+valid+test").csr()
    with torch.no_grad():
        items, scores = top_k(model.eval().scorer(), rows, seen, 6)
    found = recommend(model, simulated, simulated.users.raw.to_list(), k=6)
    for user, own in enumerate(found):
        np.testing.assert_allclose([item.score for item in own], scores[user], atol=1e-4 * np.abs(scores).max())
        clear = np.diff(scores[user]) < -2e-4 * np.abs(scores).max()  # no rounding can change places
        if clear.all():
            assert [simulated.items.row(item.item) for item in own] == items[user].tolist()


class Rounds(Recommender):
    """A model whose score is a function of users, with parts, and that would draw at random in training."""

    def __init__(self, inputs):
        super().__init__(inputs)
        generator = torch.Generator().manual_seed(0)
        self.score = torch.nn.Parameter(torch.randn(self.num_users, self.num_items, generator=generator))

    def scorer(self):
        return lambda users: torch.nn.functional.dropout(self.score[users], 0.5, self.training)

    def part_scores(self, users):
        return {"half": self.score[users] / 2, "rest": self.score[users] / 2}


def test_a_model_that_cannot_be_exported_recommends_by_the_same_way(simulated):
    model, users = Rounds(simulated.inputs()), simulated.users.raw.to_list()
    expected, _ = top_k(
        lambda users: model.score[users], np.arange(len(users)), simulated.union("train+valid+test").csr(), 5
    )
    found = recommend(model, simulated, users, k=5, explain=True)
    assert [[simulated.items.row(item.item) for item in items] for items in found] == expected.tolist()
    assert all(item.parts == pytest.approx({"half": item.score / 2, "rest": item.score / 2}) for item in found[3])
    assert model.training  # as it was
    with pytest.raises(InputError, match="similarity by behaviour: expected a model with item vectors, got Rounds"):
        similar(service_of(model, simulated), simulated.items.raw_id(0))
    assert len(similar(service_of(model, simulated), simulated.items.raw_id(0), by="visual", k=4)) == 4
    with torch.no_grad():
        model.score[2, 3] = torch.nan
    with pytest.raises(InputError, match="1 NaN"):
        recommend(model, simulated, users[:4])


def test_a_service_in_memory_says_what_it_cannot_do(simulated):
    service = service_of(models.build("mf", simulated.inputs(), dim=4), simulated)
    user, item = simulated.users.raw_id(2), simulated.items.raw_id(5)
    assert service.explain(user, item).item == item and service.recommend(RecommendRequest(user=user)).items
    for ask, what in (
        (lambda: service.recommend(RecommendRequest(history=[item])), "a user without a learned vector"),
        (lambda: service.put_item("new", ItemRequest(features={"visual": [0.5] * 64})), "a new item"),
        (lambda: service.bundle.write("shop.medley"), "writing a bundle"),
    ):
        with pytest.raises(InputError, match=f"{what}: expected a calibrated bundle.*medley export"):
            ask()
    by_history = service_of(models.build("itemknn", simulated.inputs()), simulated)  # takes no calibration
    assert by_history.recommend(RecommendRequest(history=[item])).items


def test_weights_and_vectors_that_are_not_finite_are_refused(simulated):
    model = models.build("mf", simulated.inputs(), dim=4)
    torch.nn.init.constant_(model.p, torch.nan)
    with pytest.raises(InputError, match="vectors of the model: expected finite numbers"):
        recommend(model, simulated, [simulated.users.raw_id(0)])


def test_similar_items_come_with_titles_and_without_the_item_itself(simulated):
    service = service_of(models.build("mmgcn", simulated.inputs(), dim=4), simulated)
    item = simulated.items.raw_id(7)
    for by in ("all", "behaviour", "visual"):
        found = similar(service, item, by=by, k=5)
        assert [each.item for each in found] == [each.id for each in service.similar(item, by=by, k=5).items]
        assert item not in [each.item for each in found] and all(each.title for each in found)
        assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert len(similar(service, item, k=5_000)) == simulated.manifest.num_items - 1
    for wrong, message in (
        ({"item": "nothing"}, "unknown item id"),
        ({"item": item, "by": "smell"}, "by: expected behaviour or visual or acoustic or textual or all"),
        ({"item": item, "k": 0}, "k: expected a whole number of at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            similar(service, **wrong)


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
