"""LightGCN and NGCF lists: train.txt, test.txt and perhaps valid.txt; each line `user item item ...`.

A line with a user alone adds a user without items. <modality>.npy in the same folder are features, row = item.
"""

from pathlib import Path

import numpy as np
import polars as pl

from medley.data.manifest import SPLITS
from medley.data.sources.arrays import npy_features
from medley.data.sources.raw import RawLog, raw_log
from medley.data.sources.tables import Columns, Table, read_utf8
from medley.errors import InputError


def read_lists(source: Path, columns: Columns) -> RawLog:
    """Reads a folder of lists."""
    refuse_columns(columns, "lists")
    paths = {split: source / f"{split}.txt" for split in SPLITS}
    for split in ("train", "test"):
        if not paths[split].exists():
            raise InputError(
                f"no {split} list", file=paths[split], remedy="give the folder with train.txt and test.txt"
            )
    tables = {split: _read(path) for split, path in paths.items() if path.exists()}
    users = pl.concat([table.frame["user_id"] for table in tables.values()]).unique(maintain_order=True)
    logs = {table.path: interactions(table, split) for split, table in tables.items()}
    return raw_log(
        logs, users=Table(paths["train"], users.to_frame(), np.arange(len(users))), features=npy_features(source)
    )


def refuse_columns(columns: Columns, format: str) -> None:
    """Raises an InputError if a column is named although the format has no columns."""
    named = [what for what, name in columns._asdict().items() if name is not None]
    if named:
        got = ", ".join(f"{what}_column" for what in named)
        raise InputError(f"format {format} has no columns", got=got, remedy="leave the option out")


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
