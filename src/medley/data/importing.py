"""The import: a log in a public format, or in memory -> a data set folder. One pipeline for all sources."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt

from medley.data import sources
from medley.data import split as splitting
from medley.data.dataset import Dataset
from medley.data.ids import IdMap
from medley.data.manifest import SPLIT_CODES, SPLITS, TRAIN
from medley.data.options import checked
from medley.data.sources import clean
from medley.data.sources.arrays import BLOCK, check_features, stored_dtype
from medley.data.sources.raw import RawFeatures, RawLog
from medley.data.sources.tables import Columns, Table
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.files import refuse_existing, sha256_of_file

TIMED_SPLITS = ("time", "time-user", "leave-one-out")


def _check_split(split: str) -> str:
    if split not in splitting.SPLITTERS:
        raise InputError("split", expected=" or ".join(splitting.SPLITTERS), got=repr(split))
    return split


def _check_ratios(ratios: tuple[float, ...]) -> tuple[float, ...]:
    splitting.normal_ratios(ratios)
    return ratios


class ImportOptions(BaseModel):
    """Options of an import from files or from memory."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str | None = None  # of the data set; by default that of the source
    split: Annotated[str, AfterValidator(_check_split)] | None = None  # by default `given` if there is one, or `random`
    ratios: Annotated[tuple[float, ...], AfterValidator(_check_ratios)] | None = None  # 8:1:1 by default
    kcore: NonNegativeInt = 0  # keep users and items with at least so many interactions; 0 keeps all
    seed: NonNegativeInt = 0  # of the split
    rating_threshold: float | None = None  # keep interactions with this rating or better
    user_column: str | None = None  # by default the usual names, see COLUMN_NAMES in sources/tables.py
    item_column: str | None = None
    timestamp_column: str | None = None
    rating_column: str | None = None

    @property
    def columns(self) -> Columns:
        """Names of the columns to read."""
        return Columns(self.user_column, self.item_column, self.timestamp_column, self.rating_column)


def import_dataset(
    format: str, source: str | Path, out: str | Path, *, overwrite: bool = False, **options: Any
) -> Dataset:
    """Reads a log in a public format and writes it as a data set folder.

    Args:
        format: csv, parquet, recbole, mmrec, lists, mmssl, or a format that an installed package adds.
        source: the folder (or file) to read; it is never changed.
        out: the folder to write; it appears only when the import succeeds.
        overwrite: replace a data set in `out`; the old data set stays until the new one is complete.
        options: fields of `ImportOptions`:
            name of the data set; by default that of the source.
            split: one of medley.data.split.SPLITTERS; by default `given` if the source has a split, else `random`.
            ratios of train, validation and test, (8, 1, 1) by default. With `given` only for a source without
            validation: validation is then drawn from train in the proportion of the first two.
            kcore: keep users and items with at least so many interactions; 0 keeps all.
            seed of the split.
            rating_threshold: keep interactions with this rating or better.
            user_column, item_column, timestamp_column, rating_column: names of columns with unusual names.

    Raises:
        InputError: the source or an option is wrong; nothing is written.
    """
    source, out = Path(source), Path(out)
    read = sources.find(format)
    settings = checked(ImportOptions, options, of="the import")
    if not source.exists():
        raise InputError("the source does not exist", file=source, remedy="check the path")
    if source.resolve().is_relative_to(out.resolve()):
        raise InputError("out would replace the source", file=out, remedy="choose another folder")
    refuse_existing(out, overwrite=overwrite)  # DatasetWriter asks again; here it saves a useless read
    raw = read(source, settings.columns)
    if not isinstance(raw, RawLog):
        raise InputError(f"reader of format {format!r}", expected="a RawLog", got=type(raw).__name__)
    origin = {"format": format, "source": _name_of(source)}
    write_log(raw, out, settings, name=settings.name or _name_of(source), origin=origin, overwrite=overwrite)
    return Dataset(out)


def write_log(
    raw: RawLog, out: Path, options: ImportOptions, *, name: str, origin: Mapping[str, Any], overwrite: bool = False
) -> None:
    """Cleans, splits and writes a log as a data set folder.

    Args:
        raw: what a reader returned.
        out: the folder to write.
        options: of the import; `name` and the columns have been used by then.
        name: of the data set.
        origin: first entries of the provenance.
        overwrite: replace a data set in `out`.

    Raises:
        InputError: the log or an option is wrong; nothing is written.
    """
    check_features(raw.features)
    known = clean.known_items(raw)
    clean.refuse_unknown_users(raw)
    split = options.split or ("given" if "split" in raw.interactions.columns else "random")
    log, oddities = _clean(raw, options.kcore, options.rating_threshold)
    ratios = _ratios(log, split, options.ratios)
    users, items = _catalogue(raw, log, known, options.kcore)
    oddities["users_left_out"] = int((users.rows(raw.interactions["user_id"].unique()) < 0).sum())
    oddities["items_left_out"] = int((items.rows(raw.interactions["item_id"].unique()) < 0).sum())
    log = log.with_columns(user=users.rows(log["user_id"]), item=items.rows(log["item_id"])).sort("user", "item")
    codes = _split(raw, log, split, ratios, options.seed)
    log = log.with_columns(split=pl.Series(SPLITS).gather(codes))
    kept = [column for column in ("timestamp", "rating") if column in log.columns]
    if not (codes == TRAIN).any():
        remedy = "lower kcore or rating_threshold"
        raise InputError("no interactions are left in train", file=raw.files[0], remedy=remedy)
    files = {path: _record(path) for path in raw.files if isinstance(path, Path)}
    with DatasetWriter(out, name=name, overwrite=overwrite) as writer:
        writer.write_tables(
            _with_metadata(users, raw.users),
            _with_metadata(items, raw.items),
            log.select("user", "item", "split", *kept),
        )
        for modality, features in raw.features.items():
            file = files.get(features.path) if isinstance(features.path, Path) else None
            made_by = file and {"file": file["name"], "sha256": file["sha256"]}
            _write_features(writer, modality, features, raw.items, items, made_by)
        used = {"split": split, "ratios": ratios}
        writer.finish(
            provenance={
                **origin,
                "files": list(files.values()),
                "options": options.model_dump(exclude={"name", "seed"}) | used,
                "seed": options.seed,
            },
            oddities={what: count for what, count in oddities.items() if count},
        )


