"""Writes the lists of many users as one table, block by block: memory does not grow with the number of users.

    user_id, place (from 1), item_id, title, score, and the share of every part of the score as share_<part>

A .csv or .jsonl file grows block by block; a parquet file is put together from one file per block. The table appears
in one step, when it is complete.

Shapes: B users of a block, k places of a list, n rows of a table.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.text import Text

from medley.bars import LINE_SECONDS, bar_of
from medley.errors import InputError
from medley.files import sync_folder
from medley.serving.catalogue import Catalogue
from medley.serving.lists import Block, Lists

SUFFIXES = (".csv", ".parquet", ".jsonl")
SCHEMA = {"user_id": pl.String, "place": pl.Int64, "item_id": pl.String, "title": pl.String, "score": pl.Float64}
ROW_GROUP = 2**18  # rows of a parquet file that are read at a time


class BatchProgress:
    """Shows nothing. Subclasses show how many users have their lists."""

    def start(self, num_users: int) -> None:
        """Called before the first block."""

    def block(self, num_users: int) -> None:
        """Called after every block, with the number of its users."""

    def stop(self) -> None:
        """Called once, whatever ended the batch."""


class BatchBar(BatchProgress):
    """A bar of users with rate and time left. Without a terminal, a line every half minute."""

    def __init__(self, *, console: Console | None = None):
        self.console = console or Console(stderr=True)

    def start(self, num_users: int) -> None:
        """Shows the bar."""
        self.total, self.done = num_users, 0
        self.began = self.shown = time.monotonic()
        self.bar = bar_of(self.console)
        self.task = self.bar.add_task("", total=num_users, title="users", state="...")
        self.bar.start()

    def block(self, num_users: int) -> None:
        """Moves the bar."""
        self.done += num_users
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        self.bar.update(self.task, completed=self.done, state=f"{rate:,.0f}/s")
        if not self.console.is_terminal and time.monotonic() - self.shown > LINE_SECONDS:
            self.shown = time.monotonic()
            left = (self.total - self.done) / rate
            line = f"{self.done:,} of {self.total:,} users, {rate:,.0f}/s, {left:.0f} s left"
            self.console.print(Text(line), soft_wrap=True)

    def stop(self) -> None:
        """Removes the bar."""
        self.bar.stop()


def write_lists(path: str | Path, lists: Lists, progress: BatchProgress | None = None) -> int:
    """Writes the lists of many users as one table.

    Args:
        path: a .csv, .parquet or .jsonl file, which is replaced.
        lists: the question.
        progress: is told about every block.

    Returns:
        The number of rows.

    Raises:
        InputError: another kind of file.
    """
    progress = progress or BatchProgress()
    check_suffix(path)
    names = _Names(lists.service.catalogue)

    def frames() -> Iterator[pl.DataFrame]:
        for block in lists:
            yield names.frame(block)
            progress.block(len(block.users))

    progress.start(len(lists))
    try:
        return write_frames(path, frames())
    finally:
        progress.stop()


def check_suffix(path: str | Path) -> None:
    """Raises InputError if tables are not written to such a file."""
    if Path(path).suffix.lower() not in SUFFIXES:
        expected, got = " or ".join(SUFFIXES), repr(Path(path).suffix)
        raise InputError("file of recommendations", file=path, expected=expected, got=got)


def write_frames(path: str | Path, frames: Iterable[pl.DataFrame]) -> int:
    """Writes tables with the same columns below each other, in one step, and returns the number of rows.

    Args:
        path: a .csv, .parquet or .jsonl file, which is replaced.
        frames: tables; without any, an empty table is written.

    Raises:
        InputError: another kind of file.
    """
    path = Path(path)
    check_suffix(path)
    num_rows = 0
    with _staged(path) as staging:
        table, parts = staging / "table", []
        for at, frame in enumerate(frames):
            num_rows += frame.height
            if path.suffix.lower() == ".parquet":
                parts.append(staging / f"{at:06d}.parquet")
                frame.write_parquet(parts[-1], compression="lz4", row_group_size=ROW_GROUP)
            else:
                with table.open("ab") as file:
                    _append(frame, file, is_csv=path.suffix.lower() == ".csv", is_first=at == 0)
        if parts:
            pl.scan_parquet(parts).sink_parquet(table, row_group_size=ROW_GROUP)
        elif not table.exists():
            with table.open("wb") as file:
                empty = pl.DataFrame(schema=SCHEMA)
                if path.suffix.lower() == ".parquet":
                    empty.write_parquet(file)
                else:
                    _append(empty, file, is_csv=path.suffix.lower() == ".csv", is_first=True)
    return num_rows


class _Names:
    """Raw ids and titles of all items of a catalogue, as columns to pick from."""

    def __init__(self, catalogue: Catalogue):
        table, num_bundled = catalogue.bundle.items, catalogue.num_bundled
        ids = table["item_id"].cast(pl.String).to_list()
        titles = table["title"].cast(pl.String).to_list() if "title" in table.columns else [None] * num_bundled
        ids += [catalogue.raw_id(row) for row in range(num_bundled, len(catalogue))]
        titles += [None] * (len(catalogue) - num_bundled)
        for row in catalogue.changed:  # all items that were put since the export, whatever their features
            titles[row] = catalogue.title(row)
        self.ids, self.titles = pl.Series(ids, dtype=pl.String), pl.Series(titles, dtype=pl.String)

    def frame(self, block: Block) -> pl.DataFrame:
        """Returns the table (n rows) of a block."""
        user, place = np.nonzero(block.rows >= 0)
        row = block.rows[user, place]
        columns = {
            "user_id": pl.Series(block.users, dtype=pl.String).gather(user),
            "place": place.astype(np.int64) + 1,
            "item_id": self.ids.gather(row),
            "title": self.titles.gather(row),
            "score": block.scores[user, place].astype(np.float64),
        }
        shares = {f"share_{name}": share[user, place] for name, share in block.shares().items()}
        return pl.DataFrame(columns | shares)


def _append(frame: pl.DataFrame, file: object, *, is_csv: bool, is_first: bool) -> None:
    if is_csv:
        frame.write_csv(file, include_header=is_first)  # type: ignore[arg-type]
    else:
        frame.write_ndjson(file)  # type: ignore[arg-type]


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """Yields a new folder beside `path`, whose file `table` becomes `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield staging
        table = staging / "table"
        with table.open("rb+") as file:
            os.fsync(file.fileno())
        table.chmod(0o644)
        table.replace(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
