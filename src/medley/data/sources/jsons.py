"""JSON tables: an array of objects, or one object per line; keys are columns."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.data.sources.text import Content, TextForm
from medley.data.sources.values import scalar_text
from medley.errors import InputError

SUFFIXES = (".json", ".jsonl", ".ndjson")
REMEDY = 'write an array of objects, [{"user_id": ...}, ...], or one object per line; with pandas: orient="records"'


def read_json_table(path: Path, data: bytes, form: TextForm) -> Content:
    """Reads a JSON table in UTF-8; the lines of an array are the numbers of its objects.

    Raises:
        InputError: the file is not JSON, or an element is not an object.
    """
    text, skipped = data.decode(), Counter[str]()
    try:
        document = json.loads(text)
        records = document if isinstance(document, list) else [document]
        numbered = list(enumerate(records, start=1))
        if isinstance(document, dict) and document and all(isinstance(each, dict | list) for each in document.values()):
            raise InputError("the table", file=path, expected="objects, one per row", got="an object", remedy=REMEDY)
    except RecursionError:
        raise InputError("not valid JSON", file=path, got="too many brackets", remedy=REMEDY) from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        if text.lstrip().startswith("["):
            raise InputError("not valid JSON", file=path, got=str(error), remedy="write the file again") from None
        numbered = _lines(path, text, form, skipped)
    rows, lines = [], []
    for line, record in numbered:
        if not isinstance(record, dict):
            error = InputError(
                "unparsable row", file=path, row=line, expected="an object", got=repr(record)[:80], remedy=REMEDY
            )
            if form.on_error == "refuse":
                raise error
            skipped["rows that are not an object"] += 1
        elif record:
            rows.append(record)
            lines.append(line)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len({name.strip() for name in names}) < len(names):
        raise InputError("columns must have distinct names", file=path, got=", ".join(names), remedy="rename one")
    series = [_series(name.strip(), [row.get(name) for row in rows]) for name in names]
    return Content(pl.DataFrame(series), np.array(lines, dtype=np.int64), {}, dict(skipped))


def _lines(path: Path, text: str, form: TextForm, skipped: Counter[str]) -> list[tuple[int, Any]]:
    numbered = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            numbered.append((line, json.loads(content)))
        except (ValueError, RecursionError) as error:
            if form.on_error == "refuse":
                remedy = "write one object per line, or one array"
                raise InputError("not valid JSON", file=path, row=line, got=str(error), remedy=remedy) from None
            skipped["lines that are not JSON"] += 1
    return numbered


def _series(name: str, values: list[Any]) -> pl.Series:
    """Values of one kind keep their type; numbers, text and truth values together become text."""
    kinds = set(map(type, values)) - {type(None)}
    dtype = {frozenset({bool}): pl.Boolean, frozenset({int}): pl.Int64, frozenset({float}): pl.Float64}.get(
        frozenset(kinds)
    )
    if kinds == {int, float} and all(abs(value) <= 2**53 for value in values if isinstance(value, int)):
        dtype = pl.Float64
    if dtype is not None:
        try:
            return pl.Series(
                name, [value and float(value) if dtype == pl.Float64 else value for value in values], dtype=dtype
            )
        except (OverflowError, TypeError, pl.exceptions.PolarsError):  # a whole number beyond 64 bits
            pass
    if kinds & {dict, list}:
        return pl.Series(name, values, dtype=pl.Object)
    text = [value if value is None or value == "" else scalar_text(value) for value in values]
    return pl.Series(name, [value or None for value in text], dtype=pl.String)
