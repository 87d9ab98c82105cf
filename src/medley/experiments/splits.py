"""Divides the log of a data set again: the same interactions under another split, as a data set of its own."""

from pathlib import Path

import numpy as np
import polars as pl

from medley.data import split as splitting
from medley.data.dataset import Dataset
from medley.data.manifest import SPLIT_CODES, SPLITS
from medley.data.parquet import read_parquet
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.files import sha256_of_json

ROWS = 65_536  # of features copied at a time
DIGITS = 16
GIVEN = "given"  # the split that the data set has


def resplit(data: Dataset, split: str, folder: Path, *, seed: int = 0) -> Dataset:
    """Returns a data set with the same users, items, features and interactions under another split.

    The ratios are those of the given split. The folder is named by what it holds, so it is written once.

    Args:
        data: any data set with at least one interaction outside of train.
        split: a name of `medley.data.split.SPLITTERS`; `given` is the data set itself.
        folder: where such data sets lie.
        seed: of the shuffling, and of ties in time.

    Raises:
        InputError: a split by time of a log without timestamps.
    """
    if split == GIVEN:
        return data
    manifest = data.manifest
    identity = {"parts": manifest.parts, "split": split, "seed": seed}
    out = folder / f"{split}-{sha256_of_json(identity)[:DIGITS]}"
    if (out / "manifest.json").exists():
        return Dataset(out)
    log = data.log
    time = log["timestamp"] if "timestamp" in log.columns else None
    if split in ("time", "time-user") and (time is None or time.null_count()):
        raise InputError(f"split {split!r}", expected="a time for every interaction", got="none, or not for all")
    known = splitting.Log(
        user=log["user"].to_numpy(),
        item=log["item"].to_numpy(),
        time=None if time is None or time.null_count() else time.to_numpy(),
    )
    ratios = splitting.normal_ratios(tuple(manifest.num_interactions[name] for name in SPLITS))
    codes = splitting.SPLITTERS[split](known, ratios, np.random.default_rng(seed))
    names = {code: name for name, code in SPLIT_CODES.items()}
    divided = log.with_columns(pl.Series("split", [names[code] for code in codes.tolist()], dtype=log["split"].dtype))
    users = read_parquet(data.folder / "users.parquet")
    with DatasetWriter(out, name=f"{manifest.name}, {split} split", overwrite=out.exists()) as writer:
        writer.write_tables(users, data.item_table, divided)
        disliked = data.disliked
        writer.write_disliked(pl.DataFrame({"user": disliked.user, "item": disliked.item}))
        for modality, features in data.features.items():
            record = manifest.modalities[modality]
            values = writer.create_features(
                modality, num_items=len(features.values), dim=record.dim, dtype=record.dtype
            )
            for start in range(0, len(values), ROWS):
                values[start : start + ROWS] = features.values[start : start + ROWS]
            writer.close_features(modality, values, features.present, made_by=record.made_by)
        source = {"source": "another split", "split": split, "seed": seed, "of": manifest.content_hash}
        writer.finish(provenance={**source, "ratios": list(ratios)}, oddities=manifest.oddities)
    return Dataset(out)
