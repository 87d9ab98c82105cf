"""Tables from files or from memory whose rows know their line, so that an error can name it.

Text is UTF-8 (a byte order mark is fine). Every field of a text table is text, an empty one is null; blank lines are
skipped; ids lose surrounding white space. Lines count from 1, the header included; rows of other tables from 1.
"""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from medley.data.manifest import SPLITS
from medley.data.parquet import read_parquet
from medley.data.sources.text import TextForm
from medley.errors import InputError

Source = Path | str  # a file, or what errors call something in memory, such as `interactions`

SEPARATORS = {".csv": ",", ".tsv": "\t"}
COLUMN_NAMES = {  # what -> its names in the public formats, the first match wins
    "user": ("user_id", "userID", "userId", "user"),
    "item": ("item_id", "itemID", "itemId", "item"),
    "timestamp": ("timestamp", "time"),
    "rating": ("rating",),
}
LARGEST = 2.0**63  # floats from here on do not fit int64
X_LABELS = {str(label): split for label, split in enumerate(SPLITS)}  # MMRec's x_label


class Columns(NamedTuple):
    """Names of the columns to read; None means the usual names, see COLUMN_NAMES."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None


class Table(NamedTuple):
    """A table, with the line of each row."""

    path: Source
    frame: pl.DataFrame  # n rows
    line: np.ndarray  # (n,) line of a text file, else number of the row; from 1
    skipped: int = 0  # rows that could not be read
    notes: dict[str, int] = {}  # noqa: RUF012 (never written to)

    def refuse(self, bad: pl.Series, what: str, *, expected: object, got: pl.Series, remedy: str) -> None:
        """Raises an InputError about the first row that is `bad` (n,), if any row is."""
        first = bad.arg_max() if bad.any() else None
        if first is not None:
            row, value = int(self.line[first]), got[first]
            shown = "nothing" if value in (None, "") else repr(value)
            raise InputError(what, file=self.path, row=row, expected=expected, got=shown, remedy=remedy)

    def column(self, what: str, name: str | None) -> str:
        """Returns the name of the user, item, timestamp or rating column; by default the first usual name in the table.

        Raises:
            InputError: the column is absent.
        """
        candidates = COLUMN_NAMES[what] if name is None else (name,)
        for candidate in candidates:
            if candidate in self.frame.columns:
                return candidate
        raise InputError(
            f"no {what} column",
            file=self.path,
            expected=" or ".join(map(repr, candidates)),
            got=f"columns {', '.join(map(repr, self.frame.columns))}",
            remedy=f"name the column: {what}_column=...",
        )

    def optional_column(self, what: str, name: str | None) -> str | None:
        """Like `column`, but returns None if no name is asked for and the table has no usual name."""
        absent = name is None and not set(COLUMN_NAMES[what]) & set(self.frame.columns)
        return None if absent else self.column(what, name)

    def ids(self, column: str) -> pl.Series:
        """Returns (n,) ids as text without surrounding white space; an empty id is an InputError."""
        raw = self.frame[column]
        if raw.dtype.is_float():  # pandas makes whole numbers float where one is missing
            whole = raw.is_null() | ((raw == raw.floor()) & (raw.abs() < LARGEST)).fill_null(False)
            self.refuse(~whole, column, expected="text or a whole number", got=raw, remedy="store the ids as text")
            raw = raw.cast(pl.Int64)
        elif raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
            raise InputError(column, file=self.path, expected="one id per row", got=raw.dtype, remedy="store text")
        text = raw.cast(pl.String).str.strip_chars()
        if raw.dtype.is_decimal():  # databases export whole numbers so
            text = text.str.replace(r"\.0+$", "")
            fraction = text.str.contains(".", literal=True).fill_null(False)
            self.refuse(fraction, column, expected="text or a whole number", got=text, remedy="store the ids as text")
        empty = text.is_null() | (text == "").fill_null(False)
        self.refuse(empty, column, expected="an id", got=text, remedy="give the row an id or remove it")
        return text

    def numbers(self, column: str) -> pl.Series:
        """Returns (n,) float64, null where the field is empty; anything but a finite number is an InputError."""
        raw = _plain(self.frame[column])
        if not (raw.dtype.is_numeric() or raw.dtype in (pl.String, pl.Boolean, pl.Null)):
            raise InputError(column, file=self.path, expected="numbers", got=raw.dtype, remedy="store numbers")
        text = raw.cast(pl.String).str.strip_chars() if raw.dtype == pl.String else raw
        values = text.cast(pl.Float64, strict=False)
        bad = text.is_not_null() & ~values.is_finite().fill_null(False)
        self.refuse(bad, column, expected="a finite number", got=raw, remedy="correct the row or remove it")
        return values

    def times(self, column: str) -> pl.Series:
        """Returns (n,) seconds since 1970 (UTC), null where empty, int64 if all are whole.

        A number stays as it is; a date or time with a zone is converted to UTC, without a zone it is UTC.
        """
        raw = _plain(self.frame[column])
        known = raw.drop_nulls()
        if (
            raw.dtype == pl.String
            and len(known)
            and known[:1].str.strip_chars().cast(pl.Float64, strict=False)[0] is None
        ):
            moment = raw.str.strip_chars().str.to_datetime(strict=False, time_zone="UTC")
            bad = raw.is_not_null() & moment.is_null()
            remedy = "write 2024-05-31T12:00:00 or seconds"
            self.refuse(bad, column, expected="a time (ISO 8601) or a number", got=raw, remedy=remedy)
            values = moment.dt.epoch("us") / 1e6
        elif raw.dtype == pl.Date or raw.dtype == pl.Datetime:
            values = raw.cast(pl.Datetime("us")).dt.epoch("us") / 1e6
        else:
            values = self.numbers(column)
        whole = (values == values.floor()) & (values.abs() < LARGEST)
        return values.cast(pl.Int64) if whole.all() else values


def _plain(raw: pl.Series) -> pl.Series:
    """Categories as text: a cast to numbers would give their codes."""
    return raw.cast(pl.String) if raw.dtype in (pl.Categorical, pl.Enum) else raw


def read_table(path: Path, form: TextForm = TextForm()) -> Table:
    """Reads a .csv, .tsv or .parquet file, or any text table.

    Raises:
        InputError: the file is empty, not UTF-8, has a ragged row, or is not parquet.
    """
    if path.suffix.lower() == ".parquet":
        table = _read_parquet(path)
    else:
        separator = form.separator or SEPARATORS.get(path.suffix.lower(), ",")
        table = _read_text(path, separator, form.quote, form.header)
    if not len(table.frame):
        raise InputError(
            "the table is empty", file=path, expected="at least one row", got="none", remedy="check the export"
        )
    return table


def _read_parquet(path: Path) -> Table:
    try:
        frame = read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        remedy = "write the file again; it may be cut short"
        raise InputError("not a readable parquet file", file=path, got=_first_line(error), remedy=remedy) from None
    return Table(path, frame, np.arange(1, len(frame) + 1))


def _read_text(path: Path, separator: str, quote: str | None, header: bool | tuple[str, ...]) -> Table:
    data = read_utf8(path)
    if isinstance(header, tuple):
        data = separator.join(header).encode() + b"\n" + data
    try:
        frame = pl.read_csv(data, separator=separator, quote_char=quote, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        _record_lines(path, data, separator, quote)
        raise _unparsable(path, data, _first_line(error)) from None
    names = [name.strip() for name in frame.columns]
    if len(set(names)) < len(names):
        remedy = "rename one of them"
        raise InputError("columns must have distinct names", file=path, row=1, got=", ".join(names), remedy=remedy)
    frame.columns = names
    num_lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if num_lines == len(frame) + 1 and not (len(frame) and frame.to_series(-1).has_nulls()):
        return Table(path, frame, np.arange(2, len(frame) + 2))
    # Blank lines, fields over several lines and short rows (their last field is null): only these need a second look.
    lines = _record_lines(path, data, separator, quote)[1:]
    if len(lines) < len(frame):
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if len(lines) != len(frame):
        raise _unparsable(path, data, f"{len(frame):,} or {len(lines):,} rows, depending on how quotes are read")
    return Table(path, frame, lines)


def _record_lines(path: Path, data: bytes, separator: str, quote: str | None) -> np.ndarray:
    """Returns the line at which each record starts, without blank lines; a ragged row is an InputError."""
    text = io.StringIO(data.decode("utf-8-sig"), newline="\n")
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=separator, quotechar=quote, quoting=quoting, strict=True)
    lines, width, line = [], 0, 1
    try:
        for fields in reader:
            width = width or len(fields)
            if fields and len(fields) != width:
                raise InputError(
                    "unparsable row",
                    file=path,
                    row=line,
                    expected=f"{width} fields as in the header",
                    got=f"{len(fields)}",
                    remedy="correct the row or remove it",
                )
            if fields:
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise _unparsable(path, data, str(error)) from None
    return np.array(lines, dtype=np.int64)


def _unparsable(path: Path, data: bytes, problem: str) -> InputError:
    """Names the first line with an odd number of quotation marks, the most frequent cause."""
    for number, content in enumerate(data.split(b"\n"), start=1):
        if content.count(b'"') % 2:
            got, remedy = repr(content[:80].decode(errors="replace")), "write a quote in a quoted field as two"
            return InputError(
                "unparsable row", file=path, row=number, expected="quotes in pairs", got=got, remedy=remedy
            )
    return InputError("unparsable table", file=path, got=problem, remedy="check quotes and separators")


def read_utf8(path: Path) -> bytes:
    """Returns the bytes of a text file after checking their encoding.

    Raises:
        InputError: the file is unreadable, empty, or not UTF-8; the message names the line and the byte.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("the file cannot be read", file=path, got=error.strerror, remedy="check the path") from None
    if not data.strip():
        raise InputError("the file is empty", file=path, remedy="check the export that should have written it")
    try:
        data.decode()
        offset = data.find(b"\0")
    except UnicodeDecodeError as error:
        offset = error.start
    if offset >= 0:
        encoding = "UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:100] else "LATIN1"
        raise InputError(
            "wrong encoding",
            file=path,
            row=data.count(b"\n", 0, offset) + 1,
            expected="UTF-8",
            got=f"byte 0x{data[offset]:02X} at offset {offset:,}",
            remedy=f"convert it, perhaps with iconv -f {encoding} -t UTF-8 {path.name}",
        )
    return data


