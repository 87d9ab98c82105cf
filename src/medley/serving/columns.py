"""Columns of the items, as filters compare them.

number     compared as numbers; also a text column where nearly every value is a plain number (`1995`); what is not a
           number there (`unknown`) has no place in an order, but can be asked for as text
text       one value per cell
texts      several values per cell: a list, or text with a separator (`Action|Comedy`); a condition holds if one of the
           values, or the whole cell, fits
boolean    true or false
time       a date or a moment; conditions give it as ISO 8601 text

Shapes: n items of a table, t values in all.
"""

import datetime
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import polars as pl

from medley.errors import InputError

Kind = Literal["number", "text", "texts", "boolean", "time"]
Scalar = str | int | float | bool

SEPARATORS = ("|", ";", ",")
MIN_SHARE = 0.2  # of the cells that hold the separator: it is part of names (`Ladies, Accessories`) below
MIN_USES = 3  # of each value, on average: 7 for the tags of Last.fm, 1.3 for the parts of sentences
MIN_CELLS_PER_WORD = 4  # distinct cells per distinct word: 11 for genres of MovieLens, 2 for colours, 0.6 for titles
MIN_NUMBERS = 0.95  # share of plain numbers in a text column of numbers
PLAIN_NUMBER = r"^-?(0|[1-9]\d{0,14})(\.\d+)?$"
EXPECTED: dict[Kind, str] = {
    "number": "a number",
    "text": "text",
    "texts": "text",
    "boolean": "true or false",
    "time": "a time (ISO 8601)",
}


class Test(Protocol):
    """What a condition asks; see `medley.serving.filters.Condition`."""

    @property
    def eq(self) -> Any: ...
    @property
    def any_of(self) -> tuple[Any, ...] | None: ...
    @property
    def gte(self) -> Any: ...
    @property
    def lte(self) -> Any: ...


class Read(NamedTuple):
    """The values of a column, ready to be compared."""

    cell: pl.Series  # (n,)
    number: pl.Series | None  # (n,) of a number column
    value: pl.Series | None  # (t,) of a column of texts
    row: np.ndarray | None  # (t,) of each value


