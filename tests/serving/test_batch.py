"""Lists of many users: those of the service, one by one; and the files they are written to."""

import itertools
import warnings

import numpy as np
import polars as pl
import pytest
import torch

import medley
from medley.errors import InputError, MedleyWarning
from medley.serving import lists as listing
from medley.serving.batch import BatchBar, BatchProgress, write_frames, write_lists
from medley.serving.export import export
from medley.serving.lists import Lists
from medley.serving.recommend import answers
from medley.serving.requests import Event, ItemRequest, RecommendRequest, UserRequest
from medley.serving.service import Service

READ = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}


@pytest.fixture(scope="module", params=["mmgcn", "itemknn", "macridvae"])
def bundle(request, simulated):
    settings = {} if request.param == "itemknn" else {"num_epochs": 2, "batch_size": 256, "dim": 8}
    settings |= {} if request.param == "itemknn" else {"lr": 1e-3}  # faster, scores come closer than rounding
    return export(medley.train(request.param, simulated, progress=False, **settings), simulated)


@pytest.fixture(scope="module")
def service(bundle):
    return Service(bundle)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(listing, "MAX_USERS", 7)


def one_by_one(service, users, **question):
    return [service.recommend(RecommendRequest(user=user, **question)).items for user in users]


def same(found, expected):
    assert [[item.item for item in items] for items in found] == [[item.id for item in items] for items in expected]
    scores = [item.score for items in found for item in items]
    assert scores == pytest.approx([item.score for items in expected for item in items], rel=1e-5, abs=5e-6)


def test_lists_in_blocks_are_those_that_the_service_gives_each_user(service, small_blocks):
    lists = Lists(service, k=6, explain=True)
    assert len(lists) == service.bundle.manifest.num_users and lists.users == service.people.ids()
    found, expected = answers(lists), one_by_one(service, lists.users, k=6, explain=True)
    same(found, expected)
    for own, other in zip(*(itertools.chain(*all_lists) for all_lists in (found, expected)), strict=True):
        assert own.parts == pytest.approx(other.why.parts, abs=1e-5)
        assert own.shares == pytest.approx(other.why.shares, abs=1e-4)
        assert (own.title, own.columns) == (other.title, dict.fromkeys(own.columns) | other.attributes)


def test_what_happened_since_the_export_is_in_the_lists(bundle, small_blocks):
    service, users = Service(bundle), bundle.users["user_id"].to_list()
    best = service.recommend(RecommendRequest(user=users[3], k=2)).items
    disliked = [service.user(users[5]).history[0].id, service.recommend(RecommendRequest(user=users[5])).items[0].id]
    service.feedback([Event(user=users[3], item=best[0].id)])
    service.feedback([Event(user=users[5], item=item, type="dislike") for item in disliked])
    others = [item.id for item in service.recommend(RecommendRequest(user=users[9])).items]
    service.delete_item(next(item for item in others if item not in (*disliked, best[0].id)))
    features = {m: values.tolist() for m, values in service.catalogue.features(4).items()}
    service.put_item("new", ItemRequest(attributes={"title": "A new item"}, features=features))
    history = [item.id for item in service.recommend(RecommendRequest(user=users[7], k=3)).items]
    service.put_user("guest", UserRequest(history=history))
    service.delete_user(users[11])
    lists = Lists(service, k=200)
    assert "guest" in lists.users and users[11] not in lists.users
    found = answers(lists)
    same(found, one_by_one(service, lists.users, k=200))
    titles = {item.item: item.title for items in found for item in items}
    assert titles["new"] == "A new item" and best[0].id not in [i.item for i in found[lists.users.index(users[3])]]
    with pytest.raises(InputError, match="who was deleted"):
        Lists(service, [users[11]], k=3)
    again = answers(Lists(service, [users[5]], k=200, seen=()))[0]
    assert len(again) == service.catalogue.num_alive - 2
    assert not set(disliked) & {item.item for item in again}


def test_filters_and_exclusions_are_those_of_the_service(service, small_blocks):
    users = service.people.ids()[:20]
    best = service.recommend(RecommendRequest(user=users[0], k=2)).items
    question = {"must": [{"field": "title", "eq": best[1].title}]}
    found = answers(Lists(service, users, k=4, where={"title": best[1].title}, exclude=[best[0].id]))
    same(found, one_by_one(service, users, k=4, filter=question, exclude=[best[0].id]))
    assert found[0][0].item == best[1].id