def _clean(raw: RawLog, kcore: int, rating_threshold: float | None) -> tuple[pl.DataFrame, dict[str, int]]:
    """Returns the distinct interactions that remain, and reason -> number of changed or dropped interactions."""
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
        raise InputError("no interactions are left", file=raw.files[0], remedy="lower kcore or rating_threshold")
    return log, oddities


def _catalogue(raw: RawLog, log: pl.DataFrame, known_items: pl.Series | None, kcore: int) -> tuple[IdMap, IdMap]:
    """Returns all users and items of the log, and without a k-core also those of the tables and the features."""
    users, items = [log["user_id"]], [log["item_id"]]
    if not kcore:
        users += [raw.users.frame["user_id"]] if raw.users is not None else []
        items += [known_items] if known_items is not None else []
        items += [features.ids for features in raw.features.values() if features.ids is not None]
    return IdMap.of(pl.concat(users), kind="user"), IdMap.of(pl.concat(items), kind="item")


def _ratios(log: pl.DataFrame, split: str, ratios: tuple[float, ...] | None) -> splitting.Ratios | None:
    """Returns the ratios that the split will use, or None if it uses none."""
    has_valid = "split" in log.columns and (log["split"] == "valid").any()
    if split == "leave-one-out" or (split == "given" and has_valid):
        if ratios is not None:
            got = f"split {split!r}" + (" of a source with validation" if has_valid else "")
            raise InputError("ratios have no effect here", got=got, remedy="leave ratios out, or choose another split")
        return None
    return splitting.normal_ratios(ratios or splitting.RATIOS)


def _split(raw: RawLog, log: pl.DataFrame, split: str, ratios: splitting.Ratios | None, seed: int) -> np.ndarray:
    """Returns (n,) codes of a log sorted by rows, so that the order of the source does not matter."""
    timed = "timestamp" in log.columns and split in TIMED_SPLITS
    if timed:
        null, remedy = log["timestamp"].is_null(), f"add the time, or choose another split than {split}"
        clean.refuse_first(raw, log, null, "timestamp", expected="a time", got="timestamp", remedy=remedy)
    given = log["split"].replace_strict(SPLIT_CODES, return_dtype=pl.Int8) if "split" in log.columns else None
    interactions = splitting.Log(
        user=log["user"].to_numpy(),
        item=log["item"].to_numpy(),
        time=log["timestamp"].to_numpy() if timed else None,
        given=None if given is None else given.to_numpy(),
    )
    return splitting.SPLITTERS[split](interactions, ratios or splitting.RATIOS, np.random.default_rng(seed))


def _with_metadata(ids: IdMap, table: Table | None) -> pl.DataFrame:
    frame = ids.raw.to_frame()
    return frame if table is None else frame.join(table.frame, on=ids.raw.name, how="left", maintain_order="left")


def _write_features(
    writer: DatasetWriter,
    modality: str,
    raw: RawFeatures,
    item_table: Table | None,
    items: IdMap,
    made_by: dict[str, Any] | None,
) -> None:
    """Copies the rows of a modality to the rows of their items, block by block; an item without a row lacks it."""
    if raw.ids is not None:
        ids = raw.ids
    elif item_table is not None:
        ids = item_table.frame["item_id"]
    else:
        ids = pl.Series(np.arange(len(raw.values))).cast(pl.String)
    target = items.rows(ids)  # (n,), -1 for items outside the k-core
    copied = (target >= 0) if raw.present is None else (target >= 0) & raw.present
    dtype = stored_dtype(raw.values)
    values = writer.create_features(modality, num_items=len(items), dim=raw.values.shape[1], dtype=str(dtype))
    for start in range(0, len(target), BLOCK):
        chosen = start + np.flatnonzero(copied[start : start + BLOCK])
        values[target[chosen]] = raw.values[chosen]
    present = np.zeros(len(items), dtype=bool)
    present[target[copied]] = True
    writer.close_features(modality, values, present, made_by=made_by)


def _record(path: Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _name_of(source: Path) -> str:
    return source.resolve().name if source.is_dir() else source.stem
