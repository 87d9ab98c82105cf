"""Public formats -> Dataset: one reader per format, one pipeline for all. The formats are shown in docs/data.md."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.data import split as splitting
from medley.data.dataset import SPLITS as SPLIT_NAMES
from medley.data.dataset import Dataset, DatasetWriter
from medley.data.ids import IdMap
from medley.data.sources import clean
from medley.data.sources.arrays import BLOCK, check_features, stored_dtype
from medley.data.sources.folders import read_csv, read_parquet
from medley.data.sources.lists import read_lists
from medley.data.sources.mmrec import read_mmrec
from medley.data.sources.mmssl import read_mmssl
from medley.data.sources.raw import RawFeatures, RawLog
from medley.data.sources.recbole import read_recbole
from medley.data.sources.tables import Columns, Table
from medley.errors import InputError
from medley.files import sha256_of_file

SOURCES: Mapping[str, Callable[[Path, Columns], RawLog]] = {
    "csv": read_csv,
    "parquet": read_parquet,
    "recbole": read_recbole,
    "mmrec": read_mmrec,
    "lists": read_lists,
    "mmssl": read_mmssl,
}
TIMED_SPLITS = ("time", "time-user", "leave-one-out")


def import_dataset(
    format: str,
    source: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    split: str | None = None,
    ratios: tuple[float, float, float] | None = None,
    kcore: int = 0,
    seed: int = 0,
    rating_threshold: float | None = None,
    user_column: str | None = None,
    item_column: str | None = None,
    timestamp_column: str | None = None,
    rating_column: str | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Reads a log in a public format and writes it as a data set folder.

    Args:
        format: one of SOURCES.
        source: the folder (or file) to read; it is never changed.
        out: the folder to write; it appears only when all went well.
        name: of the data set; by default that of the source.
        split: one of medley.data.split.SPLITS; by default `given` where the source has a split, else `random`.
        ratios: train, validation and test, 8:1:1 by default. With `given` only for a source without validation, which
            is then drawn from train in the proportion of the first two.
        kcore: keep users and items with at least so many interactions, all others go; 0 keeps everybody.
        seed: of the split.
        rating_threshold: keep interactions rated so or better.
        user_column: name of the column where it is not one of the usual, see COLUMN_NAMES in sources/tables.py.
        item_column: likewise.
        timestamp_column: likewise.
        rating_column: likewise.
        overwrite: replace a folder `out` that exists; it stays as it is until the new one is complete.

    Raises:
        InputError: something is wrong with the source or an option; nothing is written.
    """
    source, out = Path(source), Path(out)
    _check_options(format, source, out, split=split, ratios=ratios, kcore=kcore, seed=seed, overwrite=overwrite)
    raw = SOURCES[format](source, Columns(user_column, item_column, timestamp_column, rating_column))
    check_features(raw.features)
    known = clean.known_items(raw)
    clean.refuse_unknown_users(raw)
    split = split or ("given" if "split" in raw.interactions.columns else "random")
    log, oddities = _clean(raw, kcore, rating_threshold)
    ratios = _ratios(log, split, ratios)
    users, items = _catalogue(raw, log, known, kcore)
    oddities["users_left_out"] = int((users.rows(raw.interactions["user_id"].unique()) < 0).sum())
    oddities["items_left_out"] = int((items.rows(raw.interactions["item_id"].unique()) < 0).sum())
    log = log.with_columns(user=users.rows(log["user_id"]), item=items.rows(log["item_id"])).sort("user", "item")
    codes = _split(raw, log, split, ratios, seed)
    log = log.with_columns(split=pl.Series(SPLIT_NAMES).gather(codes))
    kept = [column for column in ("timestamp", "rating") if column in log.columns]
    if not (codes == splitting.TRAIN).any():
        raise InputError("no interactions are left in train", file=source, remedy="loosen kcore or rating_threshold")
    with DatasetWriter(out, name=name or _name_of(source), overwrite=overwrite) as writer:
        writer.write_tables(
            _with_metadata(users, raw.users),
            _with_metadata(items, raw.items),
            log.select("user", "item", "split", *kept),
        )
        for modality, features in raw.features.items():
            _write_features(writer, modality, features, raw.items, items)
        writer.finish(
            provenance={
                "format": format,
                "source": _name_of(source),
                "files": [_record(path) for path in raw.files],
                "options": {
                    "split": split,
                    "ratios": ratios,
                    "kcore": kcore,
                    "rating_threshold": rating_threshold,
                    "user_column": user_column,
                    "item_column": item_column,
                    "timestamp_column": timestamp_column,
                    "rating_column": rating_column,
                },
                "seed": seed,
            },
            oddities={what: count for what, count in oddities.items() if count},
        )
    return Dataset(out)


