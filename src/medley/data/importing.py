"""The import: a log in a public format, or in memory -> a data set folder. One pipeline for all sources."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.data import sources
from medley.data import split as splitting
from medley.data.dataset import Dataset
from medley.data.ids import IdMap
from medley.data.import_options import ImportOptions
from medley.data.looks import likely_cause, look
from medley.data.manifest import SPLIT_CODES, SPLITS, TRAIN
from medley.data.options import checked, path_of
from medley.data.sources import clean
from medley.data.sources.arrays import BLOCK, check_features, stored_dtype
from medley.data.sources.finding import source_of, unread
from medley.data.sources.raw import RawFeatures, RawLog
from medley.data.sources.tables import Table
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.files import refuse_existing, sha256_of_file, sha256_of_json

TIMED_SPLITS = ("time", "time-user", "leave-one-out")


def import_dataset(
    format: str, source: str | Path, out: str | Path, *, overwrite: bool = False, **options: Any
) -> Dataset:
    """Reads a log in a public format and writes it as a data set folder.

    Args:
        format: csv, parquet, json, recbole, mmrec, lists, sequences, pairs, mmssl, or a format that an installed
            package adds; `auto` looks at the source, see `medley.data.looks.look`.
        source: the folder (or file) to read; it is never changed.
        out: the folder to write; it appears only when the import succeeds.
        overwrite: replace a data set in `out`; the old data set stays until the new one is complete.
        options: fields of `ImportOptions`:
            name of the data set; by default that of the source.
            interactions, items, users: names of files with unusual names.
            features: modality -> file, for arrays and tables whose name is not that of the modality.
            user_column, item_column, timestamp_column, rating_column: names of columns with unusual names.
            title_column: column of the item titles; items_id_column, users_id_column: columns of the ids in the
            tables, where they are called otherwise than in the log.
            event_column, positive, negative: column of the events, which of them count, which are dislikes.
            separator, header, encoding, quote, decimal, date_format: how text tables are written, see `TextForm`.
            on_error: skip leaves out rows that cannot be read, and counts them; refuse is the default.
            rating_threshold: keep interactions with this rating or better; lower ratings are dislikes.
            unknown_items, unknown_users: what happens to ids that the tables or features do not define: refuse
            (default), drop the interactions, keep them and add the ids.
            kcore: keep users and items with at least so many interactions; 0 keeps all.
            split: one of medley.data.split.SPLITTERS; by default `given` if the source has a split, else `random`.
            ratios of train, validation and test, (8, 1, 1) by default. With `given` only for a source without
            validation: validation is then drawn from train in the proportion of the first two.
            seed of the split.

    Raises:
        InputError: the source or an option is wrong; nothing is written.
    """
    source, out = source_of(source), path_of(out, "out")
    if isinstance(format, str) and format == "auto":
        looked = look(source)
        format, options = looked.format, {**looked.options, **options}
    read = sources.find(format)
    settings = checked(ImportOptions, options, of="the import")
    if source.resolve().is_relative_to(out.resolve()):
        raise InputError("out would replace the source", file=out, remedy="choose another folder")
    refuse_existing(out, overwrite=overwrite)  # DatasetWriter asks again; here it saves a useless read
    try:
        raw = read(source, settings.reading)
    except InputError as error:
        raise likely_cause(error, source, format, settings.model_dump(exclude_defaults=True)) from None
    if not isinstance(raw, RawLog):
        raise InputError(f"reader of format {format!r}", expected="a RawLog", got=type(raw).__name__)
    raw = raw._replace(notes={**raw.notes, **unread(source, raw.files, raw.reasons)})
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
    source = {kind: raw.interactions[f"{kind}_id"].unique() for kind in ("user", "item")}  # before anything is dropped
    raw, known, notes = clean.settle_unknown(raw, items=options.unknown_items, users=options.unknown_users)
    notes = {**raw.notes, **notes, **clean.doubtful_ids(source, len(raw.interactions))}
    split = options.split or ("given" if "split" in raw.interactions.columns else "random")
    if split == "time" and raw.order_within_users:
        got, remedy = "a log that knows the order of each user alone", "choose time-user or leave-one-out"
        raise InputError("a split by time", file=raw.files[0], got=got, remedy=remedy)
    if options.on_error == "skip":
        needed = {"rating": options.rating_threshold is not None, "timestamp": split in TIMED_SPLITS}
        raw, skipped = clean.skip_missing(raw, [name for name, is_needed in needed.items() if is_needed])
        notes |= skipped
    positive, disliked, dropped = clean.positives(
        raw,
        raw.interactions,
        threshold=options.rating_threshold,
        positive=options.positive,
        negative=options.negative,
    )
    log, oddities = _clean(raw, positive, dropped, options.kcore)
    ratios = _ratios(log, split, options.ratios)
    users, items = _catalogue(raw, log, known, options.kcore)
    left_out = _left_out(users, items, raw, source, positive, options.kcore)
    for kind in ("user", "item"):
        oddities[f"{kind}s_left_out"] = int((left_out["kind"] == kind).sum())
    disliked = _rows_of(disliked, users, items)
    oddities["disliked_pairs"] = len(disliked)
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
        writer.write_left_out(left_out)
        writer.write_disliked(disliked)
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
            oddities={what: count for what, count in {**oddities, **notes}.items() if count},
        )


def _clean(
    raw: RawLog, log: pl.DataFrame, dropped: Mapping[str, int], kcore: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Returns the distinct interactions that remain, and reason -> number of changed or dropped interactions."""
    trimmed = int(raw.interactions["trimmed"].sum()) if "trimmed" in raw.interactions.columns else 0
    oddities = {"trimmed_ids": trimmed, **dropped}
    steps: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {}
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


