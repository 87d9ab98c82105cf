"""LightGCN and NGCF lists: train.txt, test.txt and perhaps valid.txt; each line `user item item ...`.

A line with a user alone adds a user without items. <modality>.npy in the same folder are features, row = item.
"""

from pathlib import Path

import numpy as np
import polars as pl

from medley.data.sources.arrays import named_features, npy_features, refuse_two
from medley.data.sources.finding import find_splits, listing, names_of
from medley.data.sources.raw import RawFeatures, RawLog, raw_log
from medley.data.sources.reading import Columns, ReadOptions
from medley.data.sources.tables import Table, read_utf8
from medley.errors import InputError


def read_lists(source: Path, options: ReadOptions) -> RawLog:
    """Reads a folder of lists."""
    refuse_columns(options.columns, "lists")
    paths = split_files(source, (".txt",), what="list", example="train.txt and test.txt")
    tables = {split: _read(path) for split, path in paths.items()}
    for table in tables.values():
        refuse_triples(table)
    users = pl.concat([table.frame["user_id"] for table in tables.values()]).unique(maintain_order=True)
    logs = {table.path: interactions(table, split) for split, table in tables.items()}
    return raw_log(
        logs, users=Table(paths["train"], users.to_frame(), np.arange(len(users))), features=features(source, options)
    )


def split_files(source: Path, suffixes: tuple[str, ...], *, what: str, example: str) -> dict[str, Path]:
    """Returns the files of train, test and perhaps valid.

    Raises:
        InputError: the source is a file, or has no train or no test.
    """
    remedy = f"give the folder with {example}"
    if not source.is_dir():
        raise InputError("a folder is expected", file=source, got="a file", remedy=remedy)
    splits = find_splits(source, suffixes)
    for split in ("train", "test"):
        if split not in splits:
            got, path = names_of(listing(source)) or "an empty folder", source / f"{split}{suffixes[0]}"
            raise InputError(f"no {split} {what}", file=path, got=got, remedy=remedy)
    return splits


def features(folder: Path, options: ReadOptions) -> dict[str, RawFeatures]:
    """Features that are named, and every other <modality>.npy of a folder."""
    named = named_features(folder, options)
    taken = [raw.path for raw in named.values() if isinstance(raw.path, Path)]
    return refuse_two(named, npy_features(folder, without=taken))


def refuse_columns(columns: Columns, format: str) -> None:
    """Raises an InputError if a column is named although the format has no columns."""
    named = [what for what, name in columns._asdict().items() if name is not None]
    if named:
        got = ", ".join(f"{what}_column" for what in named)
        raise InputError(f"format {format} has no columns", got=got, remedy="leave the option out")


def refuse_triples(table: Table) -> None:
    """Raises an InputError if lines look like `user item rating`, not like a user and its items.

    In a list a user has one line. Where users recur and every line is equally long, the lines are rows of a table.
    """
    lengths = table.frame["items"].list.len()
    again = ~table.frame["user_id"].is_first_distinct()
    if len(lengths) > 2 and lengths.n_unique() == 1 and int(lengths[0]) in (2, 3) and again.any():
        row = int(table.line[int(again.arg_max() or 0)])
        got = f"every line has {int(lengths[0]) + 1} numbers and {int(again.sum()):,} lines repeat a user"
        remedy = (
            "if the lines are `user item rating`: format csv with separator=' ' and header=user_id,item_id,rating; "
            "if they are lists, write one line per user"
        )
        raise InputError("lines of user, item, rating?", file=table.path, row=row, got=got, remedy=remedy)


def interactions(table: Table, split: str) -> pl.DataFrame:
    """Returns user_id, item_id, line and split from a table with user_id (text) and items (lists of text)."""
    frame = table.frame.with_columns(line=table.line, split=pl.lit(split)).filter(pl.col("items").list.len() > 0)
    return frame.explode("items").rename({"items": "item_id"})


def _read(path: Path) -> Table:
    text = pl.Series("line", read_utf8(path).decode("utf-8-sig").split("\n")).str.strip_chars()
    lines = pl.DataFrame([text]).with_row_index("number", offset=1).filter(pl.col("line") != "")
    table = Table(path, lines, lines["number"].to_numpy())
    bad = ~lines["line"].str.contains(r"^\d+(\s+\d+)*$")
    table.refuse(
        bad, "unparsable row", expected="whole numbers: user item item ...", got=lines["line"], remedy="correct it"
    )
    tokens = lines["line"].str.extract_all(r"\d+")
    return table._replace(frame=pl.DataFrame({"user_id": tokens.list.first(), "items": tokens.list.slice(1)}))
