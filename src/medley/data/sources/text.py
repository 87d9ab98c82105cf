"""Text tables: CSV and its relatives with any separator, quoting, encoding and line end.

How quotes are read (`quote`, by default `"`):

- With a comma or a semicolon between fields a quote opens a field, two quotes in it are one, and separators and line
  ends in it are text, as in RFC 4180; quotes may be escaped by a backslash throughout instead. Quotes that do not pair up
  are refused, and so is a quoted field over several lines that all look like rows.
- With any other separator (tabs above all) lines come first: where every line has as many fields as the header, each
  line is a row. Quotes are then taken off if each field with a quote is quoted as above, else every quote is text. Only
  where lines differ in their number of fields quotes are read as with a comma.

So no row is ever swallowed by a stray quote. Fields over several lines and quotes read as text are counted in the notes.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from medley.data.sources import sniff
from medley.data.sources.compressed import inner_name
from medley.errors import InputError

BY_SUFFIX = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
QUOTED_FIRST = (",", ";")  # separators of RFC 4180 and of Excel
STAND_INS = tuple(bytes([code]) for code in (0x1F, 0x1E, 0x1D, 0x1C, *range(1, 9), *range(14, 28)))
CHUNK = 50_000  # rows that the careful way holds as Python objects
LONGEST = 2**31 - 1  # bytes of a field
REMEDY = "correct the row or remove it"


class TextForm(NamedTuple):
    """How text tables are written."""

    separator: str | None = None  # any string, or r"\\s+" for any run of blanks; None: by the name of the file
    header: bool | tuple[str, ...] = True  # False: no header, columns are called "1", "2", ...; names: no header, these
    encoding: str = "utf-8"
    quote: str | None = '"'  # None: quotes are text
    decimal: str = "."  # or ","
    date_format: str | None = None  # of times that are text, as in Python's strptime
    on_error: Literal["refuse", "skip"] = "refuse"  # skip: rows that cannot be read are left out and counted

    def checked(self) -> "TextForm":
        r"""Returns the form with `\t` as a tab.

        Raises:
            InputError: a value is wrong.
        """
        separator = self.separator if self.separator is None else self.separator.replace("\\t", "\t")
        if separator is not None and (not separator or "\n" in separator or "\r" in separator):
            raise InputError("separator", expected="at least one character, no line end", got=repr(self.separator))
        if self.quote is not None and (len(self.quote) != 1 or not self.quote.isascii() or self.quote == separator):
            remedy = "leave quote out, or pass quote=None where quotes are text"
            raise InputError("quote", expected="one character", got=repr(self.quote), remedy=remedy)
        if self.decimal not in (".", ","):
            raise InputError("decimal", expected="'.' or ','", got=repr(self.decimal))
        if self.on_error not in ("refuse", "skip"):
            raise InputError("on_error", expected="refuse or skip", got=repr(self.on_error))
        if not isinstance(self.header, bool):
            names = tuple(name.strip() for name in self.header)
            if not names or len(set(names)) < len(names):
                raise InputError("header", expected="distinct names", got=", ".join(map(repr, names)) or "none")
            return self._replace(separator=separator, header=names)
        return self._replace(separator=separator)


class Content(NamedTuple):
    """The rows of a file."""

    frame: pl.DataFrame
    line: np.ndarray  # (n,) from 1
    notes: dict[str, int]  # oddities
    skipped: dict[str, int]  # reason -> number of rows left out
    header: int | None = None  # line of the header


class _Text(NamedTuple):
    """A text table in UTF-8, ready to be cut."""

    path: Path
    data: bytes  # without blank lines at its start
    first: int  # line at which `data` starts
    separator: bytes  # one byte
    written: str  # the separator as it was given
    form: TextForm

    @property
    def skip(self) -> bool:
        return self.form.on_error == "skip"

    def back(self, field: str) -> str:
        """A field with the separator as it was written."""
        return field.replace(self.separator.decode(), self.written)


class _Ragged(Exception):
    """Rows have more or fewer fields than the header."""

    def __init__(self, error: InputError):
        super().__init__()
        self.error = error


def read_text(path: Path, data: bytes, form: TextForm) -> Content:
    """Reads a text table.

    Args:
        path: of the file, for errors and for the separator.
        data: its content in UTF-8, without a byte order mark.
        form: how it is written; checked.

    Raises:
        InputError: the separator is unclear or wrong, a row is ragged, or quotes do not pair up.
    """
    stripped = re.sub(rb"\A(?:[ \t]*(?:\r\n|\r|\n))+", b"", data)
    first = 1 + len(re.findall(rb"\r\n|\r|\n", data[: len(data) - len(stripped)]))
    written = form.separator or _separator(path, stripped, form)
    text = _with_byte_separator(path, stripped, first, written, form)
    if not form.quote or form.quote.encode() not in text.data:
        read = _plain
    else:
        read = _quoted if written in QUOTED_FIRST else _lines_first
    try:
        return read(text)._replace(header=first if form.header is True else None)
    except _Ragged as ragged:
        raise _explained(text, ragged.error) from None


def _separator(path: Path, data: bytes, form: TextForm) -> str:
    """Returns the separator that the name or, for other names, the content of a file tells."""
    by_name = BY_SUFFIX.get(Path(inner_name(path)).suffix)
    likely = sniff.likely_separators(data, form.quote)
    if by_name is not None:
        header = sniff.first_lines(data)[:1]
        if likely and by_name not in likely and header and by_name not in re.sub('"[^"]*"', "", header[0]):
            raise _wrong_separator(path, by_name, likely)
        return by_name
    if len(likely) == 1:
        return likely[0]
    lines = sniff.first_lines(data)
    if not likely and not any(each in line for line in lines for each in (*sniff.CANDIDATES, " ")):
        return ","  # one column
    got = " or ".join(map(sniff.shown, likely)) if likely else f"lines such as {lines[0][:80]!r}"
    example = sniff.shown(likely[0] if likely else "::")
    raise InputError(
        "the separator is unclear",
        file=path,
        expected="one separator that fits every line",
        got=got,
        remedy=f"say which it is: separator={example}",
    )


def _wrong_separator(path: Path, separator: str, likely: list[str]) -> InputError:
    option = sniff.shown(likely[0])
    called = {"\t": ", or name the file .tsv", ",": ", or name the file .csv"}.get(likely[0], "")
    return InputError(
        f"the separator looks like {option}",
        file=path,
        row=1,
        expected=f"{sniff.shown(separator)} between fields",
        got="one field per row",
        remedy=f"separator={option}{called}",
    )


def _explained(text: _Text, error: InputError) -> InputError:
    """Says that the separator is wrong, where another one fits every line."""
    likely = sniff.likely_separators(text.data.replace(text.separator, text.written.encode()), text.form.quote)
    return _wrong_separator(text.path, text.written, likely) if likely and text.written not in likely else error


def _with_byte_separator(path: Path, data: bytes, first: int, written: str, form: TextForm) -> _Text:
    """Puts one byte that does not occur elsewhere in the place of a separator of several bytes."""
    raw = written.encode()
    if len(raw) == 1:
        return _Text(path, data, first, raw, written, form)
    byte = next((each for each in STAND_INS if each not in data and each.decode() != form.quote), None)
    if byte is None:
        raise InputError("the separator", file=path, got="every control character", remedy="write the file with commas")
    if written != sniff.BLANKS:
        return _Text(path, data.replace(raw, byte), first, byte, written, form)
    data = re.sub(rb"[ \t]*(\r\n|\r|\n)[ \t]*", rb"\1", data.strip(b" \t"))
    if form.quote and form.quote.encode() in data:
        mark = re.escape(form.quote.encode())
        data = re.sub(b"(" + mark + b"[^" + mark + b"]*" + mark + rb")|[ \t]+", lambda found: found[1] or byte, data)
    else:
        data = re.sub(rb"[ \t]+", byte, data)
    return _Text(path, data, first, byte, " ", form)


# Without quotes: a line is a row.


def _plain(text: _Text) -> Content:
    data, lines = _without_blank_lines(text)
    end = data.find(b"\n")
    head = data if end < 0 else data[:end]
    fields = [text.back(field) for field in head.decode().split(text.separator.decode())]
    names, body = _names(text, fields), data
    if text.form.header is True:
        body, lines = data[len(head) + 1 :], lines[1:]
    reasons: dict[str, int] = {}
    if body.count(text.separator) == (len(names) - 1) * len(lines):
        frame = _cut(text, body, names)
    else:
        frame = None
    if frame is None:
        rows = body.removesuffix(b"\n").split(b"\n") if body else []
        counts = np.array([row.count(text.separator) for row in rows], dtype=np.int64) + 1
        bad = counts != len(names)
        error = _ragged(text, lines, bad, counts, len(names))
        if not text.skip:
            raise _Ragged(error)
        reasons = {str(error): int(bad.sum())}
        lines = lines[~bad]
        frame = _cut(text, b"\n".join(row for row, left_out in zip(rows, bad, strict=True) if not left_out), names)
        assert frame is not None
    return Content(_finish(text, frame, names), lines, {}, reasons)


def _without_blank_lines(text: _Text) -> tuple[bytes, np.ndarray]:
    r"""Returns lines that end in \n, and the number of each in the file."""
    data = text.data
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blanks = b" \t".replace(text.separator, b"") if text.separator != b" " else b""
    data = data.rstrip(b"\n") + b"\n"
    lines = np.arange(text.first, text.first + data.count(b"\n"))
    blank = rb"\n[" + blanks + rb"]*(?=\n)" if blanks else rb"\n(?=\n)"
    if re.search(blank, data):
        rows = data.removesuffix(b"\n").split(b"\n")
        kept = np.array([bool(row.strip(blanks) if blanks else row) for row in rows])
        data, lines = b"\n".join(row for row, keep in zip(rows, kept, strict=True) if keep) + b"\n", lines[kept]
    return data, lines


def _cut(text: _Text, body: bytes, names: list[str], quote: str | None = None) -> pl.DataFrame | None:
    """Cuts rows into columns by polars; None if a row has more fields than `names`, or is not to polars' taste."""
    places = [f"column_{place}" for place in range(1, len(names) + 1)]
    if not body.strip(b"\n"):
        return pl.DataFrame(schema=dict.fromkeys(places, pl.String))
    if len(names) == 1 and quote is None:
        rows = body.removesuffix(b"\n").decode().split("\n")
        frame = pl.DataFrame({"column_1": pl.Series(rows, dtype=pl.String)})
        return frame.with_columns(pl.all().replace("", None))
    try:
        return pl.read_csv(
            body,
            separator=text.separator.decode(),
            quote_char=quote,
            has_header=False,
            schema=dict.fromkeys(places, pl.String),
        )
    except pl.exceptions.PolarsError:
        return None


