"""Features from .npy files (row = item), tables (item_id and numbers) or memory. Nothing is ever unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.data.sources.raw import RawFeatures, presence_path
from medley.data.sources.tables import Columns, Table
from medley.errors import InputError

FEAT_NAMES = {"image": "visual", "text": "textual", "audio": "acoustic"}  # <stem>_feat.npy -> modality
BLOCK = 16_384  # rows checked or copied at a time, so that features may be larger than memory


def load_array(path: Path) -> np.ndarray:
    """Opens a .npy file as a memory map.

    Raises:
        InputError: the file is empty, cut short, a pickle, holds Python objects, or is not a .npy file.
    """
    remedy = "save a plain numeric array with numpy.save"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError("the file does not exist", file=path, remedy="check the path") from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(_what_is_wrong(path), file=path, expected="a .npy array", got=error, remedy=remedy) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError("an archive where an array is expected", file=path, got=".npz", remedy=remedy)
    return array


def _what_is_wrong(path: Path) -> str:
    data = path.read_bytes()[:1_000_000]
    if not data:
        return "the file is empty"
    if data.startswith(b"\x93NUMPY"):
        return (
            "Python objects (a pickle) where numbers are expected" if b"'|O'" in data[:200] else "the file is cut short"
        )
    looks_pickled = data[0] == 0x80 or data.endswith(b".")  # protocol 2 and later; protocols 0 and 1 end in STOP
    return "a pickle where arrays are expected" if looks_pickled else "not a .npy file"


def npy_features(folder: Path) -> dict[str, RawFeatures]:
    """Reads every <modality>.npy of a folder, with its <modality>.present.npy if there is one."""
    paths = sorted(path for path in folder.glob("*.npy") if not path.name.endswith(".present.npy"))
    return {path.stem: _npy(path) for path in paths}


def feat_features(folder: Path) -> dict[str, RawFeatures]:
    """Reads <stem>_feat.npy of MMRec and MMSSL: image is visual, text textual, audio acoustic, others keep the stem."""
    stems = {path.stem.removesuffix("_feat"): path for path in sorted(folder.glob("*_feat.npy"))}
    return {FEAT_NAMES.get(stem, stem): _npy(path) for stem, path in stems.items()}


def _npy(path: Path) -> RawFeatures:
    values, mask = load_array(path), presence_path(path)
    present = load_array(mask) if mask.exists() else None
    if present is not None and (present.dtype != bool or present.shape != values.shape[:1]):
        expected, got = f"bool ({len(values):,},), as {path.name} has rows", f"{present.dtype} {present.shape}"
        raise InputError("presence mask", file=mask, expected=expected, got=got, remedy="save one bool per row")
    return RawFeatures(path, values, present=present)


def memory_features(modality: str, values: Any, present: Any = None) -> RawFeatures:
    """Features from an array in memory, and a mask of the rows that are present; the values are not checked yet.

    Raises:
        InputError: not an array, or the mask does not match its rows.
    """
    label = f"features[{modality!r}]"
    values = as_array(values, label, expected="an array (items, dimensions)")
    if present is not None:
        present = as_array(present, label, expected="a presence mask, one bool per row")
        if present.dtype != bool or present.shape != values.shape[:1]:
            expected, got = f"bool {values.shape[:1]}, one per row", f"{present.dtype} {present.shape}"
            raise InputError("presence mask", file=label, expected=expected, got=got, remedy="give one bool per row")
    return RawFeatures(label, values, present=present)


def as_array(values: Any, label: str, *, expected: str) -> np.ndarray:
    """Converts anything that numpy can convert; what it cannot is an InputError."""
    try:
        return np.asarray(values)
    except Exception as error:  # conversion runs the code of any array library
        remedy = "convert it with numpy.asarray"
        raise InputError("the values", file=label, expected=expected, got=repr(error), remedy=remedy) from None


def table_features(table: Table, columns: Columns) -> RawFeatures:
    """Features of the items that a table lists: the id of the item, and one list column or several numeric columns."""
    name = table.column("item", columns.item)
    ids = table.ids(name)
    table.refuse(~ids.is_first_distinct(), name, expected="distinct ids", got=ids, remedy="keep one row per item")
    rest = table.frame.drop(name)
    nested = [column for column in rest if column.dtype.is_nested()]
    if len(rest.columns) == 1 and nested:
        inner = getattr(nested[0].dtype, "inner", None)
        if inner is None or inner.is_nested() or not (inner.is_numeric() or inner in (pl.String, pl.Boolean, pl.Null)):
            expected, got = "lists of numbers", f"{nested[0].name!r} ({nested[0].dtype})"
            raise InputError("feature columns", file=table.path, expected=expected, got=got, remedy="store numbers")
        values, present = from_lists(table, nested[0].cast(pl.List(pl.Float32), strict=False))
        return RawFeatures(table.path, values, ids=ids, present=present)
    wrong = [f"{column.name!r} ({column.dtype})" for column in rest if not column.dtype.is_numeric()]
    if wrong or not rest.columns:
        expected, got = "one list column or numeric columns", ", ".join(wrong) or "none"
        raise InputError("feature columns", file=table.path, expected=expected, got=got, remedy="remove other columns")
    return RawFeatures(table.path, rest.cast(pl.Float32).fill_null(float("nan")).to_numpy(), ids=ids)


def from_lists(table: Table, lists: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Returns (n, d) values and (n,) presence from n lists of d numbers; a null or empty list means absent."""
    lengths = lists.list.len().fill_null(0)
    dim = int(lengths.max() or 0)  # type: ignore[arg-type]
    if not dim:
        raise InputError(f"{lists.name}: no numbers", file=table.path, remedy="remove the column or fill it")
    present = lengths > 0
    table.refuse(
        present & (lengths != dim), lists.name, expected=f"{dim} numbers", got=lengths, remedy="pad or remove the row"
    )
    values = np.zeros((len(lists), dim), dtype=np.float32)
    values[present.to_numpy()] = lists.filter(present).explode().fill_null(float("nan")).to_numpy().reshape(-1, dim)
    return values, present.to_numpy()


