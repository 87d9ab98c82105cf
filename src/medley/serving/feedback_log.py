"""The log of feedback as a file with a table (user, item, type, timestamp) that `medley import` reads."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from medley.errors import InputError
from medley.files import sync_folder
from medley.serving.database import Database

LOG_PAGE = 100_000  # events read at a time
LOG_SCHEMA = {"user": pl.String, "item": pl.String, "type": pl.String, "timestamp": pl.Datetime("ms", "UTC")}


def write_log(database: Database, path: Path) -> int:
    """Writes the log into a file, a page at a time; see `Store.export_log`."""
    write = {".csv": pl.LazyFrame.sink_csv, ".parquet": pl.LazyFrame.sink_parquet}.get(path.suffix.lower())
    if write is None:
        raise InputError("file of the log", file=path, expected=".csv or .parquet", got=repr(path.suffix))
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent.absolute()))
    try:
        num_events = 0
        _log_frame([]).write_parquet(folder / "0.parquet")
        parts = [folder / "0.parquet"]
        for page in log_pages(database, LOG_PAGE):
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


def log_pages(database: Database, size: int, since: int = 0) -> Iterator[list[tuple]]:
    """Yields pages of (number, id, user, item, type, milliseconds), in the order in which the events came."""
    get = "SELECT number, id, user, item, type, timestamp FROM feedback WHERE number > ? ORDER BY number LIMIT ?"
    last = since
    while True:
        with database.read() as connection:
            page = connection.execute(get, (last, size)).fetchall()
        if not page:
            return
        last = page[-1][0]
        yield page


def _log_frame(page: list[tuple]) -> pl.DataFrame:
    _, _, *columns = zip(*page, strict=True) if page else [()] * 6
    data = dict(zip(LOG_SCHEMA, columns, strict=True))
    return pl.DataFrame(data, schema=LOG_SCHEMA | {"timestamp": pl.Int64}).cast(LOG_SCHEMA)  # type: ignore[arg-type]