def read_log(table: Table, columns: Columns, *, split: str | None = None) -> pl.DataFrame:
    """Reads the interactions of a table.

    Args:
        table: one interaction per row.
        columns: the names of its columns.
        split: the split of the whole table; None reads a column `split` or `x_label` if the table has one.

    Returns:
        user_id, item_id (text), line; timestamp, rating, split if the table has them; trimmed: an id had white space.
    """
    user, item = table.column("user", columns.user), table.column("item", columns.item)
    time = table.optional_column("timestamp", columns.timestamp)
    rating = table.optional_column("rating", columns.rating)
    series = {"user_id": table.ids(user), "item_id": table.ids(item), "line": pl.Series(table.line)}
    series["trimmed"] = _differs(table.frame[user], series["user_id"]) | _differs(table.frame[item], series["item_id"])
    if time is not None:
        series["timestamp"] = table.times(time)
    if rating is not None:
        series["rating"] = table.numbers(rating)
    if split is not None:
        series["split"] = pl.repeat(split, len(table.frame), eager=True)
    elif "split" in table.frame.columns or "x_label" in table.frame.columns:
        series["split"] = _given_split(table)
    return pl.DataFrame(series)


def _differs(raw: pl.Series, text: pl.Series) -> pl.Series:
    return raw != text if raw.dtype == pl.String else pl.repeat(False, len(raw), eager=True)