@dataclass(frozen=True)
class Column:
    """The type of a column."""

    name: str
    kind: Kind
    dtype: pl.DataType  # of the cells
    separator: str | None = None  # of the values of a cell of text

    def read(self, cells: pl.Series) -> Read:
        """Prepares cells (n,) for comparisons; text that is empty is missing."""
        if self.kind == "texts" and isinstance(self.dtype, pl.List):
            value, row = _exploded(cells.cast(pl.List(pl.String)))
            return Read(cells, None, value, row)
        if cells.dtype == pl.String:
            cells = cells.set((cells == "").fill_null(False), None)
        if self.kind == "texts":
            value, row = _exploded(cells.str.split(self.separator or ""))
            return Read(cells, None, value.str.strip_chars(), row)
        if self.kind != "number":
            return Read(cells, None, None, None)
        number = _plain_numbers(cells) if cells.dtype == pl.String else cells
        return Read(cells, number.fill_nan(None) if number.dtype.is_float() else number, None, None)

    def stored(self, value: Any) -> Any:
        """Returns one new cell as `series` takes it.

        Raises:
            InputError: a value of a wrong type.
        """
        if value is None:
            return None
        if self.kind == "texts" and isinstance(value, list | tuple):
            texts = [self._text(each, value) for each in value]
            return texts if isinstance(self.dtype, pl.List) else (self.separator or "").join(texts)
        if self.kind == "texts" and isinstance(self.dtype, pl.List):
            return [self._text(value, value)]
        if self.kind in ("text", "texts"):
            return self._text(value, value)
        converted = self._converted(value)
        if self.dtype == pl.String:
            return str(value)
        if self.dtype.is_integer() and converted != int(converted):
            raise self._refused(value, expected="a whole number")
        return converted

    def series(self, cells: list) -> pl.Series:
        """Returns new cells (n,) as a series.

        Raises:
            InputError: a number that the column cannot hold.
        """
        if isinstance(self.dtype, pl.List):
            return pl.Series(self.name, cells, dtype=pl.List(pl.String))
        try:
            return pl.Series(self.name, cells, dtype=self.dtype)
        except (pl.exceptions.PolarsError, OverflowError, TypeError):
            raise self._refused(cells, expected=f"values of the type {self.dtype}") from None

    def check(self, test: Test) -> None:
        """Refuses a condition whose values do not fit the column.

        Raises:
            InputError: a value of a wrong type, or a range over values without an order.
        """
        bounds = [bound for bound in (test.gte, test.lte) if bound is not None]
        if bounds and self.kind in ("texts", "boolean"):
            expected = "eq or in: its values have no order"
            raise InputError(f"filter on {self.name!r}", expected=expected, got="gte or lte")
        if self.kind == "number" and any(isinstance(bound, str) for bound in bounds):
            raise self._refused(next(bound for bound in bounds if isinstance(bound, str)))
        for value in (*bounds, *(() if test.eq is None else (test.eq,)), *(test.any_of or ())):
            self._converted(value)

    def holds(self, test: Test, read: Read) -> np.ndarray:
        """Returns (n,) bool: the cells for which a checked condition holds."""
        if test.gte is not None or test.lte is not None:
            return self._in_range(test, read)
        wanted = [self._converted(value) for value in ((test.eq,) if test.any_of is None else test.any_of)]
        if self.kind == "number" and read.number is not None:
            texts = [value for value in wanted if isinstance(value, str)]  # only a text column takes them
            holds = _is_in(read.number, [value for value in wanted if not isinstance(value, str)])
            return holds | _is_in(read.cell, texts) if texts else holds
        if self.kind in ("boolean", "time"):
            return _is_in(read.cell, wanted)
        texts = pl.Series(wanted, dtype=pl.String)
        if read.value is None or read.row is None:
            return read.cell.is_in(texts.implode()).fill_null(False).to_numpy()
        holds = np.zeros(len(read.cell), dtype=bool)
        holds[read.row[read.value.is_in(texts.implode()).fill_null(False).to_numpy()]] = True
        if read.cell.dtype == pl.String:
            holds |= read.cell.is_in(texts.implode()).fill_null(False).to_numpy()
        return holds

    def _in_range(self, test: Test, read: Read) -> np.ndarray:
        cells = read.cell if read.number is None else read.number
        holds = cells.is_not_null()
        if test.gte is not None:
            holds &= cells >= self._bound(test.gte)
        if test.lte is not None:
            holds &= cells <= self._bound(test.lte)
        return holds.fill_null(False).to_numpy()

    def _bound(self, value: Any) -> Any:
        bound = self._converted(value)
        return float(bound) if isinstance(bound, int) and abs(bound) >= 2**63 else bound

    def _converted(self, value: Any) -> Any:
        """Returns a value of a condition as the cells are compared with it."""
        if self.kind == "boolean":
            if not isinstance(value, bool):
                raise self._refused(value)
            return value
        if self.kind == "time":
            return self._moment(value)
        if self.kind != "number":
            return self._text(value, value)
        if isinstance(value, str) and self.dtype == pl.String:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**1000:
            raise self._refused(value)  # infinite or NaN, too
        return value

    def _text(self, value: Any, whole: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self._refused(whole)
        return str(value)

    def _moment(self, value: Any) -> Any:
        try:
            if isinstance(value, str):
                value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise self._refused(value) from None
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            value = datetime.datetime(value.year, value.month, value.day)
        if not isinstance(value, datetime.datetime):
            raise self._refused(value)
        if self.dtype == pl.Date:
            return value.date()
        zone = getattr(self.dtype, "time_zone", None)
        utc = datetime.UTC
        moment = value.replace(tzinfo=utc) if value.tzinfo is None else value.astimezone(utc)
        return moment if zone else moment.replace(tzinfo=None)

    def _refused(self, value: Any, *, expected: str | None = None) -> InputError:
        return InputError(f"value of {self.name!r}", expected=expected or EXPECTED[self.kind], got=f"{value!r:.80}")


def columns_of(items: pl.DataFrame, separators: Mapping[str, str | None]) -> dict[str, Column]:
    """Returns name -> type of the columns that can be filtered: not those of bytes or records.

    Args:
        items: one row per item.
        separators: text column -> separator of its values, None for one value; where absent, the data decide.

    Raises:
        InputError: a separator for something that is not a text column.
    """
    for name in separators:
        if name not in items.columns or not _is_text(items[name].dtype):
            texts = [each for each in items.columns if _is_text(items[each].dtype)]
            expected = f"a text column: {', '.join(texts) or 'there is none'}"
            raise InputError("column with a separator", expected=expected, got=repr(name))
    found = {}
    for name in items.columns:
        cells, dtype = items[name], items[name].dtype
        if _is_text(dtype):
            cells = cells.cast(pl.String)
            separator = separators[name] if name in separators else separator_of(cells)
            kind: Kind = "texts" if separator is not None else "number" if _holds_numbers(cells) else "text"
            found[name] = Column(name, kind, pl.String(), separator)
        elif dtype == pl.Boolean:
            found[name] = Column(name, "boolean", dtype)
        elif dtype.is_numeric():
            found[name] = Column(name, "number", dtype)
        elif dtype == pl.Date or dtype == pl.Datetime:
            found[name] = Column(name, "time", dtype)
        elif isinstance(dtype, pl.List) and (_is_text(dtype.inner) or dtype.inner.is_integer()):  # type: ignore[union-attr]
            found[name] = Column(name, "texts", dtype)
    return found


def separator_of(cells: pl.Series) -> str | None:
    """Returns what separates the values of a text column (n,), None for one value per cell.

    A separator is found where the same values come again and again in different cells: `Action|Comedy`, `Action Drama`.
    Titles, sentences and names of colours are not split.
    """
    known = cells.drop_nulls()
    known = known.filter(known != "")
    for separator in SEPARATORS:
        share = known.str.contains(separator, literal=True).mean() or 0.0
        values = known.str.split(separator).explode() if share >= MIN_SHARE else known.head(0)  # type: ignore[operator]
        if len(values) >= MIN_USES * max(1, values.str.strip_chars().n_unique()):
            return separator
    if not known.str.contains(" ", literal=True).any():
        return None
    words = known.str.split(" ").explode().n_unique()
    return " " if known.n_unique() >= MIN_CELLS_PER_WORD * words else None


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns advice that names the column that was probably meant, or all columns."""
    names = list(names)
    similar = difflib.get_close_matches(name, names, n=1)
    return f"{f'did you mean {similar[0]}? ' if similar else ''}the columns are {', '.join(names) or 'none'}"


def _is_text(dtype: Any) -> bool:
    return dtype == pl.String or dtype == pl.Categorical or dtype == pl.Enum


def _plain_numbers(cells: pl.Series) -> pl.Series:
    """Returns (n,) numbers of a text column, null where the text is not a plain number."""
    return cells.set(~cells.str.contains(PLAIN_NUMBER), None).cast(pl.Float64)


def _holds_numbers(cells: pl.Series) -> bool:
    known = cells.drop_nulls()
    known = known.filter(known != "")
    return bool(len(known)) and bool(known.str.contains(PLAIN_NUMBER).sum() >= MIN_NUMBERS * len(known))


def _exploded(lists: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Returns the values (t,) of lists (n,), and the row of each."""
    sizes = lists.list.len().fill_null(0).to_numpy()
    value = lists.drop_nulls()
    value = value.filter(value.list.len() > 0).explode()
    return value, np.repeat(np.arange(len(lists)), sizes)


def _is_in(cells: pl.Series, wanted: list) -> np.ndarray:
    """Returns (n,) bool: the cells that are one of the wanted values."""
    if cells.dtype.is_integer():
        whole = [int(value) for value in wanted if value == int(value) and abs(value) < 2**127]
        values = pl.Series(whole, dtype=pl.Int128).cast(cells.dtype, strict=False).drop_nulls()
    elif cells.dtype.is_numeric():
        values = pl.Series([float(value) for value in wanted], dtype=pl.Float64).cast(cells.dtype)
    else:
        values = pl.Series(wanted, dtype=cells.dtype)
    return cells.is_in(values.implode()).fill_null(False).to_numpy()
