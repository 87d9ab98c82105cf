"""The store under kills, threads and many rows: nothing that was acknowledged is lost."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from tests.serving.storing import event, num_events

from medley.serving.records import StoredItem
from medley.serving.store import Store

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
