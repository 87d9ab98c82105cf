"""Reads a data set folder: one catalogue and its log.

manifest.json                  counts, modalities, content hashes, oddities, provenance
users.parquet                  user_id (text), any metadata           row = user row
items.parquet                  item_id (text), title, any metadata    row = item row
interactions.parquet           user, item (int32 rows), split (train | valid | test), timestamp, ...
features/<file>.npy            (I, d_m) float32 or float16, read as a memory map; <file> is the modality, or what the
                               manifest says if the modality was written later
features/<file>.present.npy    (I,) bool, false where the item lacks the modality
features/<file>.media.parquet  the media that the modality was extracted from; only if it was
features/<file>.fitted.safetensors  arrays that encode a new item in the same way; only if there are any
.extraction/                   the journal of an extraction; not part of the data
left_out.parquet               kind, id, reason: users and items that the import left out; only if there are any
disliked.parquet               user, item (rows): pairs below the rating threshold, or with negative events; only if any
planted/<name>.npy             only in simulated data: the truth that a model should recover
"""

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from medley.data.ids import IdMap
from medley.data.manifest import DISLIKED, LEFT_OUT, SPLITS, Manifest
from medley.data.options import path_of
from medley.data.parquet import read_parquet
from medley.data.writer import add_modality
from medley.errors import InputError
from medley.files import sha256_of_file
from medley.types import Features, Inputs, Interactions