@pytest.mark.parametrize("suffix", READ)
def test_a_table_holds_all_lists_in_order(service, small_blocks, tmp_path, suffix):
    path, lists = tmp_path / "new" / f"lists{suffix}", Lists(service, k=5, explain=True)
    num_rows = write_lists(path, lists)
    table, found = READ[suffix](path), answers(lists)
    flat = [item for items in found for item in items]
    assert num_rows == table.height == 5 * len(lists)
    assert table.columns[:5] == ["user_id", "place", "item_id", "title", "score"]
    assert table.columns[5:] == [f"share_{name}" for name in service.bundle.parts]
    assert table["user_id"].to_list() == [user for user in lists.users for _ in range(5)]
    assert table["place"].to_list() == [1, 2, 3, 4, 5] * len(lists)
    assert table["item_id"].to_list() == [item.item for item in flat]
    assert table["title"].to_list() == [item.title for item in flat]
    assert table["score"].to_list() == pytest.approx([item.score for item in flat], rel=1e-6)
    for name in service.bundle.parts:
        assert table[f"share_{name}"].to_list() == pytest.approx([item.shares[name] for item in flat], abs=1e-6)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


class Interrupted(BatchProgress):
    """Fails after some blocks, and counts."""

    def __init__(self, at: int | None = None):
        self.at, self.blocks, self.events = at, [], []

    def start(self, num_users):
        self.events.append(num_users)

    def block(self, num_users):
        self.blocks.append(num_users)
        if len(self.blocks) == self.at:
            raise RuntimeError("no space left")

    def stop(self):
        self.events.append("stop")


def test_a_failure_leaves_the_old_table_and_nothing_else(service, small_blocks, tmp_path):
    for suffix in READ:
        path = tmp_path / f"lists{suffix}"
        path.write_text("old")
        progress = Interrupted(at=3)
        with pytest.raises(RuntimeError):
            write_lists(path, Lists(service, k=2), progress)
        assert path.read_text() == "old" and progress.events == [len(service.people.ids()), "stop"]
    assert len(list(tmp_path.iterdir())) == len(READ)
    progress = Interrupted()
    write_lists(path, Lists(service, k=2), progress)
    assert sum(progress.blocks) == len(service.people.ids()) and max(progress.blocks) == 7


def test_an_empty_table_has_its_columns(service, tmp_path):
    everything = service.bundle.items["item_id"].to_list()
    for suffix in (".csv", ".parquet"):
        path = tmp_path / f"lists{suffix}"
        assert write_frames(path, []) == 0
        assert READ[suffix](path).columns == ["user_id", "place", "item_id", "title", "score"]
        assert write_lists(path, Lists(service, k=3, exclude=everything)) == 0
        assert READ[suffix](path).columns == ["user_id", "place", "item_id", "title", "score"]
    with pytest.raises(InputError, match=r"expected \.csv or \.parquet or \.jsonl, got '\.xlsx'"):
        write_lists(tmp_path / "lists.xlsx", Lists(service, k=3))


def test_a_parquet_file_of_many_blocks_has_row_groups_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr("medley.serving.batch.ROW_GROUP", 1000)
    frames = (pl.DataFrame({"user_id": [f"u{at}"] * 900, "score": np.arange(900.0)}) for at in range(9))
    assert write_frames(tmp_path / "lists.parquet", frames) == 8100
    table = pl.read_parquet(tmp_path / "lists.parquet")
    assert table["user_id"].to_list() == [f"u{at}" for at in range(9) for _ in range(900)]
    assert table["score"].to_list() == [*range(900)] * 9


def test_bars_go_to_standard_error_and_lines_come_without_a_terminal(service, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("medley.serving.batch.LINE_SECONDS", -1.0)
    write_lists(tmp_path / "lists.csv", Lists(service, k=2), BatchBar())
    printed = capsys.readouterr()
    num_users = len(service.people.ids())
    assert f"{num_users} of {num_users} users" in printed.err and not printed.out


def test_one_list_for_all_is_said_at_the_end_and_popularity_is_meant_so(simulated, small_blocks, tmp_path):
    for name, warned in (("popularity", False), ("mf", True)):
        model = medley.build(name, simulated)
        if name == "mf":
            torch.nn.init.ones_(model.p)
        service = medley.open_service(model, simulated)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write_lists(tmp_path / "lists.csv", Lists(service, k=3, seen=()))
        said = [str(each.message) for each in caught if issubclass(each.category, MedleyWarning)]
        assert any("all 60 users get the same list" in message for message in said) == warned
