"""Text tables with quotes, which may hold separators and line ends. text.py says how quotes are read."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl

from medley.data.sources.lines import Ragged, Text, cut, finish, frame_of, names_of, ragged_error, read_lines
from medley.data.sources.text import Content
from medley.errors import InputError

CHUNK = 50_000  # rows that the careful way holds as Python objects
LONGEST = 2**31 - 1  # bytes of a field
REMEDY = "write a quote in a quoted field as two, or pass quote=None where quotes are text"


class _Unpaired(InputError):
    """Quotes that do not pair up."""


def read_lines_first(text: Text) -> Content:
    quote = text.form.quote or ""
    strict = text._replace(form=text.form._replace(on_error="refuse"))
    try:
        content = read_lines(strict)
    except Ragged as ragged:
        try:
            return read_quoted(text)
        except _Unpaired:
            if text.skip:
                return read_lines(text)
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
        names = names_of(text, names)
    return content._replace(frame=pl.DataFrame([column.alias(name) for column, name in zip(bare, names, strict=True)]))


def _unquoted(column: pl.Series, quote: str) -> pl.Series:
    inner = pl.col("x").str.slice(1).str.head(-1).str.replace_all(quote * 2, quote, literal=True).replace("", None)
    whole = pl.when(pl.col("x").str.starts_with(quote)).then(inner).otherwise(pl.col("x"))
    return column.to_frame("x").select(whole)["x"]


def read_quoted(text: Text) -> Content:
    """Reads with quotes: by polars where each line is a row, else row by row."""
    quote = (text.form.quote or "").encode()
    data = text.data
    simple = data.count(quote) % 2 == 0 and b"\\" + quote not in data and data.count(b"\r") == data.count(b"\r\n")
    head = data[: data.find(b"\n")] if b"\n" in data else data
    if simple and head.count(quote) % 2 == 0:
        content = _by_polars(text, head, quote)
        if content is not None:
            return content
    escapes = ["doubled"] + (["escaped"] if b"\\" + quote in data else [])
    for escape in escapes:
        try:
            return _careful(text, escape)
        except _Unpaired:
            if escape == escapes[-1]:
                raise
    raise AssertionError


def _by_polars(text: Text, head: bytes, quote: bytes) -> Content | None:
    """Reads a table whose header is one line, if polars finds each line to be a whole row; else None."""
    has_header, data = text.form.header is True, text.data
    try:
        fields = next(_rows(text, [head.decode().rstrip("\r")], "doubled"))
    except csv.Error:
        return None
    names = names_of(text, [text.back(field) for field in fields])
    num_rows = data.count(b"\n") + (not data.endswith(b"\n")) - has_header
    frame = cut(text, data, names, quote=text.form.quote, skip=has_header)
    if frame is None or len(frame) != num_rows or (num_rows and frame.to_series(-1).has_nulls()):
        return None
    if quote * 2 in data:  # polars takes "" for an empty text
        frame = frame.with_columns(pl.all().replace("", None))
    start = text.first + has_header
    return Content(finish(text, frame, names), np.arange(start, start + num_rows), {}, {})


def _rows(text: Text, lines: list[str] | Iterator[str], escape: str) -> Iterator[list[str]]:
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


def _careful(text: Text, escape: str) -> Content:
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
                names = names_of(text, [text.back(field) for field in fields])
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
                frames.append(frame_of(rows, len(names)))
                rows = []
    frames.append(frame_of(rows, len(names)))
    reasons: dict[str, int] = {}
    if ragged:
        where, counts = (np.array(part) for part in zip(*ragged, strict=True))
        error = ragged_error(text, where, np.ones(len(where), dtype=bool), counts, len(names))
        if not text.skip:
            raise Ragged(error)
        reasons = {str(error): len(ragged)}
    frame = finish(text, pl.concat(frames), names)
    return Content(frame, np.array(lines, dtype=np.int64), dict(notes), reasons)


def _refuse_swallowed(text: Text, start: int, record: list[str], width: int, separator: str) -> None:
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


def _unpaired(text: Text, start: int, record: list[str], problem: str) -> InputError:
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
                remedy=REMEDY,
            )
    return _Unpaired("unparsable row", file=text.path, row=start, got=problem, remedy=REMEDY)


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
