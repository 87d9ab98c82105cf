"""From tables to interactions and catalogues by the options of an import: which column is what, and what is noticed."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from medley.data.sources import tables
from medley.data.sources.tables import COLUMN_NAMES, Table, read_table, source_name
from medley.data.sources.text import TextForm
from medley.errors import InputError

EVENT_NAMES = ("event", "event_type", "behavior", "behaviour", "behavior_type", "action", "action_type", "interaction")
MAX_EVENTS = 20  # more distinct values are not kinds of events


class Columns(NamedTuple):
    """Names of the columns to read; None means the usual names, see COLUMN_NAMES in tables.py."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None
    event: str | None = None
    title: str | None = None
    users_id: str | None = None  # of the user table, where it differs from the log
    items_id: str | None = None


class ReadOptions(NamedTuple):
    """What a reader may need to know. A simple reader uses `form` and `columns` and nothing else."""

    columns: Columns = Columns()
    form: TextForm = TextForm()
    interactions: str | None = None  # file names, relative to the source
    items: str | None = None
    users: str | None = None
    features: Mapping[str, str] = {}


class Log(NamedTuple):
    """The interactions of one file, and what was noticed when they were read."""

    frame: pl.DataFrame  # user_id, item_id (text), line; timestamp, rating, event, split, trimmed where known
    notes: Mapping[str, int] = {}


def read_log(table: Table, columns: Columns, *, split: str | None = None) -> Log:
    """Reads the interactions of a table.

    Args:
        table: one interaction per row.
        columns: the names of its columns.
        split: the split of the whole table; None reads a column `split` or `x_label` if the table has one.
    """
    names = tables.Columns(columns.user, columns.item, columns.timestamp, columns.rating)
    frame = tables.read_log(table, names, split=split)
    notes = notes_of(table)
    if columns.event is None:
        return Log(frame, notes | _unused_events(table, {name for name in columns if name is not None}))
    events = pl.DataFrame({"line": table.line, "event": _events(table, columns.event)})
    return Log(frame.join(events, on="line", how="left", maintain_order="left"), notes)  # rows may have been left out


def read_catalogue(table: Table, columns: Columns, *, kind: str) -> Table:
    """Reads the users or items of a table: `{kind}_id` first, then `title` if a column holds titles, then the rest.

    Raises:
        InputError: an id is missing or occurs twice, or a named column is absent.
    """
    name = id_column(table, columns, kind=kind)
    title = columns.title if kind == "item" else None
    return tables.read_catalogue(table, tables.Columns(user=name, item=name), kind=kind, title=title)


def read_beside(path: Path, options: ReadOptions) -> Table:
    """Reads a table beside the log: it has a header, and perhaps neither the encoding nor the separator of the log."""
    given = options.form._replace(header=True)
    forms = [given._replace(encoding="utf-8"), given]
    forms += [form._replace(separator=None) for form in forms]
    first = None
    for form in dict.fromkeys(forms):
        try:
            return read_table(path, form)
        except InputError as error:
            first = first or error
    assert first is not None
    raise first


def id_column(table: Table, columns: Columns, *, kind: str) -> str:
    """Returns the column of the ids of a user or item table: as named for this table, as in the log, or a usual name.

    Raises:
        InputError: the column is absent.
    """
    named, in_log = (columns.users_id, columns.user) if kind == "user" else (columns.items_id, columns.item)
    candidates = [named] if named is not None else [name for name in (in_log, *COLUMN_NAMES[kind], "id") if name]
    found = next((name for name in candidates if name in table.frame.columns), None)
    if found is None:
        raise InputError(
            f"no column of {kind} ids",
            file=table.path,
            expected=" or ".join(map(repr, candidates)),
            got=f"columns {', '.join(map(repr, table.frame.columns))}",
            remedy=f"name the column: {kind}s_id_column=...",
        )
    return found


def notes_of(*read: Table | None) -> dict[str, int]:
    """What was noticed when tables were read, rows that were left out included."""
    notes: dict[str, int] = {}
    for table in read:
        if table is not None:
            name = source_name(table.path)
            notes |= table.notes
            for reason, count in table.left_out.items():
                notes[f"rows skipped: {reason if name in reason else f'{name}: {reason}'}"] = count
    return notes


def _events(table: Table, name: str) -> pl.Series:
    if name not in table.frame.columns:
        got, remedy = f"columns {', '.join(map(repr, table.frame.columns))}", "name the column: event_column=..."
        raise InputError("no event column", file=table.path, expected=repr(name), got=got, remedy=remedy)
    raw = table.frame[name]
    if raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        raise InputError(name, file=table.path, expected="one event per row", got=raw.dtype, remedy="store text")
    return raw.cast(pl.String).str.strip_chars()


def _unused_events(table: Table, used: set[str]) -> dict[str, int]:
    """Says that a column holds several kinds of events which all count as interactions."""
    for name in table.frame.columns:
        column = table.frame[name]
        if name.lower() in EVENT_NAMES and name not in used and not column.dtype.is_nested():
            kinds = column.drop_nulls().unique(maintain_order=True)
            if 1 < len(kinds) <= MAX_EVENTS:
                shown = ", ".join(map(str, kinds[:5])) + (", ..." if len(kinds) > 5 else "")
                return {f"events {shown} of column {name!r}, all kept as positives: event_column={name}": len(column)}
    return {}
