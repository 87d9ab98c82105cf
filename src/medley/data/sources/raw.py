"""The result of every reader: the log as its source has it, ids as text, nothing dropped yet."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from medley.data.sources.reading import Log, notes_of
from medley.data.sources.tables import Source, Table


class RawFeatures(NamedTuple):
    """One modality as its source has it."""

    path: Source
    values: np.ndarray  # (n, d), any numbers, possibly memory-mapped
    ids: pl.Series | None = None  # (n,) item ids; None: row = row of the item table, or item id without a table
    present: np.ndarray | None = None  # (n,) bool, false where the item lacks the modality; None: no item lacks it


class RawLog(NamedTuple):
    """The content of a source."""

    interactions: pl.DataFrame  # user_id, item_id, file (index into files), line; timestamp?, rating?, split?, ...
    files: tuple[Source, ...]  # every file that was read, or labels of what was in memory
    users: Table | None = None  # user_id, metadata
    items: Table | None = None  # item_id, title?, metadata
    features: dict[str, RawFeatures] = {}  # noqa: RUF012 (never written to)
    notes: Mapping[str, int] = {}
    reasons: Mapping[Path, str] = {}
    order_within_users: bool = False  # the timestamps are places in the list of one user: not comparable across users


def raw_log(
    logs: Mapping[Path, pl.DataFrame | Log] | Mapping[str, pl.DataFrame | Log] | Mapping[Source, pl.DataFrame | Log],
    *,
    users: Table | None = None,
    items: Table | None = None,
    features: dict[str, RawFeatures] | None = None,
    notes: Mapping[str, int] | None = None,
    reasons: Mapping[Path, str] | None = None,
    order_within_users: bool = False,
) -> RawLog:
    """Joins the interactions of several files; each frame holds at least user_id, item_id and line."""
    read = [log if isinstance(log, Log) else Log(log) for log in logs.values()]
    frames = [log.frame.with_columns(file=pl.lit(index, pl.UInt8)) for index, log in enumerate(read)]
    tables = [table for table in (users, items) if table is not None]
    features = features or {}
    paths = [path for raw in features.values() for path in _files(raw.path)]
    files = tuple(dict.fromkeys([*logs, *(table.path for table in tables), *paths]))
    noticed: dict[str, int] = {}
    for each in (*(log.notes for log in read), notes_of(*tables), notes or {}):
        for what, count in each.items():
            noticed[what] = noticed.get(what, 0) + count
    interactions = pl.concat(frames, how="diagonal_relaxed")
    return RawLog(interactions, files, users, items, features, noticed, reasons or {}, order_within_users)


def presence_path(path: Path) -> Path:
    """Path of the presence mask that may lie in the folder of a feature file: visual.npy -> visual.present.npy."""
    return path.with_name(f"{path.stem}.present.npy")


def _files(source: Source) -> list[Source]:
    if isinstance(source, str):
        return [source]
    return [path for path in (source, presence_path(source)) if path.exists()]