def _given_split(table: Table) -> pl.Series:
    name = "split" if "split" in table.frame.columns else "x_label"
    raw = table.frame[name].cast(pl.String).str.strip_chars()
    codes = {label: label for label in X_LABELS.values()} if name == "split" else X_LABELS
    split = raw.replace_strict(codes, default=None, return_dtype=pl.String)
    remedy = "correct the row or remove it"
    table.refuse(split.is_null(), name, expected=" or ".join(codes), got=raw, remedy=remedy)
    return split


def read_catalogue(table: Table, columns: Columns, *, kind: str) -> Table:
    """Reads the users or items of a table: `{kind}_id` first, then `title` if a column holds titles, then the rest.

    Raises:
        InputError: an id is missing or occurs twice.
    """
    name = table.column(kind, columns.user if kind == "user" else columns.item)
    ids = table.ids(name).alias(f"{kind}_id")
    again = ~ids.is_first_distinct()
    table.refuse(again, name, expected="distinct ids", got=ids, remedy=f"keep one row per {kind}")
    rest = table.frame.drop(name, f"{kind}_id", strict=False)
    title = next((column for column in rest.columns if column == "title" or column.endswith("_title")), None)
    if kind == "item" and title is not None:
        rest = rest.select(pl.col(title).alias("title"), pl.exclude(title, "title"))
    return Table(table.path, pl.DataFrame([ids, *rest]), table.line)


def source_name(source: Source) -> str:
    """What a sentence calls a source: the name of a file, or the label of something in memory."""
    return source.name if isinstance(source, Path) else source


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
