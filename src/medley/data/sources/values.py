"""Columns of any type -> ids, numbers, times or text. Each function marks the rows that it cannot read.

Readers of parquet, pandas and Spark bring every type that polars has. What a type means is decided here, once: whole
floats and decimals are whole numbers, categories are their text, and a type without a clear meaning is refused.
"""

import base64
import datetime
import decimal
import json
import math
from typing import Any, NamedTuple

import polars as pl

LARGEST = 2.0**63  # floats from here on do not fit int64
EXACT: dict[Any, float] = {pl.Float64: 2.0**53, pl.Float32: 2.0**24}  # larger whole numbers are rounded in this type
EXACT_HALF = 2.0**11
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31 in days since 1970
TICKS = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}  # per second
DAY = 86_400  # seconds


class Parsed(NamedTuple):
    """A column after reading."""

    values: pl.Series  # (n,), anything in rows that are bad
    bad: pl.Series  # (n,) bool, rows that cannot be read
    shown: pl.Series  # (n,) what an error shows
    expected: str = ""
    remedy: str = "correct the row or remove it"


class WrongType(Exception):
    """No row of the column can be read, because of its type."""

    def __init__(self, expected: str, remedy: str):
        super().__init__(expected)
        self.expected, self.remedy = expected, remedy


def parse_ids(raw: pl.Series) -> list[Parsed]:
    """Returns ids as text without white space around them; each element of the list is one check, in order."""
    if raw.dtype == pl.Object:
        raw = _objects(raw)
    checks, dtype = [], raw.dtype
    if dtype.is_float():
        limit = EXACT.get(type(dtype), EXACT_HALF)
        known = raw.cast(pl.Float64)
        whole = known.is_null() | ((known == known.floor()) & (known.abs() <= limit)).fill_null(False)
        remedy = f"store the ids as text (a {str(dtype).lower()} is exact up to {limit:,.0f})"
        checks.append(Parsed(raw, ~whole, raw, "text or a whole number", remedy))
        raw = known.set(~whole, None).cast(pl.Int64)
    elif dtype == pl.Duration or not (
        dtype.is_integer() or dtype.is_decimal() or dtype.is_temporal() or dtype in TEXT_LIKE
    ):
        raise WrongType("one id per row", "store text")
    text, outside = _text_of(raw)
    if outside.any():
        checks.append(Parsed(text, outside, raw.to_physical(), "a day in the years 1 to 9999", "store the ids as text"))
    text = text.str.strip_chars()
    if dtype == pl.String and written_as_floats(text):
        text = text.str.head(-2)
    if dtype.is_decimal():  # databases export whole numbers so
        text = text.str.replace(r"\.0+$", "")
        fraction = text.str.contains(".", literal=True).fill_null(False)
        checks.append(Parsed(text, fraction, text, "text or a whole number", "store the ids as text"))
    empty = text.is_null() | (text == "").fill_null(False)
    if outside.any():
        empty &= ~outside
    return [*checks, Parsed(text, empty, text, "an id", "give the row an id or remove it")]


def written_as_floats(ids: pl.Series) -> bool:
    """Recognises whole numbers that pandas wrote as 1.0, 2.0, ...: all ids of the column end so."""
    start = ids.head(100).drop_nulls()
    pattern = r"^-?\d+\.0$"
    return bool(len(start)) and bool(start.str.contains(pattern).all()) and bool(ids.str.contains(pattern).all())


def parse_numbers(raw: pl.Series, decimal: str = ".") -> Parsed:
    """Returns float64, null where the field is empty; anything but a finite number is bad."""
    if raw.dtype == pl.Object:
        raw = _objects(raw)
    raw = plain(raw)
    if not (raw.dtype.is_numeric() or raw.dtype in (pl.String, pl.Boolean, pl.Null)):
        raise WrongType("numbers", "store numbers")
    text, remedy = raw, Parsed._field_defaults["remedy"]
    if raw.dtype == pl.String:
        text = raw.str.strip_chars()
        text = text.set((text == "").fill_null(False), None)
        if decimal == ",":
            text = text.set(text.str.contains(".", literal=True).fill_null(False), "not a number")
            text = text.str.replace(",", ".", literal=True)
    values = text.cast(pl.Float64, strict=False)
    bad = text.is_not_null() & ~values.is_finite().fill_null(False)
    if raw.dtype == pl.String and bad.any():
        odd = raw.filter(bad)
        if decimal != "," and odd[:1].str.contains(r"^\s*[-+]?\d+,\d+\s*$").all():
            remedy = 'if the comma is a decimal mark: decimal=","'
        elif decimal == ",":
            remedy = "write the decimal mark as a comma, or leave out decimal"
    return Parsed(values, bad, raw, "a finite number", remedy)


