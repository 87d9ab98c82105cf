"""RecBole's atomic files: <name>.inter, .item, .user; tab-separated, a typed header such as `user_id:token`.

https://recbole.io/docs/user_guide/data/atomic_files.html. Types: token and token_seq are text (a sequence keeps its
spaces), float is a number, float_seq of an item is features: one modality per column.
"""

from pathlib import Path

import polars as pl

from medley.data.manifest import SPLITS
from medley.data.sources.arrays import arrays_beside, from_lists, refuse_two
from medley.data.sources.finding import SPLIT_STEMS, find, home, listing, named_file, names_of, stem_and_suffix
from medley.data.sources.raw import RawFeatures, RawLog, raw_log
from medley.data.sources.reading import ReadOptions, read_catalogue, read_log
from medley.data.sources.tables import Table, read_table
from medley.data.sources.text import TextForm
from medley.errors import InputError

TYPES = ("token", "token_seq", "float", "float_seq")


def read_recbole(source: Path, options: ReadOptions) -> RawLog:
    """Reads a folder of atomic files, or a .inter file with the .item and .user files of the same name."""
    folder = home(source)
    splits = {} if options.interactions is not None or source != folder else _benchmark_files(folder)
    inter = next(iter(splits.values())) if splits else inter_file(source, options)
    name = _without_split(inter) if splits else inter
    logs = {
        path: read_log(_atomic(path, options)[0], options.columns, split=split)
        for split, path in (splits or {None: inter}).items()
    }
    items, features = None, {}
    if (path := _beside(name, ".item", options.items)) is not None:
        items, types = _atomic(path, options)
        items = read_catalogue(items, options.columns, kind="item")
        sequences = [name for name, kind in types.items() if kind == "float_seq"]
        features = {name: _features(items, name) for name in sequences}
        items = items._replace(frame=items.frame.drop(sequences))
    users = None
    if (path := _beside(name, ".user", options.users)) is not None:
        users = read_catalogue(_atomic(path, options)[0], options.columns, kind="user")
    found, reasons = arrays_beside(inter.parent, options, logs, items)
    return raw_log(logs, users=users, items=items, features=refuse_two(features, found), reasons=reasons)


def inter_file(source: Path, options: ReadOptions) -> Path:
    """Returns the .inter file that `source` is, contains, or that the options name."""
    if options.interactions is not None and source.is_dir():
        return named_file(source, options.interactions, "interactions")
    if source.is_file():
        found = [source]
    else:
        found = [path for path in listing(source) if stem_and_suffix(path)[1] == ".inter"]
    if len(found) != 1 or stem_and_suffix(found[0])[1] != ".inter":
        got = names_of(found) or "none"
        raise InputError(
            "interactions", file=source, expected="one .inter file", got=got, remedy="give the file itself"
        )
    if source.is_file() and (split := _split_of(source)) is not None:
        got, remedy = f"{source.name} alone, the {split} part of a log", "give the folder, which has all parts"
        raise InputError("one part of a log", file=source, expected="the whole log", got=got, remedy=remedy)
    return found[0]


def tabbed(form: TextForm) -> TextForm:
    """The form of an atomic file: tabs and no quotes, unless the options say otherwise."""
    return form._replace(separator=form.separator or "\t", quote=None)


def _benchmark_files(folder: Path) -> dict[str, Path]:
    """Returns split -> file of `<name>.train.inter`, `<name>.valid.inter`, `<name>.test.inter`."""
    found = [path for path in listing(folder) if stem_and_suffix(path)[1] == ".inter"]
    splits: dict[str, Path] = {}
    for path in found if len(found) > 1 else []:
        split = _split_of(path)
        if split is None or split in splits:
            expected = "one .inter file, or <name>.train.inter, <name>.valid.inter and <name>.test.inter"
            remedy = "give the file itself, or rename the parts"
            raise InputError("interactions", file=folder, expected=expected, got=names_of(found), remedy=remedy)
        splits[split] = path
    if splits and (missing := {"train", "test"} - splits.keys()):
        raise InputError(f"no {' and no '.join(sorted(missing))} file", file=folder, got=names_of(found))
    return {split: splits[split] for split in SPLITS if split in splits}


def _split_of(path: Path) -> str | None:
    part = stem_and_suffix(path)[0].rpartition(".")[2].lower()
    return next((split for split, stems in SPLIT_STEMS.items() if part in stems), None)


def _without_split(path: Path) -> Path:
    return path.with_name(stem_and_suffix(path)[0].rpartition(".")[0] + ".inter")


def _beside(inter: Path, suffix: str, named: str | None) -> Path | None:
    """Returns the file that is named, or the one with the name of the log."""
    if named is not None:
        return named_file(inter.parent, named, f"{suffix[1:]}s")
    stem = stem_and_suffix(inter)[0]
    return find(inter.parent, (stem.lower(),), (suffix,))


def _atomic(path: Path, options: ReadOptions) -> tuple[Table, dict[str, str]]:
    """Returns a table without types in its header, float columns as numbers; and the type of each column."""
    table = read_table(path, tabbed(options.form))
    names = table.frame.columns
    if "x_label" in names and not any(":" in name for name in names):  # the .inter file of MMRec
        return table, dict.fromkeys(names, "token")
    fields = {name: name.rpartition(":") for name in table.frame.columns}
    for field, (name, _, kind) in fields.items():
        if not name or kind not in TYPES:
            expected = f"name:type with type {', '.join(TYPES)}"
            raise InputError("the header", file=path, row=1, expected=expected, got=repr(field), remedy="add the type")
    types = {name: kind for name, _, kind in fields.values()}
    table = table._replace(frame=table.frame.rename({field: name for field, (name, _, _) in fields.items()}))
    if options.form.on_error == "skip" and stem_and_suffix(path)[1] == ".inter":
        return table, types  # read_log reads the numbers, and leaves out the rows that have none
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