def _names(text: _Text, fields: list[str]) -> list[str]:
    """Returns the names of the columns."""
    header = text.form.header
    if header is False:
        return [str(place) for place in range(1, len(fields) + 1)]
    if header is not True:
        if len(header) != len(fields):
            expected = f"{len(fields)} names, as the first row has fields"
            raise InputError("header", file=text.path, row=text.first, expected=expected, got=f"{len(header)}")
        return list(header)
    names = [field.strip() for field in fields]
    if len(set(names)) < len(names):
        if sniff.looks_like_data(names):
            raise no_header(text.path, text.first, names)
        got = ", ".join(names)
        raise InputError(
            "columns must have distinct names", file=text.path, row=text.first, got=got, remedy="rename one of them"
        )
    return names


def no_header(path: Path | str, row: int, names: list[str]) -> InputError:
    """The error about a first row that holds data where names are expected."""
    return InputError(
        "there seems to be no header",
        file=path,
        row=row,
        expected="names of columns",
        got=", ".join(map(repr, names[:8])),
        remedy='header=False (columns are then called 1, 2, ...), or name them: header=("user_id", "item_id", ...)',
    )


def _ragged(text: _Text, lines: np.ndarray, bad: np.ndarray, counts: np.ndarray, width: int) -> InputError:
    first, num_bad = int(np.flatnonzero(bad)[0]), int(bad.sum())
    more = f", and the like in {num_bad - 1:,} more {'row' if num_bad == 2 else 'rows'}" if num_bad > 1 else ""
    as_in = "as in the header" if text.form.header is True else "as in the first row"
    return InputError(
        "unparsable row",
        file=text.path,
        row=int(lines[first]),
        expected=f"{width} fields {as_in}",
        got=f"{counts[first]}{more}",
        remedy=f"{REMEDY}, or check the separator",
    )


