"""Files that a store opens, brings to its version, or refuses."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.serving.storing import event

from medley.errors import InputError, MedleyError
from medley.serving import database as database_module
from medley.serving.records import StoredItem
from medley.serving.store import Store


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