def _left_out(
    users: IdMap, items: IdMap, raw: RawLog, source: Mapping[str, pl.Series], positive: pl.DataFrame, kcore: int
) -> pl.DataFrame:
    """Returns kind, id and reason of the users and items of the source that the data set does not have."""
    parts = [pl.DataFrame(schema={"kind": pl.String, "id": pl.String, "reason": pl.String})]
    for kind, kept, table in (("user", users, raw.users), ("item", items, raw.items)):
        column = f"{kind}_id"
        ids = source[kind]
        if table is not None:
            ids = pl.concat([ids, table.frame[column]]).unique()
        ids = ids.filter(pl.Series(kept.rows(ids) < 0)).sort()
        if ids.is_empty():
            continue
        known, liked = (ids.is_in(frame[column].implode()) for frame in (raw.interactions, positive))
        listed = (
            ids.is_in(table.frame[column].implode()) if table is not None else pl.repeat(True, len(ids), eager=True)
        )
        reason = (
            pl.DataFrame({"liked": liked, "known": known, "listed": listed}, schema_overrides={"liked": pl.Boolean})
            .select(
                pl.when("liked")
                .then(pl.lit(f"kcore={kcore}"))
                .when("known")
                .then(pl.lit("no positive interaction: rating_threshold or events"))
                .when("listed")
                .then(pl.lit(f"no interaction: kcore={kcore}"))
                .otherwise(pl.lit(f"unknown to the {kind} table: unknown_{kind}s=drop"))
            )
            .to_series()
        )
        parts.append(pl.DataFrame({"kind": pl.repeat(kind, len(ids), eager=True), "id": ids, "reason": reason}))
    return pl.concat(parts)


def _rows_of(pairs: pl.DataFrame, users: IdMap, items: IdMap) -> pl.DataFrame:
    """Returns the distinct pairs as user and item rows, in order, without those outside the data set."""
    rows = pl.DataFrame({"user": users.rows(pairs["user_id"]), "item": items.rows(pairs["item_id"])})
    return rows.filter((pl.col("user") >= 0) & (pl.col("item") >= 0)).unique().sort("user", "item")


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
    if path.is_dir():  # a table in parts
        parts = [_record(part) for part in sorted(path.rglob("*")) if part.is_file()]
        return {"name": path.name, "bytes": sum(part["bytes"] for part in parts), "sha256": sha256_of_json(parts)}
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _name_of(source: Path) -> str:
    return source.resolve().name if source.is_dir() else source.stem
