"""What a service must not lose: items that were put or deleted, users, and feedback, in one SQLite file.

A call that has returned is on disk; see database.py. Rows of the model are not stored, only raw ids, so that the file
outlives a bundle. The log of feedback goes back into training as a table (user, item, type, timestamp).
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from medley.errors import InputError
from medley.files import sync_folder
from medley.serving.database import Database

PAGE = 250  # rows read at a time
LOG_PAGE = 100_000  # events read at a time
LONGEST = 1000  # characters of an id, a type or the name of a modality
LOG_SCHEMA = {"user": pl.String, "item": pl.String, "type": pl.String, "timestamp": pl.Datetime("ms", "UTC")}
LAST_MOMENT = 253_402_300_800.0  # seconds: the year 10,000

Outcome = Literal["new", "duplicate", "conflict"]
"""Of one event: stored; stored before; or not stored, since its id belongs to another event."""


@dataclass(frozen=True)
class StoredItem:
    """An item as it was put, or the mark of a deleted item."""

    item: str  # raw id
    attributes: dict[str, Any]  # column -> value
    features: dict[str, np.ndarray] = field(default_factory=dict)  # modality -> (d_m,) float32, as encoders give them
    deleted: bool = False


@dataclass(frozen=True)
class StoredUser:
    """A user as it was put."""

    user: str  # raw id
    attributes: dict[str, Any]


class Event(NamedTuple):
    """One piece of feedback."""

    id: str  # chosen by the sender: the same id again is the same event
    user: str  # raw id
    item: str  # raw id
    type: str  # click, like, skip, ...
    time: float  # seconds since 1970 (UTC), kept to the millisecond


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
        """Stores items, in one transaction; whatever was stored under their ids is replaced.

        Raises:
            InputError: a bad id, attributes that JSON cannot hold, features that are not finite numbers (d,).
        """
        rows = [(_text(each.item, "item id"), _json(each.attributes), each.deleted, each.features) for each in items]
        vectors = [
            (item, _text(modality, "modality"), _blob(modality, vector))
            for item, _, _, features in rows
            for modality, vector in features.items()
        ]
        now = _now()
        with self._database.write() as connection:
            connection.executemany("DELETE FROM vectors WHERE item = ?", [(item,) for item, *_ in rows])
            put = "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)"
            connection.executemany(put, [(item, attributes, deleted, now) for item, attributes, deleted, _ in rows])
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", vectors)

    def put_item(
        self, item: str, attributes: Mapping[str, Any], features: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Stores one item; see `put_items`."""
        self.put_items([StoredItem(item, dict(attributes), dict(features or {}))])

    def patch_item(
        self,
        item: str,
        attributes: Mapping[str, Any] | None = None,
        features: Mapping[str, np.ndarray | None] | None = None,
    ) -> StoredItem:
        """Changes some values of a stored item, in one transaction.

        Args:
            item: raw id.
            attributes: column -> value; None removes the value.
            features: modality -> (d_m,); None removes the modality.

        Returns:
            The item afterwards.

        Raises:
            InputError: the item is not stored or is deleted; or values as in `put_items`.
        """
        _text(item, "item id")
        with self._database.write() as connection:
            known = _items_of(connection, [item])
            if not known or known[0].deleted:
                remedy = "put the item with all its attributes first"
                raise InputError(f"item {item!r} is not in the store", remedy=remedy)
            changed = StoredItem(
                item,
                _without_none({**known[0].attributes, **(attributes or {})}),
                _without_none({**known[0].features, **(features or {})}),
            )
            put = "UPDATE items SET attributes = ?, changed = ? WHERE item = ?"
            connection.execute(put, (_json(changed.attributes), _now(), item))
            connection.execute("DELETE FROM vectors WHERE item = ?", (item,))
            vectors = [(item, _text(name, "modality"), _blob(name, each)) for name, each in changed.features.items()]
            connection.executemany("INSERT INTO vectors VALUES (?, ?, ?)", vectors)
        return changed

    def delete_item(self, item: str) -> None:
        """Marks an item as deleted, whether it is stored or comes from the bundle; its values are erased."""
        self.put_items([StoredItem(item, {}, deleted=True)])

    def item(self, item: str) -> StoredItem | None:
        """Returns a stored item or the mark of a deleted item; None if the store does not know the id."""
        with self._database.read() as connection:
            known = _items_of(connection, [item])
        return known[0] if known else None

    def items(self) -> Iterator[StoredItem]:
        """Yields all items and marks, by id, a page at a time; writes in between may or may not be seen."""
        yield from self._pages("SELECT item FROM items WHERE item > ? ORDER BY item LIMIT ?", _items_of)

    # users

    def put_user(self, user: str, attributes: Mapping[str, Any]) -> None:
        """Stores a user; whatever was stored under the id is replaced, feedback stays.

        Raises:
            InputError: a bad id, or attributes that JSON cannot hold.
        """
        row = (_text(user, "user id"), _json(attributes), _now())
        with self._database.write() as connection:
            connection.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", row)

    def user(self, user: str) -> StoredUser | None:
        """Returns a stored user, or None."""
        with self._database.read() as connection:
            known = _users_of(connection, [user])
        return known[0] if known else None

    def users(self) -> Iterator[StoredUser]:
        """Yields all users, by id, a page at a time; writes in between may or may not be seen."""
        yield from self._pages("SELECT user FROM users WHERE user > ? ORDER BY user LIMIT ?", _users_of)

    def delete_user(self, user: str) -> int:
        """Forgets a user: attributes and feedback are deleted, and overwritten in the file and in its log.

        A salted hash of the id stays, so that a bundle which holds the user does not bring the user back; see
        `is_forgotten`. The whole file is rewritten, which takes a second per few hundred MB.

        Returns:
            The number of events deleted.

        Raises:
            MedleyError: another process reads the store for so long that its log cannot be emptied; what was deleted
                is deleted, but its bytes are still in the log.
        """
        with self._database.write() as connection:
            connection.execute("DELETE FROM users WHERE user = ?", (_text(user, "user id"),))
            num_events = connection.execute("DELETE FROM feedback WHERE user = ?", (user,)).rowcount
            connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (self._digest(user), _now()))
        self._database.erase()
        return num_events

    def is_forgotten(self, user: str) -> bool:
        """Whether a user was deleted, ever: what a bundle knows about the user must not be used."""
        with self._database.read() as connection:
            found = connection.execute("SELECT 1 FROM forgotten WHERE digest = ?", (self._digest(user),)).fetchone()
        return found is not None

    def forgotten(self, users: Iterable[str]) -> list[str]:
        """Returns the users among some who were deleted, ever: for the start of a service."""
        with self._database.read() as connection:
            digests = {digest for (digest,) in connection.execute("SELECT digest FROM forgotten")}
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
        rows = [_event(event) for event in events]
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
            return [_event_of(row) for row in connection.execute(get, (user,))]

    def feedback(self) -> Iterator[Event]:
        """Yields all events in the order in which they came, a page at a time; later events may be seen, too."""
        for page in self._log_pages(PAGE):
            yield from map(_event_of, page)

    def num_events(self) -> int:
        """Returns the number of events."""
        with self._database.read() as connection:
            return connection.execute("SELECT count(*) FROM feedback").fetchone()[0]

    def log(self) -> pl.DataFrame:
        """Returns the feedback as a table in memory: user, item, type, timestamp (UTC, milliseconds)."""
        return pl.concat([pl.DataFrame(schema=LOG_SCHEMA), *map(_log_frame, self._log_pages(LOG_PAGE))])

    def export_log(self, path: str | Path) -> int:
        """Writes the table of `log` into a .csv or .parquet file, in one step and in bounded memory.

        `medley import` reads the file; its event column is `type`.

        Returns:
            The number of events.

        Raises:
            InputError: another kind of file.
        """
        path = Path(path)
        write = {".csv": pl.LazyFrame.sink_csv, ".parquet": pl.LazyFrame.sink_parquet}.get(path.suffix.lower())
        if write is None:
            raise InputError("file of the log", file=path, expected=".csv or .parquet", got=repr(path.suffix))
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent.absolute()))
        try:
            num_events = 0
            _log_frame([]).write_parquet(folder / "0.parquet")
            parts = [folder / "0.parquet"]
            for page in self._log_pages(LOG_PAGE):
                parts.append(folder / f"{len(parts)}.parquet")
                _log_frame(page).write_parquet(parts[-1])
                num_events += len(page)
            whole = folder / "whole"
            write(pl.scan_parquet(parts), whole)
            with whole.open("rb+") as file:
                os.fsync(file.fileno())
            whole.replace(path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return num_events

    def _log_pages(self, size: int) -> Iterator[list[tuple]]:
        get = "SELECT number, id, user, item, type, timestamp FROM feedback WHERE number > ? ORDER BY number LIMIT ?"
        last = 0
        while True:
            with self._database.read() as connection:
                page = connection.execute(get, (last, size)).fetchall()
            if not page:
                return
            last = page[-1][0]
            yield [row[1:] for row in page]

    def _pages(self, keys: str, get: Callable[[Any, list[str]], list]) -> Iterator[Any]:
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
    get = f"SELECT item, attributes, deleted FROM items WHERE item IN ({marks}) ORDER BY item"
    return [
        StoredItem(item, json.loads(attributes), features.get(item, {}), bool(deleted))
        for item, attributes, deleted in connection.execute(get, ids)
    ]


def _users_of(connection: Any, ids: list[str]) -> list[StoredUser]:
    get = f"SELECT user, attributes FROM users WHERE user IN ({', '.join('?' * len(ids))}) ORDER BY user"
    return [StoredUser(user, json.loads(attributes)) for user, attributes in connection.execute(get, ids)]


def _log_frame(page: list[tuple]) -> pl.DataFrame:
    _, *columns = zip(*page, strict=True) if page else [()] * 5
    data = dict(zip(LOG_SCHEMA, columns, strict=True))
    return pl.DataFrame(data, schema=LOG_SCHEMA | {"timestamp": pl.Int64}).cast(LOG_SCHEMA)  # type: ignore[arg-type]


def _event_of(row: tuple) -> Event:
    *texts, timestamp = row
    return Event(*texts, time=timestamp / 1000)


def _event(event: Event) -> tuple[str, str, str, str, int]:
    """Returns the columns of a checked event."""
    is_time = isinstance(event.time, int | float | np.number) and not isinstance(event.time, bool)
    if not is_time or not 0 <= event.time < LAST_MOMENT:
        expected = "seconds since 1970 (UTC), up to the year 9999"
        raise InputError("time of the feedback", expected=expected, got=repr(event.time))
    texts = [_text(getattr(event, name), f"{name} of the feedback") for name in ("id", "user", "item", "type")]
    return (*texts, round(float(event.time) * 1000))  # type: ignore[return-value]


def _text(value: object, what: str) -> str:
    """Returns text that SQLite and a text table can hold."""
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST or "\0" in value:
        expected = f"text of 1 to {LONGEST:,} characters"
        raise InputError(what, expected=expected, got=f"{value!r:.80}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(what, expected="valid Unicode", got=f"{value!r:.80}") from None
    return value


def _json(attributes: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(attributes), ensure_ascii=True, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        expected = "names with text, finite numbers, true, false, or lists of them"
        raise InputError("attributes", expected=expected, got=str(error)) from None


def _blob(modality: str, vector: np.ndarray) -> bytes:
    vector = np.asarray(vector)
    is_number = np.issubdtype(vector.dtype, np.floating) or np.issubdtype(vector.dtype, np.integer)
    if vector.ndim != 1 or not len(vector) or not is_number:
        got = f"{vector.dtype} of shape {vector.shape}"
        raise InputError(f"features[{modality!r}]", expected="numbers (d,)", got=got)
    with np.errstate(over="ignore"):
        vector = vector.astype("<f4")
    if not np.isfinite(vector).all():
        raise InputError(f"features[{modality!r}]", expected="finite numbers", got="NaN or infinity")
    return vector.tobytes()


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _now() -> int:
    """Milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000
