"""Writes data set folders: a whole one with `DatasetWriter`, or one modality of an existing one."""

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import save as safetensors

from medley.data.manifest import (
    DISLIKED,
    FITTED,
    FORMAT_VERSION,
    LEFT_OUT,
    MEDIA,
    SPLIT_CODES,
    SPLITS,
    FileRecord,
    Manifest,
    ModalityRecord,
    hash_of_content,
    hash_of_features,
)
from medley.data.sources.arrays import BLOCK, check_features, memory_features, stored_dtype
from medley.data.sources.raw import RawFeatures
from medley.errors import InputError
from medley.files import locked, sha256_of_file, staged_folder, sync_folder, write_atomic
from medley.modality_names import check_modality_name
from medley.version import versions

LOCK = ".lock"
HASH_DIGITS = 16  # of a modality's hash, in the names of files written later
PARTIAL = ".partial"
_DIGEST, _BESIDE = rf"\.[0-9a-f]{{{HASH_DIGITS}}}", f"({re.escape(MEDIA)}|{re.escape(FITTED)})"
WRITTEN_LATER = re.compile(
    rf"\..+{re.escape(PARTIAL)}|\..+{_BESIDE}\..+|.+{_DIGEST}(\.present)?\.npy|.+{_DIGEST}{_BESIDE}"
)
NO_SOUND = "no sound"  # the status of a clip without a sound track, which is whole
MEDIA_COLUMNS = {  # one row per medium of an item
    "item": pl.Int32,  # row
    "file": pl.String,
    "sha256": pl.String,
    "bytes": pl.Int64,
    "status": pl.String,  # ok, failed, stopped or NO_SOUND
    "error": pl.String,
}


class DatasetWriter(AbstractContextManager["DatasetWriter"]):
    """Writes a data set folder in one piece: an exception in the `with` block leaves nothing behind.

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
            items: `item_id` (text) first, then `title` if there is one, any metadata after it; I rows.
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

    def write_left_out(self, left_out: pl.DataFrame) -> None:
        """Writes kind (user or item), id and reason of what the import left out, if anything."""
        if len(left_out):
            left_out.write_parquet(self.folder / LEFT_OUT)

    def write_disliked(self, pairs: pl.DataFrame) -> None:
        """Writes pairs (user, item: rows) that are known and not liked, if any."""
        if len(pairs):
            pairs.cast(pl.Int32).write_parquet(self.folder / DISLIKED)

    def create_features(self, modality: str, *, num_items: int, dim: int, dtype: str = "float32") -> np.ndarray:
        """Creates a memory map (num_items, dim) to be filled block by block; close it with `close_features`.

        Raises:
            InputError: a modality cannot have this name, see `check_modality_name`.
        """
        path = self.folder / "features" / f"{check_modality_name(modality)}.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(num_items, dim))

    def close_features(
        self, modality: str, values: np.ndarray, present: np.ndarray, *, made_by: dict[str, Any] | None = None
    ) -> None:
        """Records a modality whose values are on disk; rows that are not `present` must be zero."""
        if isinstance(values, np.memmap):
            values.flush()
        np.save(self.folder / "features" / f"{modality}.present.npy", present.astype(bool))
        self._modalities[modality] = ModalityRecord(
            dim=values.shape[1], dtype=str(values.dtype), num_present=int(present.sum()), made_by=made_by
        )

    def write_features(
        self,
        modality: str,
        values: np.ndarray,
        present: np.ndarray | None = None,
        *,
        made_by: dict[str, Any] | None = None,
    ) -> None:
        """Writes a whole modality that is in memory. `present` defaults to all items."""
        present = np.ones(len(values), dtype=bool) if present is None else present
        target = self.create_features(modality, num_items=len(values), dim=values.shape[1], dtype=str(values.dtype))
        np.copyto(target, np.where(present[:, None], values, 0), casting="same_kind")
        self.close_features(modality, target, present, made_by=made_by)

    def write_planted(self, planted: Mapping[str, np.ndarray]) -> None:
        """Writes the truth behind simulated data."""
        (self.folder / "planted").mkdir(exist_ok=True)
        for name, values in planted.items():
            np.save(self.folder / "planted" / f"{name}.npy", values)

    def finish(self, *, provenance: Mapping[str, Any], oddities: Mapping[str, int] | None = None) -> None:
        """Hashes all files and writes the manifest; the folder appears when the `with` block ends."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        files = {path.relative_to(self.folder).as_posix(): _record(path) for path in paths}
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            name=self.name,
            num_users=self._num_users,
            num_items=self._num_items,
            num_interactions=self._counts,
            modalities=self._modalities,
            oddities=dict(oddities or {}),
            content_hash=hash_of_content(files),
            split_hash=self._split_hash,
            files=files,
            provenance={
                **provenance,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(),
            },
        )
        _write_manifest(self.folder, manifest)
        self._finished = True