def _check_options(
    format: str,
    source: Path,
    out: Path,
    *,
    split: str | None,
    ratios: tuple[float, float, float] | None,
    kcore: int,
    seed: int,
    overwrite: bool,
) -> None:
    if format not in SOURCES:
        raise InputError("format", expected=" or ".join(SOURCES), got=repr(format))
    if split is not None and split not in splitting.SPLITS:
        raise InputError("split", expected=" or ".join(splitting.SPLITS), got=repr(split))
    if ratios is not None:
        splitting.normal_ratios(ratios)
    for option, value in (("kcore", kcore), ("seed", seed)):
        if value < 0:
            raise InputError(option, expected="0 or more", got=value)
    if not source.exists():
        raise InputError("the source does not exist", file=source, remedy="check the path")
    if source.resolve().is_relative_to(out.resolve()):
        raise InputError("out would replace the source", file=out, remedy="choose another folder")
    if out.exists() and not overwrite:  # asked again by DatasetWriter; here it saves reading in vain
        raise InputError("the folder exists already", file=out, remedy="choose another name or pass --overwrite")


def _clean(raw: RawLog, kcore: int, rating_threshold: float | None) -> tuple[pl.DataFrame, dict[str, int]]:
    """The distinct interactions that remain, and how many were changed or dropped by what."""
    log = raw.interactions
    oddities = {"trimmed_ids": int(log["trimmed"].sum()) if "trimmed" in log.columns else 0}
    steps: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {}
    if rating_threshold is not None:
        steps["below_rating_threshold"] = lambda log: clean.keep_rated(raw, log, rating_threshold)
    if "split" in log.columns:
        steps["duplicates_within_a_split"] = lambda log: clean.keep_first(log, within_split=True)
        steps["duplicates_across_splits"] = clean.keep_first
    else:
        steps["duplicates"] = clean.keep_first
    if kcore:
        steps["outside_kcore"] = lambda log: clean.keep_core(log, kcore)
    for what, step in steps.items():
        before = len(log)
        log = step(log)
        oddities[what] = before - len(log)
    if log.is_empty():
        raise InputError("no interactions are left", file=raw.files[0], remedy="loosen kcore or rating_threshold")
    return log, oddities


def _catalogue(raw: RawLog, log: pl.DataFrame, known_items: pl.Series | None, kcore: int) -> tuple[IdMap, IdMap]:
    """Everybody in the log, and without a k-core also those that only a table or the features know."""
    users, items = [log["user_id"]], [log["item_id"]]
    if not kcore:
        users += [raw.users.frame["user_id"]] if raw.users is not None else []
        items += [known_items] if known_items is not None else []
        items += [features.ids for features in raw.features.values() if features.ids is not None]
    return IdMap.of(pl.concat(users), kind="user"), IdMap.of(pl.concat(items), kind="item")


def _ratios(log: pl.DataFrame, split: str, ratios: splitting.Ratios | None) -> splitting.Ratios | None:
    """The ratios that the split will use, None where it uses none."""
    has_valid = "split" in log.columns and (log["split"] == "valid").any()
    if split == "leave-one-out" or (split == "given" and has_valid):
        if ratios is not None:
            got = f"split {split!r}" + (" of a source with validation" if has_valid else "")
            raise InputError("ratios have no effect here", got=got, remedy="leave them out or choose another split")
        return None
    return splitting.normal_ratios(ratios or splitting.RATIOS)


def _split(raw: RawLog, log: pl.DataFrame, split: str, ratios: splitting.Ratios | None, seed: int) -> np.ndarray:
    """(n,) codes of a log sorted by rows, so that the order of the source does not matter."""
    timed = "timestamp" in log.columns and split in TIMED_SPLITS
    if timed:
        null, remedy = log["timestamp"].is_null(), f"add the time, or choose another split than {split}"
        clean.refuse_first(raw, log, null, "timestamp", expected="a time", got="timestamp", remedy=remedy)
    given = log["split"].replace_strict(clean.SPLIT_RANK, return_dtype=pl.Int8) if "split" in log.columns else None
    interactions = splitting.Log(
        user=log["user"].to_numpy(),
        item=log["item"].to_numpy(),
        time=log["timestamp"].to_numpy() if timed else None,
        given=None if given is None else given.to_numpy(),
    )
    return splitting.SPLITS[split](interactions, ratios or splitting.RATIOS, np.random.default_rng(seed))


def _with_metadata(ids: IdMap, table: Table | None) -> pl.DataFrame:
    frame = ids.raw.to_frame()
    return frame if table is None else frame.join(table.frame, on=ids.raw.name, how="left", maintain_order="left")


def _write_features(
    writer: DatasetWriter, modality: str, raw: RawFeatures, item_table: Table | None, items: IdMap
) -> None:
    """Copies rows to where their items are, block by block; items without a row lack the modality."""
    if raw.ids is not None:
        ids = raw.ids
    elif item_table is not None:
        ids = item_table.frame["item_id"]
    else:
        ids = pl.Series(np.arange(len(raw.values))).cast(pl.String)
    target = items.rows(ids)  # (n,), -1 for items that the k-core dropped
    copied = (target >= 0) if raw.present is None else (target >= 0) & raw.present
    dtype = stored_dtype(raw.values)
    values = writer.create_features(modality, num_items=len(items), dim=raw.values.shape[1], dtype=str(dtype))
    for start in range(0, len(target), BLOCK):
        chosen = start + np.flatnonzero(copied[start : start + BLOCK])
        values[target[chosen]] = raw.values[chosen]
    present = np.zeros(len(items), dtype=bool)
    present[target[copied]] = True
    writer.close_features(modality, values, present)


def _record(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _name_of(source: Path) -> str:
    return source.resolve().name if source.is_dir() else source.stem