def stored_dtype(values: np.ndarray) -> np.dtype:
    """The type on disk: float16 stays, everything else becomes float32."""
    return np.dtype(np.float16 if values.dtype == np.float16 else np.float32)


def check_features(features: Mapping[str, RawFeatures]) -> None:
    """Raises an InputError unless every modality is (n, d) finite numbers in the rows that are present."""
    for raw in features.values():
        remedy = "store one row of numbers per item"
        if raw.values.ndim != 2 or 0 in raw.values.shape or raw.values.dtype.kind not in "fiub":
            got = f"shape {raw.values.shape}, {raw.values.dtype}"
            raise InputError(
                "features", file=raw.path, expected="shape (items, dimensions), numbers", got=got, remedy=remedy
            )
        for start in range(0, len(raw.values), BLOCK):
            block = np.asarray(raw.values[start : start + BLOCK])
            with np.errstate(over="ignore"):
                finite = np.isfinite(block.astype(stored_dtype(block)))
            if raw.present is not None:
                finite |= ~raw.present[start : start + BLOCK, None]
            if not finite.all():
                _refuse_value(raw, start, block, finite)


def _refuse_value(raw: RawFeatures, start: int, block: np.ndarray, finite: np.ndarray) -> None:
    row, column = np.argwhere(~finite)[0]
    value = block[row, column]
    if np.isnan(value):
        where = "a .present.npy file" if isinstance(raw.path, Path) else "the presence mask"
        remedy = f"fill it, or mark the row absent in {where}"
    elif block.dtype == np.float16:
        remedy = "float16 holds at most 65,504: store the features as float32"
    elif np.isfinite(value):
        remedy = "it does not fit float32: scale the features"
    else:
        remedy = "correct the extraction that made it"
    raise InputError(
        f"feature value in column {column}",
        file=raw.path,
        row=start + int(row) + (raw.ids is not None),  # an array counts from 0, as items do; a table from 1
        expected="a finite number",
        got=value,
        remedy=remedy,
    )
