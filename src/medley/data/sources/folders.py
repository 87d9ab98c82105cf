"""CSV, TSV, parquet and JSON in the layout of docs/data.md: one folder or one file."""

from functools import partial
from pathlib import Path

import polars as pl

from medley.data.sources.arrays import (
    guessed_features,
    named_features,
    npy_features,
    npy_files,
    refuse_two,
    rows_of_features,
    table_features,
    text_features,
)
from medley.data.sources.finding import (
    INTERACTIONS,
    ITEMS,
    JSON,
    LOOSE_TEXT,
    PARQUET,
    SPLIT_LIKE,
    SPLIT_STEMS,
    TABLES,
    TEXT,
    USERS,
    candidates,
    find,
    find_catalogue,
    find_splits,
    home,
    is_table,
    listing,
    named_file,
    names_of,
    stem_and_suffix,
)
from medley.data.sources.raw import RawFeatures, RawLog, raw_log
from medley.data.sources.reading import Log, ReadOptions, read_beside, read_catalogue, read_log
from medley.data.sources.tables import Table, read_table
from medley.errors import InputError

LAYOUT = tuple(stem for stems in SPLIT_STEMS.values() for stem in stems)  # stems that are never a modality
OTHER_FORMATS = (*PARQUET, *JSON, ".inter", ".npy", ".npz", ".pkl", ".pickle")  # never read as text


def read_folder(source: Path, options: ReadOptions, *, suffixes: tuple[str, ...]) -> RawLog:
    """Reads train/valid/test files or one file of interactions, and items, users and features if there are any."""
    folder = home(source)
    logs = _logs(source, options, suffixes)
    users, items = (
        find_catalogue(source, names, named, logs) for names, named in ((USERS, options.users), (ITEMS, options.items))
    )
    tables = {
        kind: read_catalogue(read_beside(path, options), options.columns, kind=kind) if path else None
        for kind, path in (("user", users), ("item", items))
    }
    taken = {path for path in (*logs, users, items) if path is not None}
    features = named_features(folder, options)
    taken |= {raw.path for raw in features.values() if isinstance(raw.path, Path)}
    reasons: dict[Path, str] = {}
    alone = source != folder and stem_and_suffix(source)[0].lower() != INTERACTIONS[0]
    if not alone:
        features = refuse_two(features, npy_features(folder, without=taken))
        for path in listing(folder):
            stem, suffix = stem_and_suffix(path)
            if suffix in PARQUET and path not in taken and stem.lower() not in LAYOUT:
                features = refuse_two(features, {stem: table_features(read_beside(path, options), options.columns)})
    elif not options.features:  # the folder of a single file may be anybody's: only what fits without doubt
        found, reasons = _guessed(folder, taken, logs, tables["item"])
        features |= found
    if not options.features:
        texts = [path for path in listing(folder) if stem_and_suffix(path)[1] in TEXT and path not in taken]
        texts = [path for path in texts if stem_and_suffix(path)[0].lower() not in LAYOUT]
        found, more = text_features(texts, options, features)
        features, reasons = features | found, reasons | more
    return raw_log(logs, users=tables["user"], items=tables["item"], features=features, reasons=reasons)


def _logs(source: Path, options: ReadOptions, suffixes: tuple[str, ...]) -> dict[Path, Log]:

    def read(path: Path, split: str | None = None) -> Log:
        return read_log(read_table(path, options.form), options.columns, split=split)

    if is_table(source):
        suffix = stem_and_suffix(source)[1]
        readable = suffix in suffixes or (suffixes == TEXT and suffix not in OTHER_FORMATS)
        if not readable:
            remedy = "choose another format: `import auto` says which"
            raise InputError("the kind of file", file=source, expected=" or ".join(suffixes), got=suffix, remedy=remedy)
        if options.interactions is not None:
            remedy = "give the folder, or leave the option out"
            raise InputError("interactions", file=source, got="a file as the source", remedy=remedy)
        return {source: read(source)}
    if options.interactions is not None:
        path = named_file(source, options.interactions, "interactions")
        return {path: read(path)}
    splits = find_splits(source, suffixes)
    whole = find(source, INTERACTIONS[:1], suffixes)
    if whole is not None and splits:
        got, remedy = names_of([whole, *splits.values()]), "keep one or the other"
        raise InputError("interactions or their splits are expected, not both", file=source, got=got, remedy=remedy)
    if whole is None and splits.keys() >= {"train", "test"}:
        return {path: read(path, split) for split, path in splits.items()}
    whole = whole or (None if splits else _only_log(source, suffixes))
    if whole is None:
        raise InputError(
            "no interactions",
            file=source,
            expected=f"train and test, or interactions, as {' or '.join(suffixes)}",
            got=", ".join(sorted(path.name for path in source.iterdir())[:20]) or "an empty folder",
            remedy="name the file: interactions=...; see docs/data.md for the layout",
        )
    return {whole: read(whole)}


def _only_log(folder: Path, suffixes: tuple[str, ...]) -> Path | None:
    """Returns the file with a usual name of a log, or the only table of the folder; None where neither is clear."""
    loose = (*suffixes, *LOOSE_TEXT[:-1]) if suffixes == TEXT else suffixes
    found = candidates(folder, INTERACTIONS, loose)
    if len(found) > 1:
        remedy = f"name one: interactions='{found[0].name}'"
        raise InputError("several files may be the interactions", file=folder, got=names_of(found), remedy=remedy)
    if found:
        return found[0]
    tables = [path for path in listing(folder) if stem_and_suffix(path)[1] in TABLES]
    only = tables[0] if len(tables) == 1 and stem_and_suffix(tables[0])[1] in suffixes else None
    return None if only is None or SPLIT_LIKE.search(only.name.lower()) else only


def _guessed(
    folder: Path, taken: set[Path], logs: dict[Path, Log], items: Table | None
) -> tuple[dict[str, RawFeatures], dict[Path, str]]:
    paths = npy_files(folder, without=taken)
    if not paths:
        return {}, {}
    users = pl.concat([log.frame["user_id"] for log in logs.values()]).n_unique()
    ids = items.frame["item_id"] if items is not None else pl.concat([log.frame["item_id"] for log in logs.values()])
    num_items, ordered = rows_of_features(ids, listed=items is not None)
    return guessed_features(paths, num_items=num_items, num_users=users, known={}, ordered=ordered)


read_csv = partial(read_folder, suffixes=TEXT)
read_parquet = partial(read_folder, suffixes=PARQUET)
read_json = partial(read_folder, suffixes=JSON)
