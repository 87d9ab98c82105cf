"""Text tables without quotes: each line is a row."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from medley.data.sources import sniff
from medley.data.sources.text import Content, TextForm
from medley.errors import InputError

REMEDY = "correct the row or remove it"


class Text(NamedTuple):
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


class Ragged(Exception):
    """Rows have more or fewer fields than the header."""

    def __init__(self, error: InputError):
        super().__init__()
        self.error = error


def read_lines(text: Text) -> Content:
    """Reads each line as a row, without quotes.

    Raises:
        Ragged: a row has more or fewer fields than the header, and the form says refuse.
    """
    data, lines = _without_blank_lines(text)
    head = data[: data.find(b"\n")]
    names = names_of(text, [text.back(field) for field in head.decode().split(text.separator.decode())])
    has_header, num_separators = text.form.header is True, data.count(text.separator)
    if has_header:
        lines, num_separators = lines[1:], num_separators - head.count(text.separator)
    if num_separators == (len(names) - 1) * len(lines):
        frame = cut(text, data, names, skip=has_header)
        if frame is not None and len(frame) == len(lines):
            return Content(finish(text, frame, names), lines, {}, {})
    rows = data.removesuffix(b"\n").split(b"\n")[has_header:]
    counts = np.array([row.count(text.separator) for row in rows], dtype=np.int64) + 1
    bad, reasons = counts != len(names), dict[str, int]()
    if bad.any():
        error = ragged_error(text, lines, bad, counts, len(names))
        if not text.skip:
            raise Ragged(error)
        reasons, lines = {str(error): int(bad.sum())}, lines[~bad]
    separator = text.separator.decode()
    fields = [row.decode().split(separator) for row, left_out in zip(rows, bad, strict=True) if not left_out]
    return Content(finish(text, frame_of(fields, len(names)), names), lines, {}, reasons)


def frame_of(rows: list[list[str]], width: int) -> pl.DataFrame:
    """Makes a table of text from rows; an empty field is null."""
    columns = zip(*rows, strict=True) if rows else [()] * width
    series = [
        pl.Series(f"column_{place}", [field or None for field in column], dtype=pl.String)
        for place, column in enumerate(columns, start=1)
    ]
    return pl.DataFrame(series)


def _without_blank_lines(text: Text) -> tuple[bytes, np.ndarray]:
    r"""Returns lines that end in \n, and the number of each in the file."""
    data = text.data
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blanks = b" \t".replace(text.separator, b"") if text.separator != b" " else b""
    if data.endswith(b"\n\n") or not data.endswith(b"\n"):  # else no copy is made, which matters for big files
        data = data.rstrip(b"\n") + b"\n"
    lines = np.arange(text.first, text.first + data.count(b"\n"))
    blank = rb"\n[" + blanks + rb"]*(?=\n)" if blanks else rb"\n(?=\n)"
    if re.search(blank, data):
        rows = data.removesuffix(b"\n").split(b"\n")
        kept = np.array([bool(row.strip(blanks) if blanks else row) for row in rows])
        data, lines = b"\n".join(row for row, keep in zip(rows, kept, strict=True) if keep) + b"\n", lines[kept]
    return data, lines


def cut(
    text: Text, data: bytes, names: list[str], *, quote: str | None = None, skip: bool = False
) -> pl.DataFrame | None:
    """Cuts rows into columns by polars, which is fast; None where polars refuses the rows.

    Args:
        text: for its separator.
        data: the rows; rows with fewer fields than `names` are filled with null, more are refused.
        names: of the columns, which are called column_1, ... here.
        quote: the quotation mark.
        skip: leave out the first line, which holds the names.
    """
    try:
        return pl.read_csv(
            data,
            separator=text.separator.decode(),
            quote_char=quote,
            has_header=False,
            skip_rows=int(skip),
            schema={f"column_{place}": pl.String for place in range(1, len(names) + 1)},
        )
    except pl.exceptions.PolarsError:
        return None


def names_of(text: Text, fields: list[str]) -> list[str]:
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


def with_header(path: Path | str, row: int, fields: list[str]) -> InputError:
    """The error about a first row that holds names although the table is said to have no header."""
    got = ", ".join(map(repr, fields[:8]))
    remedy = "leave header out; columns with other names are named by user_column=..., item_column=..."
    return InputError("there seems to be a header", file=path, row=row, expected="data", got=got, remedy=remedy)


def ragged_error(text: Text, lines: np.ndarray, bad: np.ndarray, counts: np.ndarray, width: int) -> InputError:
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


def finish(text: Text, frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Names the columns, and writes separators within fields as they were."""
    frame.columns = names
    if text.separator.decode() != text.written and text.form.quote and text.form.quote.encode() in text.data:
        byte = text.separator.decode()
        frame = frame.with_columns(pl.all().str.replace_all(byte, text.written, literal=True))
    return frame
