"""Features from .npy files (row = item), tables (item_id and numbers) or memory. Nothing is ever unpickled."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.data.sources.finding import TEXT, listing, named_file, names_of, stem_and_suffix
from medley.data.sources.raw import RawFeatures, presence_path
from medley.data.sources.reading import Columns, Log, ReadOptions, id_column, read_beside
from medley.data.sources.tables import COLUMN_NAMES, Table
from medley.errors import InputError
from medley.modality_names import MODALITY_NAME, MODULE_ATTRIBUTES, PARTS_OF_SCORES

MODALITIES = ("visual", "acoustic", "textual", "image", "video", "audio", "text")  # usual names of feature files
NUMBERED = re.compile(r"\D*\d+")  # columns such as 0, 1, 2 or f0, f1, f2
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


def npy_files(folder: Path, *, without: Collection[Path] = ()) -> list[Path]:
    """The .npy files of a folder that are not presence masks."""
    return [
        path
        for path in listing(folder)
        if stem_and_suffix(path)[1] == ".npy" and not path.stem.endswith(".present") and path not in without
    ]


def npy_features(folder: Path, *, without: Collection[Path] = ()) -> dict[str, RawFeatures]:
    """Reads every <modality>.npy of a folder, with its <modality>.present.npy if there is one."""
    return {path.stem: _npy(path) for path in npy_files(folder, without=without)}


def feat_features(folder: Path, *, without: Collection[Path] = ()) -> dict[str, RawFeatures]:
    """Reads <stem>_feat.npy of MMRec and MMSSL: image is visual, text textual, audio acoustic, others keep the stem."""
    paths = [path for path in npy_files(folder, without=without) if path.stem.endswith("_feat")]
    stems = {path.stem.removesuffix("_feat"): path for path in paths}
    return {FEAT_NAMES.get(stem, stem): _npy(path) for stem, path in stems.items()}


def named_features(folder: Path, options: ReadOptions) -> dict[str, RawFeatures]:
    """Reads the files that the option `features` names: arrays, or tables with an item id and numbers.

    Raises:
        InputError: a file is absent, or of a format that cannot be read.
    """
    features = {}
    for modality, name in options.features.items():
        path = named_file(folder, name, f"features of {modality!r}")
        suffix = stem_and_suffix(path)[1]
        if suffix == ".npy":
            features[modality] = _npy(path)
        elif suffix in (*TEXT, ".parquet"):
            features[modality] = table_features(read_beside(path, options), options.columns)
        else:
            remedy = "save the array with numpy.save"
            raise InputError("features", file=path, expected=".npy, .csv, .tsv or .parquet", got=suffix, remedy=remedy)
    return features


def guessed_features(
    paths: Iterable[Path], *, num_items: int, num_users: int, known: Mapping[str, RawFeatures], ordered: bool = True
) -> tuple[dict[str, RawFeatures], dict[Path, str]]:
    """Reads arrays under the names of their files where no doubt is left that their rows are the items.

    Args:
        paths: the files.
        num_items: rows that features have.
        num_users: an array with so many rows may belong to the users.
        known: modalities that are there already.
        ordered: row = item has one meaning; false where the item table lists ids 0, 1, ... in another order.

    Returns:
        modality -> features, and file -> why it was not read.
    """
    features: dict[str, RawFeatures] = {}
    reasons: dict[Path, str] = {}
    for path in paths:
        remedy = f"to read it: features={{'NAME': '{path.name}'}}"
        try:
            values = load_array(path)
        except InputError:
            reasons[path] = f"{_what_is_wrong(path)}"
            continue
        if values.ndim != 2 or values.dtype.kind not in "fiu" or 0 in values.shape:
            reasons[path] = f"shape {values.shape}, {values.dtype}, where features have one row of numbers per item"
        elif len(values) != num_items:
            reasons[path] = f"{len(values):,} rows for {num_items:,} items"
        elif num_users == num_items:
            reasons[path] = f"{num_users:,} rows, as many as users and items; {remedy}"
        elif not ordered:
            reasons[path] = f"are its rows items 0, 1, ..., or the order of the item table? {remedy}"
        elif not MODALITY_NAME.fullmatch(path.stem) or path.stem in MODULE_ATTRIBUTES | PARTS_OF_SCORES:
            reasons[path] = f"no name for a modality; {remedy}"
        elif path.stem in known:
            reasons[path] = f"modality {path.stem!r} is there already; {remedy}"
        else:
            features[path.stem] = _npy(path)
    return features, reasons


def highest(numbers: pl.Series) -> int:
    """The highest of some whole numbers, -1 without any."""
    return int(numbers.drop_nulls().to_numpy().max(initial=-1))


def rows_of_features(ids: pl.Series, *, listed: bool) -> tuple[int, bool]:
    """How many rows the features of some items have, and whether row = item has one meaning.

    Args:
        ids: of the items, in the order of their table if they are `listed` in one.
        listed: without a table the ids must be the rows 0, 1, ...; where they are not, no number of rows fits: -1.
    """
    rows = pl.Series(np.arange(ids.n_unique())).cast(pl.String)
    are_rows = ids.unique().sort().equals(rows.sort())
    ordered = not listed or not are_rows or ids.equals(rows)
    return (len(rows) if listed or are_rows else -1), ordered


def arrays_beside(
    folder: Path, options: ReadOptions, logs: Mapping[Path, Log], items: Table | None
) -> tuple[dict[str, RawFeatures], dict[Path, str]]:
    """Reads .npy files beside a log: those that are named, or those whose rows fit the items without doubt."""
    if not options.features and not npy_files(folder, without=logs):
        return {}, {}  # and no ids are counted
    users = pl.concat([log.frame["user_id"] for log in logs.values()]).n_unique()
    ids = items.frame["item_id"] if items is not None else pl.concat([log.frame["item_id"] for log in logs.values()])
    num_items, ordered = rows_of_features(ids, listed=items is not None)
    return feat_or_guessed(folder, options, num_items=num_items, num_users=users, ordered=ordered, without=list(logs))


def feat_or_guessed(
    folder: Path,
    options: ReadOptions,
    *,
    num_items: int,
    num_users: int,
    ids: pl.Series | None = None,
    ordered: bool = True,
    without: Collection[Path] = (),
) -> tuple[dict[str, RawFeatures], dict[Path, str]]:
    """Reads the features that are named, then <stem>_feat.npy, and where no file is named other arrays that fit.

    Args:
        folder: of the source.
        options: of the import.
        num_items: rows that features are expected to have, where no <stem>_feat.npy says how many.
        num_users: an array with so many rows may belong to the users.
        ids: the item of each row, where an item table might say otherwise.
        ordered: as in `guessed_features`.
        without: files that are something else.

    Returns:
        modality -> features, and file -> why it was not read.
    """
    named = named_features(folder, options)
    taken = [*without, *(raw.path for raw in named.values() if isinstance(raw.path, Path))]
    features = refuse_two(named, feat_features(folder, without=taken))
    reasons: dict[Path, str] = {}
    if not options.features:
        taken += [raw.path for raw in features.values() if isinstance(raw.path, Path)]
        rows = len(next(iter(features.values())).values) if features else num_items
        others = npy_files(folder, without=taken)
        found, reasons = guessed_features(others, num_items=rows, num_users=num_users, known=features, ordered=ordered)
        features |= found
    if ids is not None:
        fits = {name for name, raw in features.items() if raw.ids is None and len(raw.values) == len(ids)}
        features = {name: raw._replace(ids=ids) if name in fits else raw for name, raw in features.items()}
    return features, reasons


def text_features(
    paths: Iterable[Path], options: ReadOptions, known: Mapping[str, RawFeatures]
) -> tuple[dict[str, RawFeatures], dict[Path, str]]:
    """Reads the text tables of a folder that are features: an item id and numbers, and a name or columns that say so.

    A table with other columns, or with a user, is not one; it is left unread, with the reason where it looks like one.
    """
    features: dict[str, RawFeatures] = {}
    reasons: dict[Path, str] = {}
    for path in paths:
        try:
            table = read_beside(path, options)
        except InputError:
            continue
        names = set(table.frame.columns)
        users = {options.columns.user, *COLUMN_NAMES["user"]}
        items = {options.columns.items_id, options.columns.item, *COLUMN_NAMES["item"]} & names
        rest = names - items
        if users & names or len(items) != 1 or not rest:
            continue
        try:
            read = table_features(table, options.columns)
        except InputError:
            if path.stem.lower() in MODALITIES:
                raise
            continue
        if path.stem in known:
            reasons[path] = f"modality {path.stem!r} is there already"
        elif path.stem.lower() in MODALITIES or (len(rest) > 1 and all(NUMBERED.fullmatch(name) for name in rest)):
            features[path.stem] = read
        else:
            reasons[path] = f"items with numbers. To read them as features: features={{'{path.stem}': '{path.name}'}}"
    return features, reasons


def refuse_two(features: Mapping[str, RawFeatures], more: Mapping[str, RawFeatures]) -> dict[str, RawFeatures]:
    """Joins modalities of two origins; a name that occurs in both is an InputError."""
    for modality in features.keys() & more.keys():
        paths = [raw.path for raw in (features[modality], more[modality]) if isinstance(raw.path, Path)]
        got, remedy = names_of(paths), "keep one, or name another modality"
        raise InputError(f"features {modality!r} twice", file=more[modality].path, got=got, remedy=remedy)
    return {**features, **more}


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
    name = id_column(table, columns, kind="item")
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
    if _is_text(table):
        rest = pl.DataFrame([table.numbers(column).alias(column) for column in rest.columns])
    wrong = [f"{column.name!r} ({column.dtype})" for column in rest if not column.dtype.is_numeric()]
    if wrong or not rest.columns:
        expected, got = "one list column or numeric columns", ", ".join(wrong) or "none"
        raise InputError("feature columns", file=table.path, expected=expected, got=got, remedy="remove other columns")
    return RawFeatures(table.path, rest.cast(pl.Float32).fill_null(float("nan")).to_numpy(), ids=ids)


def _is_text(table: Table) -> bool:
    """Text tables have text in every column; others keep the types of their file."""
    return isinstance(table.path, Path) and stem_and_suffix(table.path)[1] != ".parquet"


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
