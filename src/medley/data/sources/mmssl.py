"""MMSSL-style JSON: train.json, val.json, test.json, each `{"user": [item, ...]}`; <stem>_feat.npy, row = item.

https://github.com/HKUDS/MMSSL (and LATTICE, MICRO). The matrices in the same folder (train_mat) are pickles and are
never read.
"""

from pathlib import Path

import numpy as np
import polars as pl

from medley.data.sources.arrays import feat_features
from medley.data.sources.lists import interactions, refuse_columns
from medley.data.sources.raw import RawLog, raw_log
from medley.data.sources.tables import Columns, Table, read_utf8
from medley.errors import InputError
from medley.files import read_json

REMEDY = 'write {"user": [item, ...]} with whole numbers'


def read_mmssl(source: Path, columns: Columns) -> RawLog:
    """Reads a folder of JSON files."""
    refuse_columns(columns, "mmssl")
    paths = {
        split: source / name for split, name in (("train", "train.json"), ("valid", "val.json"), ("test", "test.json"))
    }
    for split in ("train", "test"):
        matrix = source / f"{split}_mat"
        if not paths[split].exists() and matrix.exists():
            remedy = (
                f'convert it once, where you trust it: json.dump({{user: items}}, open("{paths[split].name}", "w"))'
            )
            raise InputError(
                "a pickle where arrays are expected",
                file=matrix,
                expected=paths[split].name,
                got="a matrix that only pickle reads",
                remedy=remedy,
            )
        if not paths[split].exists():
            raise InputError(
                f"no {split} file", file=paths[split], remedy="give the folder with train.json and test.json"
            )
    tables = {split: _read(path) for split, path in paths.items() if path.exists()}
    users = pl.concat([table.frame["user_id"] for table in tables.values()]).unique(maintain_order=True)
    logs = {table.path: interactions(table, split) for split, table in tables.items()}
    return raw_log(
        logs, users=Table(paths["train"], users.to_frame(), np.arange(len(users))), features=feat_features(source)
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