def parse_texts(raw: pl.Series) -> tuple[pl.Series, int]:
    """Returns metadata that JSON and a terminal can show, and how many values were lost.

    Numbers and truth values stay; dates, times and durations become text, lists and records become JSON. Binary columns
    that are not text are lost, and so are dates outside the years 1 to 9999, NaN and infinity.
    """
    known, dtype = int(raw.is_not_null().sum()), raw.dtype
    if dtype.is_float():
        values = raw.cast(pl.Float64).set(~raw.is_finite().fill_null(True), None)
        return values, int(raw.is_infinite().sum())
    if dtype == pl.Boolean or (dtype.is_integer() and dtype not in WIDE):
        return raw, 0
    if dtype.is_decimal():
        values = raw.cast(pl.Float64)
        whole = ((values == values.floor()) & (values.abs() <= EXACT[pl.Float64])).all()
        return values.cast(pl.Int64) if whole else values, 0
    if dtype == pl.Binary:
        texts = [_utf8(value) for value in raw.to_list()]
        values = pl.Series(raw.name, texts, dtype=pl.String)
    elif dtype.is_integer() or dtype in TEXT_LIKE or dtype.is_temporal():
        values, _ = _text_of(raw)
    else:
        values = pl.Series(raw.name, [_json(value) for value in _objects_of(raw)], dtype=pl.String)
    return values, known - int(values.is_not_null().sum())


def titles(values: pl.Series) -> pl.Series:
    """Returns metadata as text: 1984 and 1984.0 are the title 1984."""
    if values.dtype == pl.Float64:
        whole = ((values == values.floor()) & (values.abs() < EXACT[pl.Float64])).fill_null(True)
        values = values.cast(pl.Int64) if whole.all() else values
    return values.cast(pl.String)


def plain(raw: pl.Series) -> pl.Series:
    """Categories as text: a cast to numbers would give their codes."""
    return raw.cast(pl.String) if raw.dtype in (pl.Categorical, pl.Enum) else raw


TEXT_LIKE = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
WIDE = tuple(getattr(pl, name) for name in ("Int128", "UInt128") if hasattr(pl, name))  # parquet of others lacks them


def _text_of(raw: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Returns numbers, text and moments as text, and the rows whose moment is outside of the years 1 to 9999."""
    outside = pl.repeat(False, len(raw), eager=True)
    if raw.dtype == pl.Duration:
        seconds = raw.to_physical() / TICKS[raw.dtype.time_unit]  # type: ignore[attr-defined]
        known = [None if value is None else str(datetime.timedelta(seconds=value)) for value in _bounded(seconds)]
        return pl.Series(raw.name, known, dtype=pl.String), outside
    if raw.dtype in (pl.Date, pl.Datetime):
        physical = raw.to_physical()
        day = physical.cast(pl.Int64) if raw.dtype == pl.Date else physical // (TICKS[raw.dtype.time_unit] * DAY)  # type: ignore[attr-defined]
        outside = ~day.is_between(FIRST_DAY + 1, LAST_DAY - 1).fill_null(True)  # one day apart: a zone moves the date
        if outside.any():
            raw = physical.set(outside, None).cast(raw.dtype)
    return raw.cast(pl.String), outside


def _bounded(seconds: pl.Series) -> list[float | None]:
    largest = datetime.timedelta.max.total_seconds() - DAY
    return seconds.set((seconds.abs() >= largest).fill_null(False), None).to_list()


def _objects_of(raw: pl.Series) -> list[Any]:
    try:
        return raw.to_list()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OverflowError, ValueError):
        return [None] * len(raw)  # counted as lost


def _objects(raw: pl.Series) -> pl.Series:
    """Python objects of a JSON file: text, numbers and truth values as text, others as a list, which no id can be."""
    values = raw.to_list()
    odd = [value for value in values if isinstance(value, list | tuple | dict | bytes)]
    if odd:
        raise WrongType("one value per row", "store text or numbers")
    return pl.Series(raw.name, [None if value is None else scalar_text(value) for value in values], dtype=pl.String)


def scalar_text(value: Any) -> str:
    """Returns text; whole numbers stay whole and truth values are those of JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(_plain_json(value), ensure_ascii=False, default=str)


def _plain_json(value: Any) -> Any:
    """Nested values as JSON has them."""
    if isinstance(value, pl.Series):
        value = value.to_list()
    if isinstance(value, dict):
        return {str(key): _plain_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_json(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        text = _utf8(value)
        return base64.b64encode(value).decode() if text is None else text
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
