"""Pairs without an order: `user item` lines, arrays (2, n) or (n, 2), sparse matrices of scipy; a log or its splits."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import scipy.sparse as sp

from medley.data.sources.arrays import load_array
from medley.data.sources.finding import find_splits, listing, named_file, names_of, stem_and_suffix
from medley.data.sources.raw import RawLog
from medley.data.sources.reading import Log, ReadOptions
from medley.data.sources.sequences import NAMES, log_files, refuse_names, text_lines, with_neighbours
from medley.data.sources.tables import Table
from medley.errors import InputError

ARRAYS = (".npy", ".npz")


class _Pairs(NamedTuple):
    frame: pl.DataFrame  # user_id, item_id, line, rating?
    shape: tuple[int, int] | None = None  # (U, I) of a matrix
    values: np.ndarray | None = None  # (n,) of a matrix


def read_pairs(source: Path, options: ReadOptions) -> RawLog:
    """Reads a file of pairs, or a folder with one such file or with train, test and perhaps valid."""
    refuse_names(options, "pairs")
    files = _files(source, options)
    parts = {path: _read(path, options) for path in files}
    shapes = {part.shape for part in parts.values() if part.shape is not None}
    if len(shapes) > 1:
        got, remedy = ", ".join(map(str, sorted(shapes))), "give all of them the shape (users, items)"
        raise InputError("matrices of different shapes", file=source, got=got, remedy=remedy)
    rated = any(part.values is not None and bool((part.values != 1).any()) for part in parts.values())
    logs: dict[Path, Log] = {}
    for path, split in files.items():
        frame = parts[path].frame
        if rated and parts[path].values is not None:
            frame = frame.with_columns(rating=pl.Series(parts[path].values, dtype=pl.Float64))
        logs[path] = Log(frame if split is None else frame.with_columns(split=pl.lit(split)))
    first, catalogues = next(iter(files)), {}
    for kind, size in zip(("user", "item"), next(iter(shapes)) if shapes else (), strict=False):
        ids = pl.Series(f"{kind}_id", np.arange(size)).cast(pl.String)
        catalogues[kind] = Table(first, ids.to_frame(), np.arange(1, size + 1))
    notes = {}
    if any(stem_and_suffix(path)[1] not in ARRAYS for path in files) and None in files.values():
        notes["pairs in a text file, whose order is not used; for lines in order of time: format sequences"] = sum(
            len(log.frame) for log in logs.values()
        )
    return with_neighbours(
        source, options, logs, users=catalogues.get("user"), items=catalogues.get("item"), notes=notes
    )


def _files(source: Path, options: ReadOptions) -> dict[Path, str | None]:
    if source.is_file() or options.interactions is not None:
        path = source if source.is_file() else named_file(source, str(options.interactions), "interactions")
        return {path: None}
    splits = find_splits(source, ARRAYS)
    if splits.keys() >= {"train", "test"}:
        return {path: split for split, path in splits.items()}
    arrays = [
        path
        for path in listing(source)
        if stem_and_suffix(path)[1] in ARRAYS and stem_and_suffix(path)[0].lower() in NAMES
    ]
    if len(arrays) == 1 and not splits:
        return {arrays[0]: None}
    if arrays or splits:
        got, remedy = names_of([*arrays, *splits.values()]), "give the file itself, or add the missing part"
        raise InputError("pairs", file=source, expected="one file, or train and test", got=got, remedy=remedy)
    return log_files(source, options, NAMES)


def _read(path: Path, options: ReadOptions) -> _Pairs:
    suffix = stem_and_suffix(path)[1]
    if suffix == ".npy":
        return _Pairs(_array(path))
    if suffix == ".npz":
        return _matrix(path)
    return _Pairs(_text(path, options))


def _array(path: Path) -> pl.DataFrame:
    array = load_array(path)
    if array.ndim != 2 or 2 not in array.shape or array.dtype.kind not in "iuU":
        expected, got = "whole numbers or text, shape (2, n) or (n, 2)", f"{array.dtype}, shape {array.shape}"
        remedy = "is it a file of features, or does it hold ratings too? write train.csv: user_id,item_id,rating"
        raise InputError("pairs", file=path, expected=expected, got=got, remedy=remedy)
    if array.shape == (2, 2):
        remedy = "write the pairs as text: user item"
        raise InputError("pairs", file=path, got="shape (2, 2): are the pairs its rows or its columns?", remedy=remedy)
    user, item = array if array.shape[0] == 2 else array.T
    columns = {"user_id": np.ascontiguousarray(user), "item_id": np.ascontiguousarray(item)}
    frame = pl.DataFrame({name: pl.Series(values.tolist()).cast(pl.String) for name, values in columns.items()})
    if not len(frame):
        raise InputError("no pairs", file=path, expected="at least one", got="none", remedy="check the export")
    return frame.with_columns(pl.col("user_id", "item_id").str.strip_chars(), line=pl.int_range(pl.len()))


def _matrix(path: Path) -> _Pairs:
    remedy = "save it with scipy.sparse.save_npz"
    try:
        matrix = sp.coo_array(sp.load_npz(path))
    except Exception as error:  # zip, numpy and scipy each have their own
        got = f"{type(error).__name__}: {error}"[:200]
        raise InputError("not a sparse matrix", file=path, expected="a .npz of scipy", got=got, remedy=remedy) from None
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub" or not np.isfinite(matrix.data).all():
        got = f"shape {matrix.shape}, {matrix.dtype}"
        raise InputError("the matrix", file=path, expected="(users, items), finite numbers", got=got, remedy=remedy)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if not matrix.nnz:
        raise InputError("the matrix is empty", file=path, expected="at least one value", got="none", remedy=remedy)
    num_users, num_items = (int(size) for size in matrix.shape or ())
    user, item = (pl.Series(axis).cast(pl.String) for axis in (matrix.row, matrix.col))
    frame = pl.DataFrame({"user_id": user, "item_id": item}).with_columns(line=pl.int_range(pl.len()))
    return _Pairs(frame, (num_users, num_items), np.asarray(matrix.data, dtype=np.float64))


def _text(path: Path, options: ReadOptions) -> pl.DataFrame:
    separator = options.form.separator
    text = pl.Series("line", text_lines(path, options)).str.strip_chars()
    lines = pl.DataFrame([text]).with_row_index("number", offset=1).filter(pl.col("line") != "")
    parts = lines["line"]
    parts = parts.str.replace_all(separator if separator and separator.strip() else ",", " ", literal=True)
    tokens = parts.str.extract_all(r"\S+")
    table = Table(path, lines, lines["number"].to_numpy())
    expected, got = "two ids: user item", lines["line"].str.slice(0, 80)
    remedy = "user item item ...: format sequences or lists; user item rating: format csv with header=..."
    table.refuse(tokens.list.len() != 2, "unparsable row", expected=expected, got=got, remedy=remedy)
    frame = pl.DataFrame({"user_id": tokens.list.first(), "item_id": tokens.list.last(), "line": table.line})
    header = frame.row(0)[0].lower() in ("user", "user_id", "userid", "uid")
    return frame[1:] if header and len(frame) > 1 else frame
