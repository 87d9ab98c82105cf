"""What a service must not lose: items that were put or deleted, users, and feedback, in one SQLite file.

A call that has returned is on disk; see database.py. Rows of the model are not stored, only raw ids, so that the file
outlives a bundle. The log of feedback goes back into training as a table (user, item, type, timestamp).
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medley.serving.database import Database
from medley.serving.feedback_log import log_pages, write_log
from medley.serving.records import (
    Event,
    Outcome,
    StoredItem,
    StoredUser,
    blobs_of,
    checked_text,
    event_of,
    json_of,
    row_of,
)

PAGE = 250  # rows read at a time


class Store:
    """Durable writes of a service; safe with threads. Use it as a context manager, or call `close`."""

    def __init__(self, path: str | Path, *, create: bool = True):
        """Opens a store.

        Args:
            path: of the file; SQLite keeps two more files beside it while it is open.
            create: make the file, and its folder, if it does not exist.

        Raises:
            InputError: the file is absent, damaged, not a store of Medley, or of a newer version.
        """
        self.path = Path(path)
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(self.path, create=create)
        with self._database.read() as connection:
            self._salt: bytes = connection.execute("SELECT value FROM facts WHERE name = 'salt'").fetchone()[0]

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    # items

    def put_items(self, items: Iterable[StoredItem]) -> None:
        """Stores items, in one transaction; whatever was stored under their ids is replaced, also by a later item here.

        Raises:
            InputError: a bad id, attributes that JSON cannot hold, features that are not finite numbers (d,).
        """
        rows, vectors = {}, {}
        for each in items:
            item = checked_text(each.item, "item id")
            rows[item] = (item, json_of(each.attributes), each.thumbnail, each.deleted)
            vectors[item] = blobs_of(item, each.features)
        with self._database.write() as connection:
            connection.executemany("DELETE FROM vectors WHERE item = ?", [(item,) for item in rows])
            change = _next_change(connection)
            put = "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)"
            connection.executemany(put, [(*row, change) for row in rows.values()])
            connection.executemany("INSERT INTO vectors VALUES (?, ?, ?)", itertools.chain(*vectors.values()))

    def put_item(
        self,
        item: str,
        attributes: Mapping[str, Any],
        features: Mapping[str, np.ndarray] | None = None,
        thumbnail: bytes | None = None,
    ) -> None:
        """Stores one item; see `put_items`."""
        self.put_items([StoredItem(item, dict(attributes), dict(features or {}), thumbnail=thumbnail)])

    def delete_item(self, item: str) -> None:
        """Marks an item as deleted, whether it is stored or comes from the bundle; its values are erased."""
        self.put_items([StoredItem(item, {}, deleted=True)])

    def num_changes(self) -> int:
        """Returns the number of changes of items and users so far, for `since`."""
        with self._database.read() as connection:
            return connection.execute("SELECT value FROM facts WHERE name = 'changes'").fetchone()[0]

    def items(self, *, since: int = 0) -> Iterator[StoredItem]:
        """Yields all items and marks, by id, a page at a time; writes in between may or may not be seen.

        Args:
            since: a `num_changes`; leaves out what has not changed after it.
        """
        yield from self._pages("items", "item", since, _items_of)

    # users

    def put_user(self, user: str, attributes: Mapping[str, Any], history: Sequence[str] = ()) -> None:
        """Stores a user; whatever was stored under the id is replaced, feedback stays.

        Raises:
            InputError: a bad id, or attributes that JSON cannot hold.
        """
        items = json.dumps([checked_text(item, "item id") for item in history])
        row = (checked_text(user, "user id"), json_of(attributes), items)
        with self._database.write() as connection:
            put = "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)"
            connection.execute(put, (*row, _next_change(connection)))

    def users(self, *, since: int = 0) -> Iterator[StoredUser]:
        """Yields all users, by id, a page at a time; `since` as in `items`."""
        yield from self._pages("users", "user", since, _users_of)

    def delete_user(self, user: str) -> int:
        """Forgets a user: attributes and feedback are deleted, and overwritten in the file and in its log.

        A salted hash of the id stays, so that a bundle which holds the user does not bring the user back; see
        `is_forgotten`. The whole file is rewritten, which takes a second per few hundred MB.

        Returns:
            The number of events deleted.

        Raises:
            MedleyError: another process has read the store for more than half a minute, or the disk is full. The user
                is deleted, but bytes may still be in the files: delete the user again.
        """
        with self._database.write() as connection:
            connection.execute("DELETE FROM users WHERE user = ?", (checked_text(user, "user id"),))
            num_events = connection.execute("DELETE FROM feedback WHERE user = ?", (user,)).rowcount
            mark = (self._digest(user), _next_change(connection))
            connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", mark)
        self._database.erase()
        return num_events

    def is_forgotten(self, user: str) -> bool:
        """Whether a user was deleted, ever: what a bundle knows about the user must not be used."""
        with self._database.read() as connection:
            found = connection.execute("SELECT 1 FROM forgotten WHERE digest = ?", (self._digest(user),)).fetchone()
        return found is not None

    def forgotten(self, users: Iterable[str], *, since: int = 0) -> list[str]:
        """Returns the users among some who were deleted, ever: for the start of a service; `since` as in `items`."""
        with self._database.read() as connection:
            get = "SELECT digest FROM forgotten WHERE changed > ?"
            digests = {digest for (digest,) in connection.execute(get, (since,))}
        return [user for user in users if self._digest(user) in digests] if digests else []

    # feedback

    def add_feedback(self, events: Sequence[Event]) -> list[Outcome]:
        """Stores events, in one transaction.

        Returns:
            What became of each event. An id that comes again with the same event is a duplicate, also within one call;
            with another event it is a conflict, and the first event stays.

        Raises:
            InputError: a bad id or type, or a time that is not a number from 1970 to 9999; nothing is stored.
        """
        rows = [row_of(event) for event in events]
        outcomes: list[Outcome] = []
        with self._database.write() as connection:
            put = "INSERT OR IGNORE INTO feedback (id, user, item, type, timestamp) VALUES (?, ?, ?, ?, ?)"
            get = "SELECT id, user, item, type, timestamp FROM feedback WHERE id = ?"
            for row in rows:
                if connection.execute(put, row).rowcount:
                    outcomes.append("new")
                else:
                    same = tuple(connection.execute(get, row[:1]).fetchone()) == row
                    outcomes.append("duplicate" if same else "conflict")
        return outcomes

    def feedback_of(self, user: str) -> list[Event]:
        """Returns the events of a user, in the order in which they came."""
        get = "SELECT id, user, item, type, timestamp FROM feedback WHERE user = ? ORDER BY number"
        with self._database.read() as connection:
            return [event_of(row) for row in connection.execute(get, (user,))]

    def feedback(self, *, since: int = 0) -> Iterator[tuple[int, Event]]:
        """Yields (number, event) in the order in which events came, a page at a time; later events may be seen, too.

        Args:
            since: number of the last event that is left out; numbers ascend, with gaps, and are never used again.
        """
        for page in log_pages(self._database, PAGE, since):
            for number, *row in page:
                yield number, event_of(tuple(row))

    def export_log(self, path: str | Path) -> int:
        """Writes the feedback into a .csv or .parquet file, in one step and in bounded memory.

        The columns are user, item, type, timestamp (UTC, milliseconds). `medley import` reads the file; its event
        column is `type`.

        Returns:
            The number of events.

        Raises:
            InputError: another kind of file.
        """
        return write_log(self._database, Path(path))

    def event_types(self) -> set[str]:
        """Returns the types of feedback that have come in."""
        with self._database.read() as connection:
            return {kind for (kind,) in connection.execute("SELECT DISTINCT type FROM feedback")}

    def _pages(self, table: str, key: str, since: int, get: Callable[[Any, list[str]], list]) -> Iterator[Any]:
        keys = f"SELECT {key} FROM {table} WHERE {key} > ? AND changed > {since:d} ORDER BY {key} LIMIT ?"
        last = ""  # ids are not empty
        while True:
            with self._database.read() as connection:
                page = [key for (key,) in connection.execute(keys, (last, PAGE))]
                found = get(connection, page)
            if not page:
                return
            last = page[-1]
            yield from found

    def _digest(self, user: str) -> bytes:
        return hashlib.blake2b(user.encode(), key=self._salt, digest_size=16).digest()


def _items_of(connection: Any, ids: list[str]) -> list[StoredItem]:
    marks = ", ".join("?" * len(ids))
    features: dict[str, dict[str, np.ndarray]] = {}
    get = f"SELECT item, modality, vector FROM vectors WHERE item IN ({marks}) ORDER BY item, modality"
    for item, modality, vector in connection.execute(get, ids):
        features.setdefault(item, {})[modality] = np.frombuffer(vector, dtype="<f4")
    get = f"SELECT item, attributes, deleted, thumbnail FROM items WHERE item IN ({marks}) ORDER BY item"
    return [
        StoredItem(item, json.loads(attributes), features.get(item, {}), bool(deleted), thumbnail)
        for item, attributes, deleted, thumbnail in connection.execute(get, ids)
    ]


def _users_of(connection: Any, ids: list[str]) -> list[StoredUser]:
    get = f"SELECT user, attributes, history FROM users WHERE user IN ({', '.join('?' * len(ids))}) ORDER BY user"
    found = connection.execute(get, ids)
    return [StoredUser(user, json.loads(known), tuple(json.loads(history))) for user, known, history in found]


def _next_change(connection: Any) -> int:
    """Numbers the change of the running transaction."""
    connection.execute("UPDATE facts SET value = value + 1 WHERE name = 'changes'")
    return connection.execute("SELECT value FROM facts WHERE name = 'changes'").fetchone()[0]