class Dataset:
    """A data set on disk. Tables and features are read on first use."""

    _temporary: object = None  # what keeps a temporary folder alive

    def __init__(self, folder: str | Path, *, verify: bool = False):
        """Opens a folder made by `import_dataset`, `simulate`, `Dataset.from_frames` or their commands.

        Args:
            folder: the data set folder.
            verify: also compare the hash of every file with the manifest (reads everything once).

        Raises:
            InputError: not a data set folder, or a file is missing, cut short or (with `verify`) changed.
        """
        self.folder = path_of(folder, "data set folder")
        self.manifest = Manifest.read(self.folder)
        while True:
            try:
                self._check_files(verify)
                return
            except InputError:
                read, self.manifest = self.manifest, Manifest.read(self.folder)
                if read == self.manifest:
                    raise  # otherwise another process wrote a modality in between

    def _check_files(self, verify: bool) -> None:
        for name, record in self.manifest.files.items():
            path = self.folder / name
            size = path.stat().st_size if path.exists() else None
            if size != record.bytes:
                raise InputError(
                    "the file is cut short or changed" if size is not None else "the file is missing",
                    file=path,
                    expected=f"{record.bytes:,} bytes",
                    got="no file" if size is None else f"{size:,} bytes",
                    remedy="import the data again",
                )
            if verify and sha256_of_file(path) != record.sha256:
                raise InputError(
                    "the content differs from the manifest",
                    file=path,
                    expected=f"sha256 {record.sha256[:12]}...",
                    remedy="import the data again",
                )

    def __repr__(self) -> str:
        m = self.manifest
        modalities = ", ".join(f"{name} {record.dim}-d" for name, record in m.modalities.items())
        counts = " / ".join(f"{m.num_interactions[split]:,}" for split in SPLITS)
        return f"Dataset({m.name}: {m.num_users:,} users, {m.num_items:,} items, {counts} interactions; {modalities})"

    @cached_property
    def users(self) -> IdMap:
        """Raw ids of the users, in row order."""
        return IdMap(
            read_parquet(self.folder / "users.parquet", ["user_id"])["user_id"],
            kind="user",
            left_out=partial(self._left_out, "user"),
        )

    @cached_property
    def items(self) -> IdMap:
        """Raw ids of the items, in row order."""
        return IdMap(self.item_table["item_id"], kind="item", left_out=partial(self._left_out, "item"))

    def _left_out(self, kind: str) -> dict[str, str]:
        """Ids that the import left out -> why."""
        if LEFT_OUT not in self.manifest.files:
            return {}
        table = read_parquet(self.folder / LEFT_OUT).filter(pl.col("kind") == kind)
        return dict(zip(table["id"], table["reason"], strict=True))

    @cached_property
    def disliked(self) -> Interactions:
        """Pairs that are known and not liked: below the rating threshold of the import, or negative events.

        They are in no split, and no model reads them, and they are never recommended.
        """
        m = self.manifest
        empty = pl.DataFrame(schema={"user": pl.Int32, "item": pl.Int32})
        pairs = read_parquet(self.folder / DISLIKED) if DISLIKED in m.files else empty
        return Interactions(pairs["user"].to_numpy(), pairs["item"].to_numpy(), m.num_users, m.num_items)

    @cached_property
    def item_table(self) -> pl.DataFrame:
        """The items with all their metadata, in row order."""
        return read_parquet(self.folder / "items.parquet")

    @cached_property
    def log(self) -> pl.DataFrame:
        """All interactions: user and item rows, split, and timestamp or rating if the source has them."""
        return read_parquet(self.folder / "interactions.parquet")

    def interactions(self, split: str) -> Interactions:
        """Returns the interactions of one split.

        Raises:
            InputError: the split is not train, valid or test.
        """
        if split not in SPLITS:
            raise InputError("split", expected=" or ".join(SPLITS), got=repr(split))
        return self._interactions[split]

    @cached_property
    def _interactions(self) -> dict[str, Interactions]:
        m = self.manifest
        parts = {split: self.log.filter(pl.col("split") == split) for split in SPLITS}
        return {
            split: Interactions(part["user"].to_numpy(), part["item"].to_numpy(), m.num_users, m.num_items, _time(part))
            for split, part in parts.items()
        }

    @property
    def train(self) -> Interactions:
        """The interactions that models are trained on."""
        return self.interactions("train")

    @property
    def valid(self) -> Interactions:
        """The interactions that select epochs and hyper-parameters."""
        return self.interactions("valid")

    @property
    def test(self) -> Interactions:
        """The interactions that the final evaluation uses."""
        return self.interactions("test")

    @cached_property
    def features(self) -> dict[str, Features]:
        """Modality -> features (memory-mapped), in the order of the manifest."""
        features = {}
        try:
            for modality, record in self.manifest.modalities.items():
                values, present = (self.folder / name for name in record.files(modality))
                features[modality] = Features(np.load(values, mmap_mode="r"), np.load(present))
        except FileNotFoundError as error:
            problem, remedy = "the data set has changed since it was opened", "open it again"
            raise InputError(problem, file=error.filename, got="no file", remedy=remedy) from None
        return features

    def union(self, splits: str) -> Interactions:
        """Returns the interactions of one or several splits, each pair once: `train`, `train+valid`, ...

        Raises:
            InputError: a split is not train, valid or test.
        """
        chosen = splits.split("+")
        if len(chosen) == 1:
            return self.interactions(splits)
        parts = [self.interactions(split) for split in chosen]
        m = self.manifest
        code = np.concatenate([part.user.astype(np.int64) * m.num_items + part.item for part in parts])
        code, first = np.unique(code, return_index=True)
        user, item = np.divmod(code, m.num_items)
        times = [part.time for part in parts if part.time is not None]
        time = np.concatenate(times)[first] if len(times) == len(parts) else None
        return Interactions(user.astype(np.int32), item.astype(np.int32), m.num_users, m.num_items, time)

    def inputs(self, splits: str = "train") -> Inputs:
        """The inputs of a model: train interactions and item features, nothing of validation or test.

        Args:
            splits: to learn from; more than `train` is for a last training before production, which no split judges.
        """
        return Inputs(self.union(splits), self.features, splits)

    def media(self, modality: str) -> pl.DataFrame | None:
        """Returns the media that a modality was extracted from, or None if it was not extracted.

        Returns:
            One row per medium: `item` (row), `file`, `sha256` and `bytes` of the content, `status` (ok, or how it
            failed), `error` (why it failed).

        Raises:
            InputError: the data set does not have the modality.
        """
        path = self._beside(modality, "media")
        return None if path is None else read_parquet(path)

    def fitted(self, modality: str) -> dict[str, np.ndarray]:
        """Returns name -> array: what was fitted for a modality and encodes a new item in the same way.

        Raises:
            InputError: the data set does not have the modality.
        """
        path = self._beside(modality, "fitted")
        return {} if path is None else load_file(path)

    def _beside(self, modality: str, what: str) -> Path | None:
        if modality not in self.manifest.modalities:
            raise InputError("modality", expected=" or ".join(self.manifest.modalities) or "none", got=repr(modality))
        name = self.manifest.modalities[modality].beside().get(what)
        return None if name is None else self.folder / name

    def title(self, item: int) -> str | None:
        """The title of an item row, or None if the source has no titles."""
        return self.item_table["title"][int(item)] if "title" in self.item_table.columns else None

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        *,
        items: Any = None,
        users: Any = None,
        features: Mapping[str, Any] | None = None,
        split: str | None = None,
        out: str | Path | None = None,
        name: str = "frames",
        overwrite: bool = False,
        **options: Any,
    ) -> "Dataset":
        """Makes a data set from tables and arrays in memory; checks and options are those of `import_dataset`.

        A frame is a pandas or polars data frame or a pyarrow table. Errors count the rows of frames from 1.

        Args:
            interactions: a frame with a user and an item column, and optionally timestamp, rating and split; or a
                mapping of such columns; or an array (n, 2) of user and item ids; or a scipy sparse matrix (U, I), whose
                row and column numbers are the ids, whose zeros are not interactions, and whose values are ratings
                unless all are 1; or a mapping from train, test and optionally valid to any of these.
            items: a frame with an item column, and optionally title and other metadata; all items, in any order.
            users: a frame with a user column and any metadata; all users, in any order.
            features: modality -> an array (rows in the order of `items`, or of item ids 0, 1, ... without `items`), or
                (array, mask of the rows that are present), or a frame with an item column and either number columns
                or one list column.
            split: one of medley.data.split.SPLITTERS; by default `given` if the interactions have a split, else
                `random`.
            out: the folder to write; None keeps the data in a temporary folder as long as the Dataset lives.
            name: of the data set.
            overwrite: replace a data set in `out`.
            options: other fields of `ImportOptions`, for example `kcore=5` or `user_column="customer"`.

        Raises:
            InputError: the data or an option are wrong; nothing is written.
        """
        from medley.data import frames  # here because frames builds on the import, and the import on this class

        temporary = frames.TemporaryFolder() if out is None else None
        folder = temporary.path / "data" if temporary is not None else Path(out or "")
        frames.write_frames(
            folder,
            interactions,
            items=items,
            users=users,
            features=features,
            overwrite=overwrite,
            name=name,
            split=split,
            **options,
        )
        dataset = cls(folder)
        dataset._temporary = temporary
        return dataset

    def with_modality(
        self,
        name: str,
        values: Any,
        present: Any = None,
        *,
        made_by: Mapping[str, Any] | None = None,
        media: pl.DataFrame | None = None,
        fitted: Mapping[str, np.ndarray] | None = None,
        replace: bool = False,
    ) -> "Dataset":
        """Writes one modality into the folder, in one step, and opens the data set again.

        A crash at any moment leaves the old data set or the new one. This object keeps describing the old one.

        Args:
            name: of the modality.
            values: (I, d_m) numbers, one row per item in the order of `items`; float16 and float32 keep their type,
                other numbers become float32. Rows that are not present may hold anything.
            present: (I,) bool, false where the item lacks the modality; None: no item lacks it.
            made_by: the origin of the values, ready for JSON, for example encoder and revision.
            media: the media that the values were extracted from, as `media` returns them.
            fitted: name -> array: what encodes a new item in the same way, as `fitted` returns it.
            replace: replace the modality if the data set has it.

        Raises:
            InputError: the name, the arrays, `made_by` or `media` are wrong, the modality exists, or another process
                writes.
        """
        beside = {"media": media, "fitted": fitted}
        add_modality(self.folder, self.manifest, name, values, present, made_by=made_by, replace=replace, **beside)
        dataset = type(self)(self.folder)
        dataset._temporary = self._temporary
        return dataset


def _time(log: pl.DataFrame) -> np.ndarray | None:
    """Returns the times (n,) of a log; None if the log has none."""
    if "timestamp" not in log.columns or log["timestamp"].null_count():
        return None
    return log["timestamp"].to_numpy()