def _finish(text: _Text, frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Names the columns, and writes separators within fields as they were."""
    frame.columns = names
    if text.separator.decode() != text.written and text.form.quote and text.form.quote.encode() in text.data:
        byte = text.separator.decode()
        frame = frame.with_columns(pl.all().str.replace_all(byte, text.written, literal=True))
    return frame


# With quotes, lines first: tabs and separators that no text holds.


def _lines_first(text: _Text) -> Content:
    quote = text.form.quote or ""
    strict = text._replace(form=text.form._replace(on_error="refuse"))
    try:
        content = _plain(strict)
    except _Ragged as ragged:
        try:
            return _quoted(text)
        except _Unpaired:
            if text.skip:
                return _plain(text)
            raise ragged from None
    mark = re.escape(quote)
    well_formed = f"^{mark}(?:[^{mark}]|{mark}{mark})*{mark}$"
    odd = begun = 0
    for column in (pl.Series(content.frame.columns), *content.frame):
        with_quote = column.filter(column.str.contains(quote, literal=True))
        well = with_quote.str.contains(well_formed)
        odd += int((~well).sum())
        begun += int((with_quote.str.starts_with(quote) & ~well).sum())
    if odd:
        return content._replace(notes={"quotes_read_as_text": begun} if begun else {})
    bare = [_unquoted(column, quote) for column in content.frame]
    names = _unquoted(pl.Series(content.frame.columns), quote).fill_null("").to_list()
    if text.form.header is True:
        names = _names(text, names)
    return content._replace(frame=pl.DataFrame([column.alias(name) for column, name in zip(bare, names, strict=True)]))


def _unquoted(column: pl.Series, quote: str) -> pl.Series:
    inner = pl.col("x").str.slice(1).str.head(-1).str.replace_all(quote * 2, quote, literal=True).replace("", None)
    whole = pl.when(pl.col("x").str.starts_with(quote)).then(inner).otherwise(pl.col("x"))
    return column.to_frame("x").select(whole)["x"]


# With quotes that hold separators and line ends.


class _Unpaired(InputError):
    """Quotes that do not pair up."""


def _quoted(text: _Text) -> Content:
    """Reads with quotes: by polars where each line is a row, else row by row."""
    quote = (text.form.quote or "").encode()
    data = text.data
    simple = data.count(quote) % 2 == 0 and b"\\" + quote not in data
    if simple and data.count(b"\r") == data.count(b"\r\n"):
        end = data.find(b"\n")
        head, body = (data, b"") if end < 0 else (data[:end], data[end + 1 :])
        if head.count(quote) % 2 == 0:
            try:
                fields = next(_rows(text, [head.decode().rstrip("\r")], "doubled"))
            except csv.Error:
                return _careful(text, "doubled")  # which says what is wrong
            names = _names(text, [text.back(field) for field in fields])
            body = body if text.form.header is True else data
            num_lines = body.count(b"\n") + (not body.endswith(b"\n") and bool(body))
            frame = _cut(text, body, names, text.form.quote)
            if frame is not None and len(frame) == num_lines and not (len(frame) and frame.to_series(-1).has_nulls()):
                start = text.first + (text.form.header is True)
                if quote * 2 in body:
                    frame = frame.with_columns(pl.all().replace("", None))
                return Content(_finish(text, frame, names), np.arange(start, start + num_lines), {}, {})
    escapes = ["doubled"] + (["escaped"] if b"\\" + quote in data else [])
    for escape in escapes:
        try:
            return _careful(text, escape)
        except _Unpaired:
            if escape == escapes[-1]:
                raise
    raise AssertionError


def _rows(text: _Text, lines: list[str] | Iterator[str], escape: str) -> Iterator[list[str]]:
    return csv.reader(
        lines,
        delimiter=text.separator.decode(),
        quotechar=text.form.quote,
        doublequote=escape == "doubled",
        escapechar=None if escape == "doubled" else "\\",
        strict=True,
    )


class _Lines:
    """The lines of a text, which remembers those since the last record."""

    def __init__(self, text: str):
        self.source = io.StringIO(text, newline="")
        self.recent: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self.source)
        self.recent.append(line)
        return line


def _careful(text: _Text, escape: str) -> Content:
    quote, separator = text.form.quote or "", text.separator.decode()
    names: list[str] = []
    frames: list[pl.DataFrame] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    ragged: list[tuple[int, int]] = []
    notes: Counter[str] = Counter()
    line, source = text.first, _Lines(text.data.decode())
    with _fields_of_any_length():
        reader = _rows(text, source, escape)
        while True:
            source.recent = []
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise _unpaired(text, line, source.recent, str(error)) from None
            if fields is None:
                break
            record, start = source.recent, line
            line += len(record)
            if not fields or (len(fields) == 1 and not fields[0].strip() and quote not in record[0]):
                continue
            if escape == "doubled" and sum(each.count(quote) for each in record) % 2:
                raise _unpaired(text, start, record, "a lone quote")
            if not names:
                names = _names(text, [text.back(field) for field in fields])
                if text.form.header is True:
                    continue
            if len(fields) != len(names):
                ragged.append((start, len(fields)))
                continue
            if len(record) > 1:
                notes["fields_over_several_lines"] += 1
                _refuse_swallowed(text, start, record, len(names), separator)
            rows.append(fields)
            lines.append(start)
            if len(rows) == CHUNK:
                frames.append(_frame(rows, len(names)))
                rows = []
    frames.append(_frame(rows, len(names)))
    reasons: dict[str, int] = {}
    if ragged:
        where, counts = (np.array(part) for part in zip(*ragged, strict=True))
        error = _ragged(text, where, np.ones(len(where), dtype=bool), counts, len(names))
        if not text.skip:
            raise _Ragged(error)
        reasons = {str(error): len(ragged)}
    frame = _finish(text, pl.concat(frames), names)
    return Content(frame, np.array(lines, dtype=np.int64), dict(notes), reasons)


def _frame(rows: list[list[str]], width: int) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else [()] * width
    series = [
        pl.Series(f"column_{place}", [field or None for field in column], dtype=pl.String)
        for place, column in enumerate(columns, start=1)
    ]
    return pl.DataFrame(series)


def _refuse_swallowed(text: _Text, start: int, record: list[str], width: int, separator: str) -> None:
    """Refuses a quoted field over several lines each of which looks like a row: two stray quotes make one."""
    if (width > 2 or len(record) > 2) and all(each.count(separator) == width - 1 for each in record):
        raise InputError(
            "a quoted field over several lines that look like rows",
            file=text.path,
            row=start,
            expected="the quote to end in its row",
            got=f"its end in row {start + len(record) - 1:,}",
            remedy="pass quote=None where quotes are text, or write the field on one line",
        )


def _unpaired(text: _Text, start: int, record: list[str], problem: str) -> InputError:
    """Names the first line of a record with an odd number of quotes, the most frequent cause."""
    quote = text.form.quote or ""
    for number, content in enumerate(record, start=start):
        if content.count(quote) % 2:
            return _Unpaired(
                "unparsable row",
                file=text.path,
                row=number,
                expected="quotes in pairs",
                got=repr(content[:80].rstrip("\r\n")),
                remedy="write a quote in a quoted field as two, or pass quote=None where quotes are text",
            )
    remedy = "write a quote in a quoted field as two, or pass quote=None where quotes are text"
    return _Unpaired("unparsable row", file=text.path, row=start, got=problem, remedy=remedy)


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
