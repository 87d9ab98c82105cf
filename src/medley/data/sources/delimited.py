"""Reads text tables: decides on the separator, then cuts rows."""

import re
from pathlib import Path

from medley.data.sources import sniff
from medley.data.sources.compressed import inner_name
from medley.data.sources.lines import Ragged, Text, read_lines
from medley.data.sources.quotes import read_lines_first, read_quoted
from medley.data.sources.text import Content, TextForm
from medley.errors import InputError

BY_SUFFIX = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
QUOTED_FIRST = (",", ";")  # separators of RFC 4180 and of Excel
STAND_INS = tuple(bytes([code]) for code in (0x1F, 0x1E, 0x1D, 0x1C, *range(1, 9), *range(14, 28)))


def read_text(path: Path, data: bytes, form: TextForm) -> Content:
    """Reads a text table.

    Args:
        path: of the file, for errors and for the separator.
        data: its content in UTF-8, without a byte order mark.
        form: how it is written; checked.

    Raises:
        InputError: the separator is unclear or wrong, a row is ragged, or quotes do not pair up.
    """
    stripped = data if data[:1].strip() else re.sub(rb"\A(?:[ \t]*(?:\r\n|\r|\n))+", b"", data)
    first = 1 + len(re.findall(rb"\r\n|\r|\n", data[: len(data) - len(stripped)]))
    written = form.separator or _separator(path, stripped, form)
    text = _with_byte_separator(path, stripped, first, written, form)
    if not form.quote or form.quote.encode() not in text.data:
        read = read_lines
    else:
        read = read_quoted if written in QUOTED_FIRST else read_lines_first
    try:
        return read(text)._replace(header=first if form.header is True else None)
    except Ragged as ragged:
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


def _explained(text: Text, error: InputError) -> InputError:
    """Says that the separator is wrong, where another one fits every line."""
    likely = sniff.likely_separators(text.data.replace(text.separator, text.written.encode()), text.form.quote)
    return _wrong_separator(text.path, text.written, likely) if likely and text.written not in likely else error


def _with_byte_separator(path: Path, data: bytes, first: int, written: str, form: TextForm) -> Text:
    """Puts one byte that does not occur elsewhere in the place of a separator of several bytes."""
    raw = written.encode()
    if len(raw) == 1:
        return Text(path, data, first, raw, written, form)
    byte = next((each for each in STAND_INS if each not in data and each.decode() != form.quote), None)
    if byte is None:
        raise InputError("the separator", file=path, got="every control character", remedy="write the file with commas")
    if written != sniff.BLANKS:
        return Text(path, data.replace(raw, byte), first, byte, written, form)
    data = re.sub(rb"[ \t]*(\r\n|\r|\n)[ \t]*", rb"\1", data.strip(b" \t"))
    if form.quote and form.quote.encode() in data:
        mark = re.escape(form.quote.encode())
        data = re.sub(b"(" + mark + b"[^" + mark + b"]*" + mark + rb")|[ \t]+", lambda found: found[1] or byte, data)
    else:
        data = re.sub(rb"[ \t]+", byte, data)
    return Text(path, data, first, byte, " ", form)
