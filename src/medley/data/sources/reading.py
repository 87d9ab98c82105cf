"""From tables to interactions and catalogues: which column is what, and what is noticed on the way."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from medley.data.manifest import SPLITS
from medley.data.sources.tables import COLUMN_NAMES, Table
from medley.data.sources.text import TextForm
from medley.errors import InputError

X_LABELS = {str(label): split for label, split in enumerate(SPLITS)}  # MMRec's x_label
EVENT_NAMES = ("event", "event_type", "behavior", "behaviour", "behavior_type", "action", "action_type", "interaction")
MAX_EVENTS = 20  # more distinct values are not kinds of events
MAX_SKIPPED = 10_000  # rows that are looked for one by one; beyond, the file as a whole is wrong


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


def read_log(table: Table, columns: Columns, *, split: str | None = None, skip: bool = False) -> Log:
    """Reads the interactions of a table.

    Args:
        table: one interaction per row.
        columns: the names of its columns.
        split: the split of the whole table; None reads a column `split` or `x_label` if the table has one.
        skip: leave out rows with a value that cannot be read, and count them.
    """
    user, item = table.column("user", columns.user), table.column("item", columns.item)
    time = table.optional_column("timestamp", columns.timestamp)
    rating = table.optional_column("rating", columns.rating)
    given = split is None and ("split" in table.frame.columns or "x_label" in table.frame.columns)
    checks: list[Callable[[Table], object]] = [lambda part: part.ids(user), lambda part: part.ids(item)]
    if time is not None:
        checks.append(lambda part: part.times(time))
    if rating is not None:
        checks.append(lambda part: part.numbers(rating))
    if given:
        checks.append(_given_split)
    notes: dict[str, int] = dict(notes_of(table))
    if skip:
        table = _without_bad_rows(table, checks, notes)
    series = {"user_id": table.ids(user), "item_id": table.ids(item), "line": pl.Series(table.line)}
    series["trimmed"] = _differs(table.frame[user], series["user_id"]) | _differs(table.frame[item], series["item_id"])
    if time is not None:
        series["timestamp"] = table.times(time)
    if rating is not None:
        series["rating"] = table.numbers(rating)
    if columns.event is not None:
        series["event"] = _events(table, columns.event)
    else:
        notes |= _unused_events(table, {user, item, time, rating})
    if split is not None:
        series["split"] = pl.repeat(split, len(table.frame), eager=True)
    elif given:
        series["split"] = _given_split(table)
    return Log(pl.DataFrame(series), notes)


def read_catalogue(table: Table, columns: Columns, *, kind: str, skip: bool = False) -> Table:
    """Reads the users or items of a table: `{kind}_id` first, then `title` if a column holds titles, then the rest.

    The title is the column that `columns.title` names, else `title`, else the first that ends in `_title`, else `name`.

    Raises:
        InputError: an id is missing or occurs twice, or the named column is absent.
    """
    name = id_column(table, columns, kind=kind)
    if skip:
        notes = dict(table.notes)
        table = _without_bad_rows(table, [lambda part: part.ids(name)], notes)
        first = table.ids(name).is_first_distinct()
        if not first.all():
            notes[f"{kind}s listed twice, of which the first row was kept"] = int((~first).sum())
        table = table._replace(frame=table.frame.filter(first), line=table.line[first.to_numpy()], notes=notes)
    ids = table.ids(name).alias(f"{kind}_id")
    again = ~ids.is_first_distinct()
    table.refuse(again, name, expected="distinct ids", got=ids, remedy=f"keep one row per {kind}")
    rest = _renamed(table.frame.drop(name), f"{kind}_id")
    title = _title_column(table, rest.columns, columns.title) if kind == "item" else None
    if title is not None:
        rest = _renamed(rest, "title") if title != "title" else rest
        rest = rest.select(_text(table, rest[title]).alias("title"), pl.exclude(title))
    return table._replace(frame=pl.DataFrame([ids, *rest]))


def id_column(table: Table, columns: Columns, *, kind: str) -> str:
    """Returns the column of the ids of a user or item table: as named for this table, as in the log, or a usual name.

    Raises:
        InputError: the column is absent.
    """
    named, in_log = (columns.users_id, columns.user) if kind == "user" else (columns.items_id, columns.item)
    candidates = (named,) if named is not None else (in_log, *COLUMN_NAMES[kind], "id")
    found = next((name for name in candidates if name in table.frame.columns), None)
    if found is None:
        raise InputError(
            f"no column of {kind} ids",
            file=table.path,
            expected=" or ".join(repr(name) for name in candidates if name is not None),
            got=f"columns {', '.join(map(repr, table.frame.columns))}",
            remedy=f"name the column: {kind}s_id_column=...",
        )
    return found


def notes_of(*tables: Table | None) -> dict[str, int]:
    """What was noticed when tables were read."""
    notes: dict[str, int] = {}
    for table in tables:
        if table is not None:
            notes |= table.notes
            if table.skipped:
                notes[f"rows of {table.path.name if hasattr(table.path, 'name') else table.path} skipped"] = (
                    table.skipped
                )
    return notes


def _without_bad_rows(table: Table, checks: list[Callable[[Table], object]], notes: dict[str, int]) -> Table:
    """Leaves out the rows that a check refuses; where most are refused the error stands."""
    bad: list[int] = []
    for check in checks:
        _collect(table, check, 0, len(table.frame), bad)
    if not bad:
        return table
    kept = np.ones(len(table.frame), dtype=bool)
    kept[bad] = False
    if kept.sum() * 2 < len(kept):
        for check in checks:
            check(table)
    name = getattr(table.path, "name", table.path)
    examples = ", ".join(f"{line:,}" for line in table.line[~kept][:3])
    notes[f"rows of {name} skipped: a value cannot be read (the first: {examples})"] = int((~kept).sum())
    return table._replace(frame=table.frame.filter(pl.Series(kept)), line=table.line[kept])


def _collect(table: Table, check: Callable[[Table], object], start: int, stop: int, bad: list[int]) -> None:
    """Halves a range of rows until the rows stand alone that a check refuses."""
    part = table._replace(frame=table.frame[start:stop], line=table.line[start:stop])
    try:
        check(part)
    except InputError:
        if len(bad) >= MAX_SKIPPED:
            raise
        if stop - start == 1:
            bad.append(start)
            return
        middle = (start + stop) // 2
        _collect(table, check, start, middle, bad)
        _collect(table, check, middle, stop, bad)


def _differs(raw: pl.Series, text: pl.Series) -> pl.Series:
    return raw != text if raw.dtype == pl.String else pl.repeat(False, len(raw), eager=True)


def _given_split(table: Table) -> pl.Series:
    name = "split" if "split" in table.frame.columns else "x_label"
    raw = table.frame[name].cast(pl.String).str.strip_chars()
    codes = {label: label for label in X_LABELS.values()} if name == "split" else X_LABELS
    split = raw.replace_strict(codes, default=None, return_dtype=pl.String)
    remedy = "correct the row or remove it"
    table.refuse(split.is_null(), name, expected=" or ".join(codes), got=raw, remedy=remedy)
    return split


def _events(table: Table, name: str) -> pl.Series:
    if name not in table.frame.columns:
        got, remedy = f"columns {', '.join(map(repr, table.frame.columns))}", "name the column: event_column=..."
        raise InputError("no event column", file=table.path, expected=repr(name), got=got, remedy=remedy)
    return _text(table, table.frame[name]).str.strip_chars()


def _unused_events(table: Table, used: set[str | None]) -> dict[str, int]:
    """Says that a column holds several kinds of events which all count as interactions."""
    for name in table.frame.columns:
        column = table.frame[name]
        if name.lower() in EVENT_NAMES and name not in used and not column.dtype.is_nested():
            kinds = column.drop_nulls().unique(maintain_order=True)
            if 1 < len(kinds) <= MAX_EVENTS:
                shown = ", ".join(map(str, kinds[:5])) + (", ..." if len(kinds) > 5 else "")
                return {f"events {shown} of column {name!r}, all kept as positives: event_column={name}": len(column)}
    return {}


def _title_column(table: Table, names: list[str], named: str | None) -> str | None:
    if named is not None:
        if named not in names:
            got, remedy = f"columns {', '.join(map(repr, names))}", "name the column: title_column=..."
            raise InputError("no title column", file=table.path, expected=repr(named), got=got, remedy=remedy)
        return named
    rules: list[Callable[[str], bool]] = [
        lambda name: name == "title",
        lambda name: name.lower() == "title",
        lambda name: name.lower().endswith("_title"),
        lambda name: name.lower() == "name",
    ]
    return next((name for rule in rules for name in names if rule(name)), None)


def _renamed(frame: pl.DataFrame, taken: str) -> pl.DataFrame:
    """Keeps a column whose name is needed for another one."""
    if taken not in frame.columns:
        return frame
    name = f"{taken}_of_source"
    while name in frame.columns:
        name += "_"
    return frame.rename({taken: name})


def _text(table: Table, raw: pl.Series) -> pl.Series:
    if raw.dtype == pl.String:
        return raw
    if raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        raise InputError(raw.name, file=table.path, expected="text", got=raw.dtype, remedy="store text")
    return raw.cast(pl.String)
