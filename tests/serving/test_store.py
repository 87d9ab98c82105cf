"""What a store holds: what was put is there, what was forgotten is gone."""

import random
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from tests.serving.storing import event, item_of, num_events, reopened, same

from medley.errors import InputError, MedleyError
from medley.serving import database as database_module
from medley.serving.records import Event, StoredItem, StoredUser


def test_items_are_put_replaced_and_deleted_and_survive_a_restart(store):
    look, words = np.arange(4, dtype=np.float32), np.ones(2, dtype=np.float64)
    store.put_item("a", {"title": "Heat é", "year": 1995, "tags": ["x", "y"]}, {"visual": look, "textual": words})
    store.put_items([StoredItem("b", {}), StoredItem("c", {"title": "Big"}, {"visual": look})])
    assert same(
        item_of(store, "a"),
        StoredItem(
            "a",
            {"title": "Heat é", "year": 1995, "tags": ["x", "y"]},
            {"visual": look, "textual": words.astype(np.float32)},
        ),
    )
    store.put_items([StoredItem("b", {"old": 1}, {"acoustic": look}), StoredItem("b", {})])  # the later one counts
    assert same(item_of(store, "b"), StoredItem("b", {}))
    put = StoredItem("a", {"title": "Heat 2"}, {"visual": look * 2}, thumbnail=b"jpeg")
    store.put_items([put])
    store.delete_item("c")
    store.delete_item("of the bundle")
    store = reopened(store)
    assert same(item_of(store, "a"), put) and item_of(store, "a").thumbnail == b"jpeg"
    assert [(each.item, each.deleted, list(each.features)) for each in store.items()] == [
        ("a", False, ["visual"]),
        ("b", False, []),
        ("c", True, []),
        ("of the bundle", True, []),
    ]
    store.put_item("c", {"title": "again"})
    assert same(item_of(store, "c"), StoredItem("c", {"title": "again"}))
    store.close()


@pytest.mark.parametrize(
    ("item", "attributes", "features", "message"),
    [
        ("", {}, {}, "item id: expected text of 1 to 1,000 characters"),
        (7, {}, {}, "item id"),
        ("a\0b", {}, {}, "item id"),
        ("\ud800", {}, {}, "valid Unicode"),
        ("x" * 1001, {}, {}, "item id"),
        ("x", {"year": float("nan")}, {}, "attributes"),
        ("x", {"year": object()}, {}, "attributes"),
        ("x", {}, {"visual": [1.0, float("inf")]}, r"features\['visual'\]: expected finite numbers"),
        ("x", {}, {"visual": [1e300]}, "finite"),
        ("x", {}, {"visual": [[1.0]]}, r"numbers \(d,\)"),
        ("x", {}, {"visual": []}, r"numbers \(d,\)"),
        ("x", {}, {"visual": ["a"]}, r"numbers \(d,\)"),
        ("x", {}, {"": [1.0]}, "modality"),
    ],
)
def test_bad_items_are_refused_and_nothing_of_their_transaction_is_stored(store, item, attributes, features, message):
    with pytest.raises(InputError, match=message):
        store.put_items([StoredItem("good", {}), StoredItem(item, attributes, features)])
    assert list(store.items()) == []


def test_feedback_is_stored_once_however_often_it_is_sent(store):
    assert store.add_feedback([event(1), event(2), event(1)]) == ["new", "new", "duplicate"]
    assert store.add_feedback([event(2), event(3), event(1, item="other")]) == ["duplicate", "new", "conflict"]
    store = reopened(store)
    assert store.add_feedback([event(3), event(3, time=1e9 + 0.01)]) == ["duplicate", "conflict"]
    assert num_events(store) == 3
    assert store.feedback_of("ann") == [event(1), event(2), event(3)] == [each for _, each in store.feedback()]
    assert store.feedback_of("bob") == []
    store.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "id of the feedback"),
        ({"user": 5}, "user of the feedback"),
        ({"item": " "}, "item of the feedback"),
        ({"type": None}, "type of the feedback"),
        ({"time": float("nan")}, "time of the feedback: expected seconds since 1970"),
        ({"time": -1}, "time of the feedback"),
        ({"time": 1e12}, "time of the feedback"),
        ({"time": True}, "time of the feedback"),
        ({"time": "2020"}, "time of the feedback"),
    ],
)
def test_bad_feedback_is_refused_and_nothing_of_its_transaction_is_stored(store, changes, message):
    with pytest.raises(InputError, match=message):
        store.add_feedback([event(1), event(2, **changes)])
    assert num_events(store) == 0


