"""What every reader returns: the log as its source has it, ids as text, nothing dropped yet."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from medley.data.sources.tables import Table


class RawFeatures(NamedTuple):
    """One modality as its file has it."""

    path: Path
    values: np.ndarray  # (n, d), any numbers, possibly memory-mapped
    ids: pl.Series | None = None  # (n,) item ids; None: row = row of the item table, or item id where there is none
    present: np.ndarray | None = None  # (n,) bool, false where the item lacks the modality; None: all have it


class RawLog(NamedTuple):
    """A source, read."""

    interactions: pl.DataFrame  # user_id, item_id, file (index into files), line; timestamp?, rating?, split?, trimmed?
    files: tuple[Path, ...]  # every file that was read
    users: Table | None = None  # user_id, metadata
    items: Table | None = None  # item_id, title?, metadata
    features: dict[str, RawFeatures] = {}  # noqa: RUF012 (never written to)


def raw_log(
    logs: dict[Path, pl.DataFrame],
    *,
    users: Table | None = None,
    items: Table | None = None,
    features: dict[str, RawFeatures] | None = None,
) -> RawLog:
    """Puts the interactions of several files together; each frame holds user_id, item_id and line at least."""
    frames = [log.with_columns(file=pl.lit(index, pl.UInt8)) for index, log in enumerate(logs.values())]
    catalogues = [table.path for table in (users, items) if table is not None]
    features = features or {}
    paths = [
        present for raw in features.values() for present in (raw.path, presence_path(raw.path)) if present.exists()
    ]
    files = tuple(dict.fromkeys([*logs, *catalogues, *paths]))
    return RawLog(pl.concat(frames, how="diagonal_relaxed"), files, users, items, features)


def presence_path(path: Path) -> Path:
    """Where the presence mask of a feature file may stand: visual.npy -> visual.present.npy."""
    return path.with_name(f"{path.stem}.present.npy")
