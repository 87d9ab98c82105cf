"""Converts tables and arrays in memory to a RawLog and imports it. `Dataset.from_frames` lists the accepted forms.

narwhals reads pandas and polars frames and pyarrow tables; neither pandas nor pyarrow is imported here.
"""

import datetime
import decimal
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import scipy.sparse as sp
from narwhals.exceptions import NarwhalsError

from medley.data.import_options import FILE_OPTIONS, ImportOptions
from medley.data.importing import write_log
from medley.data.manifest import SPLITS
from medley.data.options import checked
from medley.data.sources.arrays import as_array, memory_features, table_features
from medley.data.sources.raw import RawFeatures, RawLog, raw_log
from medley.data.sources.reading import Columns, read_catalogue, read_log
from medley.data.sources.tables import Table
from medley.errors import InputError
from medley.files import refuse_existing
from medley.modality_names import check_modality_name

FRAME = "a pandas or polars data frame, a pyarrow table or a mapping of columns"
LOG = f"{FRAME}, an array (n, 2), a sparse matrix (U, I), or a mapping from train, test, valid to one of these"
GIVEN_SPLIT = ("split", "x_label")
REFUSED = "convert the column to text, numbers or times"


class TemporaryFolder:
    """A folder that is removed with this object, by the process that made the object."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="medley-"))
        weakref.finalize(self, _remove, self.path, os.getpid())


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:  # a fork has a copy of the object
        shutil.rmtree(path, ignore_errors=True)


class _Frame(NamedTuple):
    """Columns in memory, each converted when it is read."""

    label: str
    names: list[str]
    column: Callable[[str], pl.Series]

    def table(self, names: list[str] | None = None) -> Table:
        """Converts some columns, by default all."""
        series = [self.column(name).alias(name) for name in (self.names if names is None else names)]
        lengths = {len(column) for column in series}
        if len(lengths) > 1:
            got = ", ".join(f"{column.name!r} {len(column):,}" for column in series)
            raise InputError("columns of different lengths", file=self.label, got=got, remedy="give one value per row")
        if lengths <= {0}:
            remedy = "check the step before"
            raise InputError(
                "the table is empty", file=self.label, expected="at least one row", got="none", remedy=remedy
            )
        return _table(self.label, pl.DataFrame(series))


class _Log(NamedTuple):
    """The interactions of one split, or of all splits."""

    table: Table
    columns: Columns
    shape: tuple[int, int] | None = None  # (U, I) of a matrix


def write_frames(
    out: Path,
    interactions: Any,
    *,
    items: Any = None,
    users: Any = None,
    features: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> None:
    """Writes a data set folder from memory; the arguments are those of `Dataset.from_frames`.

    Raises:
        InputError: the data or an option is wrong; nothing is written.
    """
    settings = checked(ImportOptions, options, of="Dataset.from_frames")
    if of_files := settings.model_fields_set & FILE_OPTIONS:
        got, remedy = ", ".join(sorted(of_files)), "leave it out"
        raise InputError("options of files have no meaning for data in memory", got=got, remedy=remedy)
    refuse_existing(out, overwrite=overwrite)
    raw = _read(interactions, items, users, {} if features is None else features, settings.columns)
    name = settings.name or "frames"
    write_log(raw, out, settings, name=name, origin={"format": "frames", "source": name}, overwrite=overwrite)


def _read(interactions: Any, items: Any, users: Any, features: Any, columns: Columns) -> RawLog:
    parts: dict[str | None, Any] = {None: interactions}
    if isinstance(interactions, Mapping) and interactions and set(interactions) <= set(SPLITS):
        if not {"train", "test"} <= set(interactions):
            got, remedy = ", ".join(interactions), "add the split, or give one table and let `split` divide it"
            raise InputError(
                "splits of the interactions", expected="train, test and optionally valid", got=got, remedy=remedy
            )
        parts = {split: interactions[split] for split in SPLITS if split in interactions}
    rated = any(sp.issparse(part) and bool((part.tocoo().data != 1).any()) for part in parts.values())
    logs = {split: _log(part, _label(split), columns, rated) for split, part in parts.items()}
    shapes = {log.shape for log in logs.values() if log.shape}
    if len(shapes) > 1:
        got = ", ".join(map(str, sorted(shapes)))
        raise InputError("matrices of different shapes", file=_label(None), got=got, remedy="give all of them (U, I)")
    catalogues: dict[str, Table | None] = {"user": None, "item": None}
    for axis, (kind, data) in enumerate({"user": users, "item": items}.items()):
        if data is not None:
            catalogues[kind] = read_catalogue(_frame(data, f"{kind}s").table(), columns, kind=kind)
        elif shapes:
            ids = pl.Series(f"{kind}_id", np.arange(next(iter(shapes))[axis])).cast(pl.String)
            catalogues[kind] = _table(_label(None), ids.to_frame())
    if not isinstance(features, Mapping):
        expected, got = "names with arrays or frames", type(features).__name__
        raise InputError("features", expected=expected, got=got, remedy='for example features={"visual": array}')
    return raw_log(
        {_label(split): read_log(log.table, log.columns, split=split) for split, log in logs.items()},
        users=catalogues["user"],
        items=catalogues["item"],
        features={modality: _features(modality, values, columns) for modality, values in features.items()},
    )


def _label(split: str | None) -> str:
    return "interactions" if split is None else f"interactions[{split!r}]"


def _table(label: str, frame: pl.DataFrame) -> Table:
    return Table(label, frame, np.arange(1, len(frame) + 1))


def _features(modality: str, values: Any, columns: Columns) -> RawFeatures:
    check_modality_name(modality)
    if isinstance(values, tuple) and len(values) == 2:
        return memory_features(modality, *values)
    if isinstance(values, Mapping) or _native(values, f"features[{modality!r}]") is not None:
        return table_features(_frame(values, f"features[{modality!r}]").table(), columns)
    return memory_features(modality, values)


def _log(data: Any, label: str, columns: Columns, rated: bool) -> _Log:
    if sp.issparse(data):
        return _matrix(data, label, rated)
    if not isinstance(data, Mapping) and _native(data, label) is None:
        return _pairs(data, label)
    frame = _frame(data, label)
    header = Table(label, pl.DataFrame(schema=dict.fromkeys(frame.names, pl.Null)), np.empty(0))
    wanted = [header.column("user", columns.user), header.column("item", columns.item)]
    for what, name in (("timestamp", columns.timestamp), ("rating", columns.rating)):
        if (found := header.optional_column(what, name)) is not None:
            wanted.append(found)
    wanted += [name for name in (*GIVEN_SPLIT, columns.event) if name in frame.names]
    return _Log(frame.table(list(dict.fromkeys(wanted))), columns)


def _matrix(data: Any, label: str, rated: bool) -> _Log:
    if data.ndim != 2 or data.dtype.kind not in "fiub":
        got = f"shape {data.shape}, {data.dtype}"
        raise InputError("the matrix", file=label, expected="shape (U, I), real numbers", got=got)
    matrix = sp.coo_array(data, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if not np.isfinite(matrix.data).all():
        raise InputError("the matrix", file=label, expected="finite numbers", got="NaN or infinity")
    columns = {"user_id": matrix.row, "item_id": matrix.col} | ({"rating": matrix.data} if rated else {})
    frame = _Frame(label, list(columns), lambda name: _from_array(columns[name], label, name))
    return _Log(frame.table(), Columns(), (int(data.shape[0]), int(data.shape[1])))


def _pairs(data: Any, label: str) -> _Log:
    if isinstance(data, list | tuple):
        data = np.array(data, dtype=object)
    if not hasattr(data, "__array__"):
        remedy = "call collect() on a lazy frame; convert anything else"
        raise InputError(label, expected=LOG, got=type(data).__name__, remedy=remedy)
    array = as_array(data, label, expected="an array (n, 2)")
    if array.ndim != 2 or array.shape[1] != 2:
        expected = "shape (n, 2): user id, item id"
        raise InputError("the array", file=label, expected=expected, got=f"shape {array.shape}")
    columns = dict(zip(("user_id", "item_id"), array.T, strict=True))
    return _Log(_Frame(label, list(columns), lambda name: _from_array(columns[name], label, name)).table(), Columns())


def _native(data: Any, label: str) -> nw.DataFrame | None:
    try:
        return nw.from_native(data, eager_only=True)
    except TypeError:
        return None
    except (NarwhalsError, ValueError) as error:
        raise InputError("not a usable frame", file=label, got=_one_line(error)) from None


def _frame(data: Any, label: str) -> _Frame:
    """Opens a frame or a mapping of columns.

    Raises:
        InputError: neither of the two, or columns without distinct names.
    """
    if isinstance(data, Mapping):
        names, column = list(data), lambda name: _from_any(data[name], label, name)
    elif (frame := _native(data, label)) is not None:
        try:
            names, column = frame.columns, lambda name: _from_series(frame.get_column(name), label, name)
        except NarwhalsError as error:
            raise InputError("not a usable frame", file=label, got=_one_line(error)) from None
    else:
        remedy = "call collect() on a lazy frame; convert anything else"
        raise InputError(label, expected=FRAME, got=type(data).__name__, remedy=remedy)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        got, remedy = ", ".join(map(repr, names)), "rename the columns"
        raise InputError("columns must have distinct names of text", file=label, got=got, remedy=remedy)
    return _Frame(label, names, column)


def _from_any(values: Any, label: str, name: str) -> pl.Series:
    try:
        return _from_series(nw.from_native(values, series_only=True), label, name)
    except TypeError:
        pass
    if isinstance(values, list | tuple | range):
        return _from_objects(list(values), label, name)
    return _from_array(as_array(values, label, expected=f"an array for column {name!r}"), label, name)


def _from_series(column: nw.Series, label: str, name: str) -> pl.Series:
    """Converts a column of a frame; missing values become null, categories become their values."""
    native, dtype = column.to_native(), column.dtype
    if isinstance(native, pl.Series):
        if native.dtype == pl.Object:
            return _from_objects(native.to_list(), label, name)
        return native.cast(pl.String) if native.dtype in (pl.Categorical, pl.Enum) else native
    try:
        if column.implementation.is_pyarrow():
            if str(native.type).startswith("dictionary"):
                native = native.cast(native.type.value_type)
            converted = pl.Series(name, native)
            return _from_objects(converted.to_list(), label, name) if converted.dtype == pl.Object else converted
        if isinstance(dtype, nw.Datetime):
            missing = pl.Series(column.is_null().to_numpy())
            moments = pl.Series(column.dt.timestamp("us").fill_null(0).to_numpy().astype(np.int64))
            return moments.cast(pl.Datetime("us")).set(missing, None)
        if isinstance(dtype, nw.Boolean) or (dtype.is_numeric() and not isinstance(dtype, nw.Decimal)):
            missing = pl.Series(column.is_null().to_numpy())
            filled = column.fill_null(False if isinstance(dtype, nw.Boolean) else 0) if missing.any() else column
            return _numbers(np.asarray(filled.to_numpy())).set(missing, None)
        return _from_objects(column.to_list(), label, name)
    except InputError:
        raise
    except Exception as error:  # each library of frames has its own exceptions
        got = f"{dtype}: {_one_line(error)}"
        raise InputError(f"column {name!r}", file=label, got=got, remedy=REFUSED) from None


def _from_array(values: np.ndarray, label: str, name: str) -> pl.Series:
    if values.ndim != 1:
        expected = "one value per row"
        raise InputError(f"column {name!r}", file=label, expected=expected, got=f"shape {values.shape}", remedy=REFUSED)
    if values.dtype.kind in "fiub":
        return _numbers(values).fill_nan(None) if values.dtype.kind == "f" else _numbers(values)
    if values.dtype.kind == "U":
        return pl.Series(values.tolist(), dtype=pl.String)
    if values.dtype.kind == "M":
        return pl.Series(values.astype("datetime64[us]"))
    return _from_objects(values.tolist(), label, name)


def _numbers(values: np.ndarray) -> pl.Series:
    """Converts an array of numbers to a type that polars has: native byte order, neither half nor long double."""
    if values.dtype.kind == "f":
        return pl.Series(values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64, copy=False))
    return pl.Series(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")))


def _from_objects(values: list[Any], label: str, name: str) -> pl.Series:
    """Converts Python objects, all of one kind; text and numbers together become text."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds - {str}:
        values = [None if _is_missing(value) else value for value in values]
        kinds = set(map(type, values)) - {type(None)}
    convert, dtype = next(
        ((convert, dtype) for types, convert, dtype in OBJECTS if all(issubclass(kind, types) for kind in kinds)),
        (None, None),
    )
    if convert is None:
        known = tuple(kind for types, _, _ in OBJECTS for kind in types)
        first = next(type(value) for value in values if value is not None)
        unknown = [row for row, value in enumerate(values) if value is not None and not isinstance(value, known)]
        other = [row for row, value in enumerate(values) if value is not None and type(value) is not first]
        row = (unknown or other)[0]
        raise InputError(
            f"column {name!r}",
            file=label,
            row=row + 1,
            expected="text, numbers or times, all of one kind",
            got=f"{values[row]!r:.80} ({type(values[row]).__name__})",
            remedy=REFUSED,
        )
    try:
        return pl.Series([None if value is None else convert(value) for value in values], dtype=dtype)
    except (OverflowError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        if dtype == pl.Int64:  # a whole number beyond 64 bits
            return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)
        raise InputError(f"column {name!r}", file=label, got=_one_line(error), remedy=REFUSED) from None


def _is_missing(value: Any) -> bool:
    """Recognises None, NaN, and the NA and NaT of pandas, which is not imported here."""
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _utc(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(datetime.UTC).replace(tzinfo=None)


def _text(value: Any) -> str:
    """Returns an id as text; 17 and 17.0 are one id."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


OBJECTS: tuple[tuple[tuple[type, ...], Callable[[Any], Any], Any], ...] = (  # types, conversion, type in polars
    ((str,), str, pl.String),
    ((bool, np.bool_), bool, pl.Boolean),
    ((datetime.datetime,), _utc, pl.Datetime("us")),
    ((datetime.date,), lambda day: day, pl.Date),
    ((int, np.integer), int, pl.Int64),
    ((int, float, np.integer, np.floating, decimal.Decimal), float, pl.Float64),
    ((str, int, float, np.integer, np.floating, decimal.Decimal), _text, pl.String),
    ((uuid.UUID,), str, pl.String),
    ((list, tuple, np.ndarray), list, None),
    ((dict,), dict, pl.Object),
)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
