"""The SQLite file of a store: opening, checking, schema versions, transactions.

Write-ahead log (WAL) with synchronous=FULL: a transaction that was committed is on disk before the call returns, so
neither a killed process nor a loss of power takes it back. Deleted content is overwritten (secure_delete); copies of it
in the free space of pages that once were split (of 7 among 300 deleted users in a test) take a rewrite of the file, see
`Database.erase`.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medley.errors import InputError, MedleyError
from medley.files import sync_folder

APPLICATION = 0x6D656479  # "medy", in the header of the file
SECONDS_TO_WAIT = 30  # for another process that writes
HEADER = b"SQLite format 3\0"
REMEDY = "restore the file from a backup, or move it and its -wal file away to start with an empty store"

MIGRATIONS = (  # script number v turns a file of version v into one of version v + 1
    """
    CREATE TABLE items (
        item TEXT PRIMARY KEY, attributes TEXT NOT NULL, thumbnail BLOB, deleted INTEGER NOT NULL, changed INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE vectors (
        item TEXT NOT NULL, modality TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (item, modality)
    ) WITHOUT ROWID;
    CREATE TABLE users (
        user TEXT PRIMARY KEY, attributes TEXT NOT NULL, history TEXT NOT NULL, changed INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE forgotten (digest BLOB PRIMARY KEY, changed INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE feedback (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, item TEXT NOT NULL,
        type TEXT NOT NULL, timestamp INTEGER NOT NULL
    );
    CREATE INDEX feedback_of_user ON feedback (user, number);
    CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    INSERT INTO facts VALUES ('salt', randomblob(16));
    """,
)


class Database:
    """One file, with a connection that writes and one that reads; safe with threads and with other processes."""

    def __init__(self, path: Path, *, create: bool):
        """Opens the file, checks it, and brings it to the current version.

        Args:
            path: of the file.
            create: make the file if it does not exist.

        Raises:
            InputError: the file is absent, damaged, not a store of Medley, or of a newer version.
        """
        self.path = path
        is_new = not path.exists() or not path.stat().st_size
        if is_new and not create:
            raise InputError("the store does not exist", file=path, remedy="name the store beside the bundle")
        if not is_new:
            self._check_header()
        with self.spoken():
            self._writer, self._reader = self._connect(), self._connect()
        self._writing, self._reading = threading.RLock(), threading.RLock()
        try:
            with self.spoken():
                self._check(is_new)
                self._migrate()
        except BaseException:
            self.close()
            raise
        if is_new:
            sync_folder(path.parent)

    def close(self) -> None:
        """Closes the file; the write-ahead log goes into it."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Runs the block as one transaction, which is on disk when the block has ended; an error takes it back.

        Raises:
            MedleyError: the disk is full, the file may not be written, or another process holds it for long.
        """
        with self._writing, self.spoken():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Runs the block with a view of one moment; it should be short, and does not wait for writers."""
        with self._reading, self.spoken():
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._reader.execute("ROLLBACK")

    def erase(self) -> None:
        """Empties the write-ahead log and rewrites the file without free space: deleted content is gone from both.

        Raises:
            MedleyError: another process reads for so long that the log cannot be emptied.
        """
        with self._writing, self._reading, self.spoken():
            self._writer.execute("VACUUM")
            busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            remedy = "end the other process that reads the store, and delete again"
            raise MedleyError(f"{self.path}: deleted content is still in the write-ahead log. Remedy: {remedy}")

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """Turns errors of SQLite into sentences."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise MedleyError(f"{self.path}: the store cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise InputError("the store is damaged", file=self.path, got=str(error), remedy=REMEDY) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False)
        for pragma in ("synchronous = FULL", "secure_delete = ON", "foreign_keys = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _check_header(self) -> None:
        try:
            with self.path.open("rb") as file:
                header = file.read(len(HEADER))
        except OSError as error:  # a folder, or a file that may not be read
            raise InputError("the store cannot be read", file=self.path, got=error.strerror) from None
        if header != HEADER:
            expected = "a file of SQLite"
            raise InputError("the store", file=self.path, expected=expected, got=f"{header!r:.40}", remedy=REMEDY)

    def _check(self, is_new: bool) -> None:
        application = self._writer.execute("PRAGMA application_id").fetchone()[0]
        holds_tables = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
        if application != APPLICATION and holds_tables:
            remedy = "name another file"
            raise InputError(
                "the store", file=self.path, expected="a store of Medley", got="other tables", remedy=remedy
            )
        version = self.version
        if version > len(MIGRATIONS):
            expected, got = f"version {len(MIGRATIONS)} or older", f"version {version}"
            raise InputError("the store", file=self.path, expected=expected, got=got, remedy="update Medley")
        if not is_new:
            found = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise InputError("the store is damaged", file=self.path, got=" ".join(found.split()), remedy=REMEDY)

    @property
    def version(self) -> int:
        """The version of the schema."""
        return self._writer.execute("PRAGMA user_version").fetchone()[0]

    def _migrate(self) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        with self.write() as connection:  # another process may be opening the file, too
            for script in MIGRATIONS[self.version :]:
                for statement in script.split(";"):
                    if statement.strip():
                        connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