def add_modality(
    folder: Path,
    opened: Manifest,
    modality: str,
    values: Any,
    present: Any = None,
    *,
    made_by: Mapping[str, Any] | None = None,
    media: pl.DataFrame | None = None,
    fitted: Mapping[str, np.ndarray] | None = None,
    replace: bool = False,
) -> None:
    """Adds a modality to a data set folder, or replaces one.

    The arrays get names that no file has yet, and the manifest is replaced in one step, so a reader and a crash at any
    moment find the old data set or the new one. Files that the new manifest no longer names are removed last.

    Args:
        folder: the data set folder.
        opened: its manifest when the caller opened it.
        modality: name of the modality.
        values: (I, d_m) numbers; rows of items that are not present may hold anything.
        present: (I,) bool, false where the item lacks the modality; None: no item lacks it.
        made_by: the origin of the values, ready for JSON.
        media: the media that the values were extracted from, with the columns MEDIA_COLUMNS.
        fitted: name -> array: what encodes a new item in the same way.
        replace: replace the modality if the data set has it.

    Raises:
        InputError: the name, the arrays, `made_by` or `media` are wrong, the modality exists, or another process
            writes.
    """
    check_modality_name(modality)
    raw = memory_features(modality, values, present)
    check_features({modality: raw})
    if len(raw.values) != opened.num_items:
        got, remedy = f"{len(raw.values):,}", "give one row per item, in the order of Dataset.items"
        expected = f"{opened.num_items:,} (one per item)"
        raise InputError("rows of features", file=raw.path, expected=expected, got=got, remedy=remedy)
    made_by = _plain(made_by)
    beside = _beside(media, fitted, opened.num_items)
    with locked(folder / LOCK):
        before = Manifest.read(folder)
        if before.parts["items"] != opened.parts["items"]:
            raise InputError(
                "the items have changed since the data set was opened", file=folder, remedy="open it again"
            )
        if modality in before.modalities and not replace:
            remedy = "choose another name, or pass replace=True"
            raise InputError(f"modality {modality!r} exists already", file=folder, remedy=remedy)
        record, written = _write_arrays(folder / "features", modality, raw)
        record.made_by = made_by
        for what, content in beside.items():
            digest = hashlib.sha256(content).hexdigest()
            setattr(record, what, f"{modality}.{digest[:HASH_DIGITS]}")
            name = record.beside()[what]
            write_atomic(folder / name, content)
            written[name] = FileRecord(bytes=len(content), sha256=digest)
        sync_folder(folder / "features")
        old = before.modalities[modality].all_files(modality) if modality in before.modalities else ()
        files = {name: file for name, file in before.files.items() if name not in old}
        files = dict(sorted((files | written).items()))
        after = before.model_copy(
            update={
                "modalities": before.modalities | {modality: record},
                "files": files,
                "content_hash": hash_of_content(files),
            }
        )
        _write_manifest(folder, after)
        sync_folder(folder)
        _remove_unnamed(folder, after, old)


