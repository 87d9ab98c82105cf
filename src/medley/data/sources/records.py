"""JSON: an array of objects, or one object per line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.data.sources.tables import Table, read_utf8
from medley.errors import InputError

REMEDY = 'write [{"user_id": "ann", "item_id": "b17"}, ...], or one object per line'


def read_records(path: Path) -> Table:
    """Reads a table from JSON; rows are the lines, or the objects of an array from 1.

    Raises:
        InputError: not JSON, not objects, or values of two kinds in one column.
    """
    text = read_utf8(path).decode("utf-8-sig")
    if text.lstrip().startswith("["):
        documents = _parsed(path, None, text)
        rows = list(range(1, len(documents) + 1))
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        try:
            documents = [_parsed(path, number, line) for number, line in lines]
        except InputError:
            whole = _whole(text)
            if whole is None:
                raise
            documents, lines = [whole], [(1, text)]
        rows = [number for number, _ in lines]
    for row, document in zip(rows, documents, strict=True):
        if not isinstance(document, dict):
            got = type(document).__name__
            raise InputError("a record", file=path, row=row, expected="an object", got=got, remedy=REMEDY)
    if len(documents) == 1 and all(isinstance(value, list | dict) for value in documents[0].values()):
        got, remedy = "one object with lists", f"{REMEDY}; user -> items is format mmssl"
        raise InputError("the records", file=path, expected="a list of objects", got=got, remedy=remedy)
    names = list(dict.fromkeys(name for document in documents for name in document))
    series = [_column(path, name, [document.get(name) for document in documents], rows) for name in names]
    if not documents or not names:
        remedy = "check the export"
        raise InputError("the table is empty", file=path, expected="at least one row", got="none", remedy=remedy)
    return Table(path, pl.DataFrame(series), np.array(rows, dtype=np.int64))


def _parsed(path: Path, row: int | None, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("not valid JSON", file=path, row=row, got=str(error)[:200], remedy=REMEDY) from None


def _whole(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _column(path: Path, name: str, values: list[Any], rows: list[int]) -> pl.Series:
    """Numbers stay numbers where all values are numbers; anything mixed with text becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        if any(value is not None and abs(value) >= 2**63 for value in values):
            return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds <= {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    if kinds <= {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds <= {str, int, float, bool}:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    if kinds <= {list} and all(isinstance(each, int | float) for value in values if value for each in value):
        return pl.Series(name, [None if value is None else [float(v) for v in value] for value in values])
    nested = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(name, nested, dtype=pl.String)
