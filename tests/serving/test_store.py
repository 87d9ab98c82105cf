"""Durable writes: what was acknowledged is there, what was forgotten is gone."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medley.data.importing import import_dataset
from medley.errors import InputError, MedleyError
from medley.serving import database as database_module
from medley.serving.records import Event, StoredItem, StoredUser
from medley.serving.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "shop.sqlite") as store:
        yield store


def reopened(store: Store) -> Store:
    store.close()
    return Store(store.path, create=False)


def event(number: int, user: str = "ann", **changes) -> Event:
    return Event(
        **{"id": f"e{number}", "user": user, "item": f"i{number % 7}", "type": "click", "time": 1e9, **changes}
    )


def item_of(store: Store, item: str) -> StoredItem | None:
    return next((each for each in store.items() if each.item == item), None)


def num_events(store: Store) -> int:
    return sum(1 for _ in store.feedback())


def same(ours: StoredItem | None, other: StoredItem) -> bool:
    return (
        ours is not None
        and (ours.item, ours.attributes, ours.deleted) == (other.item, other.attributes, other.deleted)
        and ours.features.keys() == other.features.keys()
        and all(np.array_equal(ours.features[name], other.features[name]) for name in other.features)
    )


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


WRITERS = """
import os, sys
import numpy as np
from medley.serving.records import Event, StoredItem
from medley.serving.store import Store

def write(path, start, acknowledge):
    with Store(path) as store:
        acknowledge("open")
        for number in range(start, start + 100_000):
            look = np.full(200, number, dtype=np.float32)
            vectors = {"visual": look, "textual": look[:3]}
            store.put_items([StoredItem(f"{side}{number % 50}", {"number": number}, vectors) for side in "ab"])
            acknowledge(f"items {number}")
            user = f"u{number % 5}"
            store.add_feedback([Event(f"{number}-{at}", user, f"i{at}", "click", number) for at in range(5)])
            acknowledge(f"feedback {number}")

for line in sys.stdin:  # one writer after another, so that modules are loaded once
    path, start, acknowledged = line.split()
    child = os.fork()
    if not child:
        file = os.open(acknowledged, os.O_WRONLY)
        write(path, int(start), lambda what: os.write(file, f"{what}\\n".encode()))
    print(child, flush=True)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forked")