def _beside(media: pl.DataFrame | None, fitted: Mapping[str, np.ndarray] | None, num_items: int) -> dict[str, bytes]:
    """The contents of the files beside the arrays of a modality."""
    contents: dict[str, bytes] = {}
    if media is not None:
        if not isinstance(media, pl.DataFrame) or media.columns != list(MEDIA_COLUMNS):
            got = ", ".join(media.columns) if isinstance(media, pl.DataFrame) else type(media).__name__
            raise InputError("media", expected=f"a polars data frame of {', '.join(MEDIA_COLUMNS)}", got=got)
        try:
            table = media.cast(MEDIA_COLUMNS)  # type: ignore[arg-type]
        except pl.exceptions.PolarsError as error:
            raise InputError("media", expected="columns of their types", got=str(error)) from None
        if not table["item"].is_between(0, num_items - 1).all():
            raise InputError("items of media", expected=f"rows from 0 to {num_items - 1:,}", got="others")
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        contents["media"] = buffer.getvalue()
    if fitted:
        try:
            contents["fitted"] = safetensors({name: np.ascontiguousarray(array) for name, array in fitted.items()})
        except Exception as error:  # of an array that the format cannot hold
            raise InputError("fitted", expected="names with arrays of numbers", got=repr(error)) from None
    return contents


def _write_arrays(folder: Path, modality: str, raw: RawFeatures) -> tuple[ModalityRecord, dict[str, FileRecord]]:
    """Writes values and presence under names that contain their hash; returns the records of modality and files."""
    present = np.ones(len(raw.values), dtype=bool) if raw.present is None else raw.present
    dtype = stored_dtype(raw.values)
    folder.mkdir(exist_ok=True)
    partial: list[Path] = []
    try:
        for array in (raw.values, present):
            handle, name = tempfile.mkstemp(prefix=f".{modality}.", suffix=PARTIAL, dir=folder)
            partial.append(Path(name))
            with os.fdopen(handle, "wb") as file:
                to = dtype if array is raw.values else np.dtype(bool)
                header = {"descr": np.lib.format.dtype_to_descr(to), "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, len(array), BLOCK):
                    with np.errstate(over="ignore"):  # in rows that are not present
                        block = np.array(array[start : start + BLOCK], dtype=to, order="C")
                    block[~present[start : start + BLOCK]] = 0
                    file.write(block.data)
                file.flush()
                os.fsync(file.fileno())
            partial[-1].chmod(0o644)
        files = (_record(partial[0]), _record(partial[1]))
        stem = f"{modality}.{hash_of_features(files[0].sha256, files[1].sha256)[:HASH_DIGITS]}"
        record = ModalityRecord(dim=raw.values.shape[1], dtype=str(dtype), num_present=int(present.sum()), file=stem)
        for path, name in zip(partial, record.files(modality), strict=True):
            path.replace(folder.parent / name)
    except BaseException:
        for path in partial:
            path.unlink(missing_ok=True)
        raise
    return record, dict(zip(record.files(modality), files, strict=True))


def _remove_unnamed(folder: Path, manifest: Manifest, old: tuple[str, ...]) -> None:
    """Removes the files of a replaced modality, and what a crash of an earlier write left."""
    left = [f"features/{path.name}" for path in (folder / "features").iterdir() if WRITTEN_LATER.fullmatch(path.name)]
    for name in (*old, *left):
        if name not in manifest.files:
            (folder / name).unlink(missing_ok=True)


def _plain(made_by: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A copy of `made_by` as JSON will give it back."""
    if made_by is None:
        return None
    try:
        document = json.loads(json.dumps(made_by, allow_nan=False))
    except (TypeError, ValueError) as error:
        remedy = "use text, numbers, lists and names with values"
        raise InputError("made_by", expected="a JSON object", got=str(error), remedy=remedy) from None
    if not isinstance(document, dict):
        raise InputError("made_by", expected="names with values", got=type(made_by).__name__)
    return document


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=2) + "\n")


def _record(path: Path) -> FileRecord:
    return FileRecord(bytes=path.stat().st_size, sha256=sha256_of_file(path))


def _hash_of_split(log: pl.DataFrame) -> str:
    """Hash of the (user, item, split) triples of a log sorted by user and item."""
    codes = log["split"].replace_strict(SPLIT_CODES, return_dtype=pl.UInt8)
    digest = hashlib.sha256()
    for column in (log["user"], log["item"], codes):
        digest.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    return digest.hexdigest()
