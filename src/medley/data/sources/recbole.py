"""RecBole's atomic files: <name>.inter, .item, .user; tab-separated, a typed header such as `user_id:token`.

https://recbole.io/docs/user_guide/data/atomic_files.html. Types: token and token_seq are text (a sequence keeps its
spaces), float is a number, float_seq of an item is features: one modality per column.
"""

from pathlib import Path

import polars as pl

from medley.data.sources.arrays import from_lists
from medley.data.sources.raw import RawFeatures, RawLog, raw_log
from medley.data.sources.tables import Columns, Table, read_catalogue, read_log, read_table
from medley.data.sources.text import TextForm
from medley.errors import InputError

TYPES = ("token", "token_seq", "float", "float_seq")


def read_recbole(source: Path, columns: Columns) -> RawLog:
    """Reads a folder of atomic files, or a .inter file with the .item and .user files of the same name."""
    inter = inter_file(source)
    table, _ = _atomic(inter)
    items, features = None, {}
    if (path := inter.with_suffix(".item")).exists():
        items, types = _atomic(path)
        items = read_catalogue(items, columns, kind="item")
        sequences = [name for name, kind in types.items() if kind == "float_seq"]
        features = {name: _features(items, name) for name in sequences}
        items = Table(items.path, items.frame.drop(sequences), items.line)
    users = None
    if (path := inter.with_suffix(".user")).exists():
        users = read_catalogue(_atomic(path)[0], columns, kind="user")
    return raw_log({inter: read_log(table, columns)}, users=users, items=items, features=features)


def inter_file(source: Path) -> Path:
    """Returns the .inter file that `source` is or contains."""
    found = [source] if source.is_file() else sorted(source.glob("*.inter"))
    if len(found) != 1 or found[0].suffix != ".inter":
        got = ", ".join(path.name for path in found) or "none"
        raise InputError(
            "interactions", file=source, expected="one .inter file", got=got, remedy="give the file itself"
        )
    return found[0]


def _atomic(path: Path) -> tuple[Table, dict[str, str]]:
    """Returns a table without types in its header, float columns as numbers; and the type of each column."""
    table = read_table(path, TextForm("\t", quote=None))
    fields = {name: name.rpartition(":") for name in table.frame.columns}
    for field, (name, _, kind) in fields.items():
        if not name or kind not in TYPES:
            expected = f"name:type with type {', '.join(TYPES)}"
            raise InputError("the header", file=path, row=1, expected=expected, got=repr(field), remedy="add the type")
    types = {name: kind for name, _, kind in fields.values()}
    table = table._replace(frame=table.frame.rename({field: name for field, (name, _, _) in fields.items()}))
    numbers = [table.numbers(name).alias(name) for name, kind in types.items() if kind == "float"]
    return table._replace(frame=table.frame.with_columns(numbers)), types


def _features(items: Table, name: str) -> RawFeatures:
    parts = items.frame[name].str.extract_all(r"\S+")
    lists = parts.cast(pl.List(pl.Float32), strict=False)
    finite = lists.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    items.refuse(
        ~finite.fill_null(True), name, expected="finite numbers", got=items.frame[name], remedy="correct the row"
    )
    values, present = from_lists(items, lists.alias(name))
    return RawFeatures(items.path, values, ids=items.frame["item_id"], present=present)
