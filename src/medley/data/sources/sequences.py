"""Sequences: each line `user item item ...`, the items in the order in which the user met them.

The place of an item in the list of its user becomes the timestamp, so `leave-one-out` and `time-user` take the last.
Ids are any text without white space. A user may have several lines; the lines stand in order.
"""

import re
from pathlib import Path

import numpy as np
import polars as pl

from medley.data.sources.arrays import arrays_beside
from medley.data.sources.finding import (
    INTERACTIONS,
    ITEMS,
    LOOSE_TEXT,
    TEXT,
    USERS,
    candidates,
    find_catalogue,
    find_splits,
    home,
    listing,
    named_file,
    names_of,
    stem_and_suffix,
)
from medley.data.sources.lists import refuse_triples
from medley.data.sources.raw import RawLog, raw_log
from medley.data.sources.reading import Log, ReadOptions, read_beside, read_catalogue
from medley.data.sources.tables import Table, read_utf8
from medley.errors import InputError

SUFFIXES = (*TEXT, *LOOSE_TEXT[:-1])
NAMES = ("sequences", *INTERACTIONS)
SORTED = 0.9  # a larger share of lists in ascending order of ids is not an order of time
FEW = 20  # lists or rows that show nothing about an order


def read_sequences(source: Path, options: ReadOptions) -> RawLog:
    """Reads a file of sequences, or a folder with one such file or with train, test and perhaps valid."""
    refuse_names(options, "sequences")
    tables = {path: (_lines(path, options), split) for path, split in log_files(source, options, NAMES).items()}
    users = pl.concat([table.frame["user_id"] for table, _ in tables.values()]).unique(maintain_order=True)
    notes: dict[str, int] = {}
    for table, _ in tables.values():
        refuse_triples(table)
        notes |= _ascending(table)
    logs = {path: Log(_in_order(table, split)) for path, (table, split) in tables.items()}
    first = next(iter(tables))
    catalogue = Table(first, users.to_frame(), np.arange(len(users)))
    return with_neighbours(source, options, logs, users=catalogue, notes=notes, order_within_users=True)


def log_files(source: Path, options: ReadOptions, names: tuple[str, ...]) -> dict[Path, str | None]:
    """Returns file -> split, None for a whole log: the source itself, the named file, splits, or the only log."""
    if source.is_file():
        return {source: None}
    if options.interactions is not None:
        return {named_file(source, options.interactions, "interactions"): None}
    splits = find_splits(source, SUFFIXES)
    if splits.keys() >= {"train", "test"}:
        return {path: split for split, path in splits.items()}
    found = [] if splits else candidates(source, names, SUFFIXES)
    if not found and not splits:
        found = [path for path in listing(source) if stem_and_suffix(path)[1] in SUFFIXES]
    if len(found) != 1:
        got = names_of(found or listing(source)) or "an empty folder"
        remedy = "give the file itself, or name it: interactions=..."
        raise InputError("interactions", file=source, expected="one file, or train and test", got=got, remedy=remedy)
    return {found[0]: None}


def refuse_names(options: ReadOptions, format: str) -> None:
    """Raises an InputError if a column of the log is named although the format has none."""
    named = [f"{what}_column" for what in ("user", "timestamp", "rating", "event") if getattr(options.columns, what)]
    if named:
        raise InputError(f"format {format} has no such columns", got=", ".join(named), remedy="leave the option out")


def with_neighbours(
    source: Path,
    options: ReadOptions,
    logs: dict[Path, Log],
    *,
    users: Table | None = None,
    items: Table | None = None,
    notes: dict[str, int],
    order_within_users: bool = False,
) -> RawLog:
    """Adds the item table, the user table and the features that lie in the folder of a log."""
    taken = list(logs)
    catalogues = {"user": users, "item": items}
    for kind, names, named in (("user", USERS, options.users), ("item", ITEMS, options.items)):
        path = find_catalogue(source, names, named, taken)
        if path is not None:
            catalogues[kind] = read_catalogue(read_beside(path, options), options.columns, kind=kind)
            taken.append(path)
    features, reasons = arrays_beside(home(source), options, logs, catalogues["item"])
    return raw_log(
        logs,
        users=catalogues["user"],
        items=catalogues["item"],
        features=features,
        notes=notes,
        reasons=reasons,
        order_within_users=order_within_users,
    )


def _lines(path: Path, options: ReadOptions) -> Table:
    """Returns user_id and items (lists of text), one row per line."""
    separator = options.form.separator
    text = pl.Series("line", text_lines(path, options)).str.strip_chars()
    lines = pl.DataFrame([text]).with_row_index("number", offset=1).filter(pl.col("line") != "")
    if separator is not None and separator.strip():
        pattern = rf"\s*{re.escape(separator)}\s*"
        lines = lines.with_columns(pl.col("line").str.replace_all(pattern, " "))
    tokens = lines["line"].str.extract_all(r"\S+")
    table = Table(path, lines, lines["number"].to_numpy())
    commas = lines["line"].str.contains(r"^\S*,\S*$")
    got, remedy = lines["line"].str.slice(0, 80), "separate the ids by blanks or tabs, or name it: separator=','"
    table.refuse(commas, "a line without white space", expected="user item item ...", got=got, remedy=remedy)
    return table._replace(frame=pl.DataFrame({"user_id": tokens.list.first(), "items": tokens.list.slice(1)}))


def text_lines(path: Path, options: ReadOptions) -> list[str]:
    """The lines of a text file, whatever their ends."""
    text = read_utf8(path, options.form.encoding).decode()
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _in_order(table: Table, split: str | None) -> pl.DataFrame:
    """Returns user_id, item_id, line, timestamp (place in the list of the user) and perhaps split."""
    frame = table.frame.with_columns(line=pl.Series(table.line)).filter(pl.col("items").list.len() > 0)
    frame = frame.explode("items").rename({"items": "item_id"})
    frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"))
    return frame if split is None else frame.with_columns(split=pl.lit(split))


def _ascending(table: Table) -> dict[str, int]:
    """Says that lists ascend by id: then their order is hardly that of time."""
    numbers = table.frame.select("user_id", pl.col("items").cast(pl.List(pl.Int64), strict=False))
    numbers = numbers.explode("items").drop_nulls()
    grouped = numbers.group_by("user_id").agg(ascends=(pl.col("items").diff().drop_nulls() > 0).all(), size=pl.len())
    lists = grouped.filter(pl.col("size") > 2)
    ascending = int(lists["ascends"].sum())
    if len(lists) < FEW or ascending < SORTED * len(lists):
        return {}
    return {"lists in ascending order of their ids: is it the order of time?": ascending}
