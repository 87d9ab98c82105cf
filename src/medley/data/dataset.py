"""One folder that holds a catalogue and its log. `DatasetWriter` makes it, `Dataset` reads it.

manifest.json                  counts, modalities, content hashes, oddities, provenance
users.parquet                  user_id (text), any metadata           row = user row
items.parquet                  item_id (text), title, any metadata    row = item row
interactions.parquet           user, item (int32 rows), split (train | valid | test), timestamp, ...
features/<modality>.npy        (I, d_m) float32 or float16, read as a memory map
features/<modality>.present.npy  (I,) bool, false where the item lacks the modality
planted/<name>.npy             only in simulated data: the truth that a model should recover
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ValidationError
from torch import nn

from medley.data.ids import IdMap
from medley.errors import InputError
from medley.files import read_json, sha256_of_file, sha256_of_json, staged_folder, write_atomic
from medley.types import Features, Inputs, Interactions
from medley.version import versions

FORMAT_VERSION = 1
SPLITS = ("train", "valid", "test")
MODALITY_NAME = re.compile(r"[A-Za-z0-9_-]+")


class FileRecord(BaseModel):
    """Size and hash of one file of the folder."""

    bytes: int
    sha256: str


class ModalityRecord(BaseModel):
    """What one modality holds."""

    dim: int
    dtype: str
    num_present: int


class Manifest(BaseModel):
    """What a data set folder says about itself."""

    format_version: int
    name: str
    num_users: int
    num_items: int
    num_interactions: dict[str, int]  # split -> count
    modalities: dict[str, ModalityRecord]
    oddities: dict[str, int]  # what the import dropped or noticed -> how often
    content_hash: str  # of every file below; provenance and dates do not enter
    split_hash: str  # of who touched what in which split, independent of the file format
    files: dict[str, FileRecord]
    provenance: dict[str, Any]

    @property
    def parts(self) -> dict[str, str]:
        names = {"log": ["interactions.parquet"], "users": ["users.parquet"], "items": ["items.parquet"]}
        names |= {f"features/{m}": [f"features/{m}.npy", f"features/{m}.present.npy"] for m in self.modalities}
        return {part: sha256_of_json([self.files[f].sha256 for f in fs]) for part, fs in names.items()}


class Dataset:
    """A data set on disk. Tables and features are read when they are asked for."""

    def __init__(self, folder: str | Path, *, verify: bool = False):
        """Opens a folder that `medley import` or `medley simulate` wrote.

        Args:
            folder: the data set folder.
            verify: also compare the hash of every file with the manifest (reads everything once).

        Raises:
            InputError: the folder is no data set, or a file is missing, cut short or (with `verify`) changed.
        """
        self.folder = Path(folder)
        remedy = "give a folder made by `medley import` or `medley simulate`"
        document = read_json(self.folder / "manifest.json", remedy=remedy)
        try:
            self.manifest = Manifest.model_validate(document)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise InputError(
                f"manifest.json: {where}",
                file=self.folder,
                got=problem["msg"],
                remedy="import the data again",
            ) from None
        if self.manifest.format_version != FORMAT_VERSION:
            raise InputError(
                "format_version of the data set",
                file=self.folder,
                expected=FORMAT_VERSION,
                got=self.manifest.format_version,
                remedy="import the data again with this version of Medley",
            )
        self._check_files(verify)

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
        return IdMap(pl.read_parquet(self.folder / "users.parquet", columns=["user_id"])["user_id"], kind="user")

    @cached_property
    def items(self) -> IdMap:
        """Raw ids of the items, in row order."""
        return IdMap(self.item_table["item_id"], kind="item")

    @cached_property
    def item_table(self) -> pl.DataFrame:
        """The items with all their metadata, in row order."""
        return pl.read_parquet(self.folder / "items.parquet")

    @cached_property
    def log(self) -> pl.DataFrame:
        """Every interaction: user and item rows, split, and what else the source held."""
        return pl.read_parquet(self.folder / "interactions.parquet")

    def interactions(self, split: str) -> Interactions:
        """The interactions of one split.

        Raises:
            InputError: the split is none of train, valid, test.
        """
        if split not in SPLITS:
            raise InputError("split", expected=" or ".join(SPLITS), got=repr(split))
        return self._interactions[split]

    @cached_property
    def _interactions(self) -> dict[str, Interactions]:
        m = self.manifest
        parts = {split: self.log.filter(pl.col("split") == split) for split in SPLITS}
        return {
            split: Interactions(part["user"].to_numpy(), part["item"].to_numpy(), m.num_users, m.num_items)
            for split, part in parts.items()
        }

    @property
    def train(self) -> Interactions:
        """The interactions that models learn from."""
        return self.interactions("train")

    @property
    def valid(self) -> Interactions:
        """The interactions that choose epochs and hyper-parameters."""
        return self.interactions("valid")

    @property
    def test(self) -> Interactions:
        """The interactions that are scored once."""
        return self.interactions("test")

    @cached_property
    def features(self) -> dict[str, Features]:
        """Modality -> features (memory-mapped), in the order of the manifest."""
        folder = self.folder / "features"
        return {
            name: Features(np.load(folder / f"{name}.npy", mmap_mode="r"), np.load(folder / f"{name}.present.npy"))
            for name in self.manifest.modalities
        }

    def inputs(self) -> Inputs:
        """What a model may see: train interactions and item features."""
        return Inputs(self.train, self.features)

    def title(self, item: int) -> str | None:
        """The title of an item row, where the source had one."""
        return self.item_table["title"][int(item)] if "title" in self.item_table.columns else None


class DatasetWriter(AbstractContextManager["DatasetWriter"]):
    """Writes a data set folder in one piece: leave the `with` block by an exception and nothing is there.

    with DatasetWriter(out, name="tiktok") as writer:
        writer.write_tables(users, items, log)
        writer.write_features("visual", values, present)
        writer.finish(provenance={...}, oddities={...})
    """

    def __init__(self, out: str | Path, *, name: str, overwrite: bool = False):
        self.out = Path(out)
        self.name = name
        if overwrite and self.out.exists() and not (self.out / "manifest.json").exists():
            remedy = "only a data set is ever replaced: choose another name"
            raise InputError("not a data set folder", file=self.out, remedy=remedy)
        self._staged = staged_folder(self.out, overwrite=overwrite)

    def __enter__(self) -> "DatasetWriter":
        self.folder = self._staged.__enter__()
        (self.folder / "features").mkdir()
        self._modalities: dict[str, ModalityRecord] = {}
        self._finished = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is None and not self._finished:
            self._staged.__exit__(RuntimeError, RuntimeError("unfinished"), None)
            raise RuntimeError("DatasetWriter: the block ended without finish()")
        return self._staged.__exit__(kind, error, trace)

    def write_tables(self, users: pl.DataFrame, items: pl.DataFrame, log: pl.DataFrame) -> None:
        """Writes the three tables.

        Args:
            users: `user_id` (text) first, any metadata after it; U rows.
            items: `item_id` (text) first, then `title` where there is one, any metadata; I rows.
            log: `user`, `item` (rows), `split`, and optionally `timestamp`, `rating`, ...; distinct (user, item).
        """
        log = log.with_columns(pl.col("user", "item").cast(pl.Int32)).sort("user", "item")
        assert not log.select("user", "item").is_duplicated().any(), "interactions must be distinct"
        users.write_parquet(self.folder / "users.parquet")
        items.write_parquet(self.folder / "items.parquet")
        log.write_parquet(self.folder / "interactions.parquet")
        self._num_users, self._num_items = len(users), len(items)
        self._counts = {split: int((log["split"] == split).sum()) for split in SPLITS}
        self._split_hash = _hash_of_split(log)

    def create_features(self, modality: str, *, num_items: int, dim: int, dtype: str = "float32") -> np.ndarray:
        """A memory map (num_items, dim) to be filled block by block; close it with `close_features`.

        Raises:
            InputError: the name of the modality cannot name a file and a part of a model.
        """
        if not MODALITY_NAME.fullmatch(modality) or hasattr(nn.ModuleDict, modality):
            raise InputError(
                "name of a modality",
                expected="letters, digits, _ and -, and no word that torch modules use themselves (type, values, ...)",
                got=repr(modality),
                remedy="rename its file, for example to visual.npy",
            )
        path = self.folder / "features" / f"{modality}.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(num_items, dim))

    def close_features(self, modality: str, values: np.ndarray, present: np.ndarray) -> None:
        """Records a modality whose values are on disk; rows that are not `present` must be zero."""
        if isinstance(values, np.memmap):
            values.flush()
        np.save(self.folder / "features" / f"{modality}.present.npy", present.astype(bool))
        self._modalities[modality] = ModalityRecord(
            dim=values.shape[1], dtype=str(values.dtype), num_present=int(present.sum())
        )

    def write_features(self, modality: str, values: np.ndarray, present: np.ndarray | None = None) -> None:
        """Writes a whole modality that is in memory. `present` defaults to all items."""
        present = np.ones(len(values), dtype=bool) if present is None else present
        target = self.create_features(modality, num_items=len(values), dim=values.shape[1], dtype=str(values.dtype))
        np.copyto(target, np.where(present[:, None], values, 0), casting="same_kind")
        self.close_features(modality, target, present)

    def write_planted(self, planted: Mapping[str, np.ndarray]) -> None:
        """Writes the truth behind simulated data."""
        (self.folder / "planted").mkdir(exist_ok=True)
        for name, values in planted.items():
            np.save(self.folder / "planted" / f"{name}.npy", values)

    def finish(self, *, provenance: Mapping[str, Any], oddities: Mapping[str, int] | None = None) -> None:
        """Hashes everything and writes the manifest; the folder appears when the `with` block ends."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        files = {
            path.relative_to(self.folder).as_posix(): FileRecord(bytes=path.stat().st_size, sha256=sha256_of_file(path))
            for path in paths
        }
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            name=self.name,
            num_users=self._num_users,
            num_items=self._num_items,
            num_interactions=self._counts,
            modalities=self._modalities,
            oddities=dict(oddities or {}),
            content_hash=sha256_of_json({name: record.sha256 for name, record in files.items()}),
            split_hash=self._split_hash,
            files=files,
            provenance={
                **provenance,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(),
            },
        )
        write_atomic(self.folder / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
        self._finished = True


def _hash_of_split(log: pl.DataFrame) -> str:
    """Hash of the (user, item, split) triples of a log sorted by user and item."""
    codes = log["split"].replace_strict(list(SPLITS), [0, 1, 2], return_dtype=pl.UInt8)
    digest = hashlib.sha256()
    for column in (log["user"], log["item"], codes):
        digest.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    return digest.hexdigest()