def test_deleted_users_are_forgotten_in_every_byte_of_the_files(store, tmp_path):
    """Pages split and move here, and leave copies in their free space that overwriting deleted rows does not reach."""
    rng = random.Random(0)
    names = [f"{rng.getrandbits(64):016x}" * rng.choice([1, 1, 3, 30]) for _ in range(300)]
    deleted, num_left = [], 0
    for batch in range(111):
        num_left += 40
        store.add_feedback(
            [
                Event(f"{rng.random()}", rng.choice(names), f"i{rng.random()}" * rng.choice([1, 5, 20]), "click", 1e9)
                for _ in range(40)
            ]
        )
        store.put_user(rng.choice(names), {"x": "y" * rng.randrange(3000)})
        if batch % 3 == 0:
            secret = names.pop(rng.randrange(len(names)))
            num_deleted = len(store.feedback_of(secret))
            assert store.delete_user(secret) == num_deleted
            num_left -= num_deleted
            assert num_events(store) == num_left
            assert store.feedback_of(secret) == []
            assert secret not in [each.user for each in store.users()]
            deleted.append(secret)
            for file in tmp_path.iterdir():
                assert secret.encode() not in file.read_bytes(), file.name
    alive = store.feedback_of(names[0])
    assert names[0].encode() in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    store = reopened(store)
    assert store.feedback_of(names[0]) == alive
    assert store.forgotten([*names, *deleted]) == deleted
    assert store.delete_user("never seen") == 0
    store.put_user(deleted[0], {})  # comes back as a new user
    assert store.is_forgotten(deleted[0])
    assert not store.is_forgotten(names[0])
    store.close()


def test_users_are_put_and_read(store):
    store.put_user("ann", {"age": 30})
    store.put_user("ann", {"age": 31})
    store.put_user("bob", {})
    store.add_feedback([event(1)])
    assert list(store.users()) == [StoredUser("ann", {"age": 31}), StoredUser("bob", {})]
    assert len(store.feedback_of("ann")) == 1
    for put, message in ((("", {}), "user id"), (("ann", {"age": {1}}), "attributes")):
        with pytest.raises(InputError, match=message):
            store.put_user(*put)


def test_another_process_that_reads_for_long_is_named_when_a_user_is_deleted(store, monkeypatch):
    monkeypatch.setattr(database_module, "SECONDS_TO_WAIT", 0.2)
    store = reopened(store)
    store.add_feedback([event(1), event(2, "bob")])
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM feedback").fetchone()
    with pytest.raises(MedleyError, match="still in the write-ahead log"):
        store.delete_user("ann")
    reader.close()
    assert num_events(store) == 1
    assert store.delete_user("ann") == 0
    store.close()


def test_a_full_disk_is_said_and_the_transaction_taken_back(store):
    store.put_item("a", {})
    pages = store._database._writer.execute("PRAGMA page_count").fetchone()[0]
    store._database._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(MedleyError, match="full"):
        store.put_items([StoredItem(f"b{number}", {"text": "x" * 5000}) for number in range(10)])
    store._database._writer.execute("PRAGMA max_page_count = 1000000")
    assert [each.item for each in store.items()] == ["a"]
    store.put_item("c", {})
    assert len(list(store.items())) == 2


def test_importing_the_store_and_the_index_does_not_load_torch():
    code = "import sys, medley.serving.store, medley.serving.index, medley.serving.filters, medley.serving.diversity;"
    code += "print(sorted({'torch', 'faiss', 'qdrant_client'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_reader_finds_what_has_changed_since_it_looked(store):
    store.put_item("a", {})
    store.put_user("ann", {}, ["a", "b"])
    since, events = store.num_changes(), [event(1), event(2)]
    store.add_feedback(events[:1])
    (number, _), *_ = store.feedback()
    store.put_item("b", {})
    store.put_user("bob", {})
    store.delete_user("cid")
    store.add_feedback(events[1:])
    assert store.num_changes() == since + 3
    assert [item.item for item in store.items(since=since)] == ["b"]
    assert [user.user for user in store.users(since=since)] == ["bob"]
    assert next(store.users()) == StoredUser("ann", {}, ("a", "b"))
    assert store.forgotten(["ann", "cid"], since=since) == ["cid"] == store.forgotten(["ann", "cid"])
    assert [each for _, each in store.feedback(since=number)] == events[1:]
    assert store.forgotten(["cid"], since=store.num_changes()) == []


def test_numbers_of_events_are_never_used_again(store):
    store.add_feedback([event(1), event(2)])
    last = [number for number, _ in store.feedback()][-1]
    store.delete_user(event(2).user)
    store.add_feedback([event(3)])
    assert [number for number, _ in store.feedback()][-1] > last
