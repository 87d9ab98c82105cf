"""CSV, TSV and parquet in the layout of docs/data.md: one folder or one file."""

from functools import partial
from pathlib import Path

from medley.data.manifest import SPLITS
from medley.data.sources.arrays import npy_features, table_features
from medley.data.sources.raw import RawLog, raw_log
from medley.data.sources.tables import Columns, read_catalogue, read_log, read_table
from medley.errors import InputError

TEXT, PARQUET = (".csv", ".tsv"), (".parquet",)
SPLIT_STEMS = {split: (split,) for split in SPLITS} | {"valid": ("valid", "val")}
TABLES = (*SPLITS, "val", "interactions", "items", "users")  # stems that are never a modality


def read_folder(source: Path, columns: Columns, *, suffixes: tuple[str, ...]) -> RawLog:
    """Reads train/valid/test files or one interactions file, and items, users and features if there are any."""
    if source.is_file():
        if source.suffix not in suffixes:
            raise InputError(
                "the kind of file", file=source, expected=" or ".join(suffixes), remedy="choose another format"
            )
        return raw_log({source: read_log(read_table(source), columns)})
    splits = {split: find(source, names, suffixes) for split, names in SPLIT_STEMS.items()}
    whole = find(source, ("interactions",), suffixes)
    given = {path: split for split, path in splits.items() if path is not None}
    if whole is not None and given:
        got, remedy = ", ".join(path.name for path in (whole, *given)), "keep one or the other"
        raise InputError("interactions or their splits are expected, not both", file=source, got=got, remedy=remedy)
    if whole is not None:
        logs = {whole: read_log(read_table(whole), columns)}
    elif splits["train"] is not None and splits["test"] is not None:
        logs = {path: read_log(read_table(path), columns, split=split) for path, split in given.items()}
    else:
        raise InputError(
            "no interactions",
            file=source,
            expected=f"train and test, or interactions, as {' or '.join(suffixes)}",
            got=", ".join(sorted(path.name for path in source.iterdir())[:20]) or "an empty folder",
            remedy="see docs/data.md for the layout",
        )
    tables = {kind: find(source, (f"{kind}s",), TEXT + PARQUET) for kind in ("user", "item")}
    users, items = (
        read_catalogue(read_table(path), columns, kind=kind) if path is not None else None
        for kind, path in tables.items()
    )
    features = npy_features(source)
    for path in sorted(source.glob("*.parquet")):
        if path.stem in features:
            raise InputError(f"features {path.stem!r} twice", file=path, got=f"{path.stem}.npy too", remedy="keep one")
        if path.stem not in TABLES:
            features[path.stem] = table_features(read_table(path), columns)
    return raw_log(logs, users=users, items=items, features=features)


def find(folder: Path, stems: tuple[str, ...], suffixes: tuple[str, ...]) -> Path | None:
    """Returns the only file with one of these stems and suffixes, or None; two are an InputError."""
    found = [path for stem in stems for suffix in suffixes if (path := folder / f"{stem}{suffix}").exists()]
    if len(found) > 1:
        raise InputError(
            "one file is expected", file=folder, got=", ".join(path.name for path in found), remedy="keep one"
        )
    return found[0] if found else None


read_csv = partial(read_folder, suffixes=TEXT)
read_parquet = partial(read_folder, suffixes=PARQUET)