def test_twenty_kills_under_writes_lose_nothing_that_was_acknowledged_and_leave_nothing_torn(tmp_path):
    path, pipe, moments = tmp_path / "shop.sqlite", tmp_path / "acknowledged", random.Random(1)
    os.mkfifo(pipe)
    writers = subprocess.Popen(
        [sys.executable, "-c", WRITERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writers.stdin is not None
    assert writers.stdout is not None
    acknowledged, last, start = set(), -1, 0
    for _ in range(20):
        writers.stdin.write(f"{path} {start} {pipe}\n")
        writers.stdin.flush()
        with pipe.open() as lines:
            child = int(writers.stdout.readline())
            assert lines.readline() == "open\n"
            time.sleep(moments.uniform(0, 0.08))
            os.kill(child, signal.SIGKILL)
            assert int(writers.stdout.readline()) == signal.SIGKILL
            said = lines.read().split("\n")[:-1]  # what was said was acknowledged; the last line may be cut
        done = [line.split() for line in said]
        acknowledged |= {int(number) for kind, number in done if kind == "feedback"}
        last = max([last, *(int(number) for kind, number in done if kind == "items")])
        start += 1000
        with Store(path, create=False) as store:
            found = Counter(each.time for _, each in store.feedback())
            assert acknowledged <= found.keys()
            assert set(found.values()) <= {5}  # a transaction is there as a whole or not at all
            items = {each.item: each for each in store.items()}
            for number in range(50):
                pair = [items[f"{side}{number}"] for side in "ab" if f"{side}{number}" in items]
                versions = {each.attributes["number"] for each in pair}
                assert len(versions) <= 1
                assert len(pair) in (0, 2)
                for each in pair:
                    assert {float(value) for vector in each.features.values() for value in vector} == versions
                    assert [len(each.features[name]) for name in ("visual", "textual")] == [200, 3]
            assert not items or max(each.attributes["number"] for each in items.values()) >= last
    writers.stdin.close()
    assert writers.wait() == 0
    assert len(acknowledged) > 20
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_commit_waits_for_the_disk(store):
    for connection in (store._database._writer, store._database._reader):
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_several_threads_write_and_read_at_once(store):
    errors, rounds = [], 40

    def work(name: str) -> None:
        try:
            for number in range(rounds):
                assert (
                    store.add_feedback([event(number, name, id=f"{name}-{number}"), event(number, "all")])[0] == "new"
                )
                store.put_item(f"{name}-{number}", {"number": number})
                assert len(store.feedback_of(name)) == number + 1
                assert len(list(store.items())) > number
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store.feedback_of("all")) == rounds  # each id once, whoever sent it
    assert num_events(store) == 5 * rounds


def test_iteration_takes_bounded_memory_and_lets_writers_go_on(store):
    vector = np.zeros(50, dtype=np.float32)
    for block in range(6):
        store.put_items([StoredItem(f"{block}-{number:04}", {"t": "x" * 500}, {"v": vector}) for number in range(1000)])
        store.add_feedback([event(number, id=f"{block}-{number}") for number in range(1000)])
    tracemalloc.start()
    num_items = 0
    for each in store.items():
        num_items += 1
        if each.item.endswith("500"):
            store.put_user(each.item, {})  # a write in the middle
    num_found = num_events(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (num_items, num_found) == (6000, 6000)
    assert peak < 3e6  # bytes; all items have 4.2 MB of text and vectors alone, and objects around them


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_log_is_exported_and_imported_as_the_next_training_data(store, tmp_path, suffix):
    events = [
        event(
            number,
            f"u{number % 10}",
            item=f"i{number // 10 % 12}",
            time=1e9 + number + 0.25,
            id=f"{number}",
            type=("like", "view", "skip")[number % 3],
        )
        for number in range(120)
    ]
    store.add_feedback(events)
    source = tmp_path / "source"
    assert store.export_log(source / f"interactions{suffix}") == 120
    assert [path.name for path in source.iterdir()] == [f"interactions{suffix}"]
    if suffix == ".parquet":
        log = pl.read_parquet(source / "interactions.parquet")
        assert log.columns == ["user", "item", "type", "timestamp"]
        assert log["timestamp"].dtype == pl.Datetime("ms", "UTC")
        rows = [(each.user, each.item, each.type, each.time) for each in events]
        assert log.with_columns(pl.col("timestamp").dt.epoch("ms") / 1000).rows() == rows
    data = import_dataset(
        suffix[1:], source, tmp_path / "data", event_column="type", positive=("like",), negative=("skip",), split="time"
    )
    kept = {(each.user, each.item) for each in events if each.type == "like"}
    pairs = set()
    for split in ("train", "valid", "test"):
        part = data.interactions(split)
        pairs |= {(data.users.raw_id(u), data.items.raw_id(i)) for u, i in zip(part.user, part.item, strict=True)}
    assert pairs == kept
    assert len(data.disliked.user) > 0


def test_an_empty_log_is_exported_and_other_kinds_of_files_are_refused(store, tmp_path):
    assert store.export_log(tmp_path / "log.csv") == 0
    assert (tmp_path / "log.csv").read_text() == "user,item,type,timestamp\n"
    with pytest.raises(InputError, match=r"expected .csv or .parquet, got '.xlsx'"):
        store.export_log(tmp_path / "log.xlsx")


def test_a_long_log_is_exported_page_by_page(store, tmp_path, monkeypatch):
    monkeypatch.setattr("medley.serving.feedback_log.LOG_PAGE", 7)
    store.add_feedback([event(number) for number in range(50)])
    assert store.export_log(tmp_path / "log.parquet") == 50
    assert pl.read_parquet(tmp_path / "log.parquet")["item"].to_list() == [f"i{number % 7}" for number in range(50)]


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 4] = os.urandom(4096 * 2)
    path.write_bytes(content)


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE shop (name TEXT)")


def newer(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, "the store is damaged.*restore the file from a backup"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "the store is damaged"),
        (lambda path: path.write_bytes(b"item,user\n1,2\n" * 100), "expected a file of SQLite, got b'item,user"),
        (foreign, "expected a store of Medley, got other tables"),
        (newer, "expected version 1 or older, got version 99.*update Medley"),
    ],
)
def test_a_file_that_is_damaged_foreign_or_newer_is_refused_and_left_as_it_is(tmp_path, spoil, message):
    path = tmp_path / "shop.sqlite"
    with Store(path) as store:
        store.put_items([StoredItem(f"{number}", {"text": "x" * 200}) for number in range(500)])
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        Store(path)
    assert path.read_bytes() == before


def test_an_absent_store_is_refused_unless_it_may_be_made(tmp_path):
    with pytest.raises(InputError, match="the store does not exist"):
        Store(tmp_path / "shop.sqlite", create=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="the store cannot be read: got Is a directory"):
        Store(tmp_path)
    Store(tmp_path / "new" / "shop.sqlite").close()
    assert (tmp_path / "new" / "shop.sqlite").exists()


def test_a_store_of_an_older_version_is_brought_to_the_current_one_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "shop.sqlite"
    with Store(path) as store:
        store.add_feedback([event(1)])
    shutil.copy(path, tmp_path / "copy.sqlite")
    step = "ALTER TABLE feedback ADD COLUMN weight REAL; CREATE TABLE more (x)"
    monkeypatch.setattr(database_module, "MIGRATIONS", (*database_module.MIGRATIONS, step))
    with Store(path) as store:
        assert store.feedback_of("ann") == [event(1)]
        assert store._database.version == 2
    monkeypatch.setattr(database_module, "MIGRATIONS", (*database_module.MIGRATIONS[:1], f"{step}; NONSENSE"))
    with pytest.raises(MedleyError, match="syntax error"):
        Store(tmp_path / "copy.sqlite")
    tables = sqlite3.connect(tmp_path / "copy.sqlite").execute("SELECT name FROM sqlite_master").fetchall()
    assert ("more",) not in tables  # all of a migration or nothing


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
