"""MMSSL-style JSON: train.json, val.json, test.json, each `{"user": [item, ...]}`; <stem>_feat.npy, row = item.

https://github.com/HKUDS/MMSSL (and LATTICE, MICRO). The matrices in the same folder (train_mat) are pickles and are
never read.
"""

from pathlib import Path

import numpy as np
import polars as pl

from medley.data.sources.arrays import feat_or_guessed, highest
from medley.data.sources.finding import SPLIT_STEMS, find
from medley.data.sources.lists import interactions, refuse_columns, split_files
from medley.data.sources.raw import RawLog, raw_log
from medley.data.sources.reading import ReadOptions
from medley.data.sources.tables import Table, read_utf8
from medley.errors import InputError
from medley.files import read_json

SUFFIXES = (".json",)
REMEDY = 'write {"user": [item, ...]} with whole numbers'


def read_mmssl(source: Path, options: ReadOptions) -> RawLog:
    """Reads a folder of JSON files."""
    refuse_columns(options.columns, "mmssl")
    for split in ("train", "test"):
        matrix, path = source / f"{split}_mat", source / f"{split}.json"
        if matrix.exists() and find(source, SPLIT_STEMS[split], SUFFIXES) is None:
            raise InputError(
                "a pickle where arrays are expected",
                file=matrix,
                expected=path.name,
                got="a matrix that only pickle reads",
                remedy=f'convert it once, where you trust it: json.dump({{user: items}}, open("{path.name}", "w"))',
            )
    paths = split_files(source, SUFFIXES, what="file", example="train.json and test.json")
    tables = {split: _read(path) for split, path in paths.items()}
    users = pl.concat([table.frame["user_id"] for table in tables.values()]).unique(maintain_order=True)
    logs = {table.path: interactions(table, split) for split, table in tables.items()}
    num_items = 1 + max((highest(log["item_id"].cast(pl.Int64)) for log in logs.values() if len(log)), default=0)
    features, reasons = feat_or_guessed(source, options, num_items=num_items, num_users=len(users))
    return raw_log(
        logs,
        users=Table(paths["train"], users.to_frame(), np.arange(len(users))),
        features=features,
        reasons=reasons,
    )


def _read(path: Path) -> Table:
    """Returns user_id and items, one row per user; `line` counts users from 1, as the whole file may be one line."""
    read_utf8(path)
    document = read_json(path, remedy=REMEDY)
    for number, (user, items) in enumerate(document.items(), start=1):
        if not isinstance(items, list) or not all(type(item) is int for item in items):
            raise InputError(
                f"items of user {user!r}",
                file=path,
                row=number,
                expected="a list of whole numbers",
                got=repr(items)[:80],
                remedy=REMEDY,
            )
    if not document:
        raise InputError("no user in the file", file=path, remedy=REMEDY)
    items = pl.Series("items", list(document.values()), dtype=pl.List(pl.Int64)).cast(pl.List(pl.String))
    users = pl.Series("user_id", list(document), dtype=pl.String).str.strip_chars()
    return Table(path, pl.DataFrame([users, items]), np.arange(1, len(users) + 1))
