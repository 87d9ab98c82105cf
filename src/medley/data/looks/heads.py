"""The first lines of a text, compressed or not: encoding, separator, header."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from medley.data.looks.columns import ITEM_WORDS, RATING_WORDS, TIME_WORDS, USER_WORDS, has_word, is_number
from medley.data.sources.compressed import read_bytes
from medley.errors import InputError

HEAD = 65_536  # bytes that are read of a text file, unpacked
LINES = 50  # lines that are compared
SEPARATORS = {"\t": "tab", "::": "'::'", ";": "';'", "|": "'|'", ",": "comma", " ": "blank"}
ENCODINGS = ("utf-8-sig", "utf-16", "latin-1")


class TextHead(NamedTuple):
    """The form of a text table, as far as its first lines show it."""

    separator: str | None
    encoding: str
    rows: list[list[str]]  # fields of the first lines

    @property
    def has_header(self) -> bool:
        """Text in a first row whose column holds numbers below it, or names that columns have."""
        first = self.rows[0]
        if any(is_number(field) for field in first):
            return False
        named = any(
            has_word(field, (*USER_WORDS, *ITEM_WORDS, *TIME_WORDS, *RATING_WORDS, "id", "title")) for field in first
        )
        numbers = any(is_number(row[place]) for row in self.rows[1:] for place in range(min(len(row), len(first))))
        return len(self.rows) > 1 and (named or numbers)


def text_head(path: Path) -> TextHead:
    """Returns the form of the first lines of a text table.

    Raises:
        InputError: unreadable, damaged, not text, or nothing in it.
    """
    head = read_bytes(path, HEAD)
    text, encoding = "", ENCODINGS[-1]
    for encoding in ENCODINGS:
        if encoding == "utf-16" and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
            continue
        try:
            text = head.decode(encoding)
        except UnicodeDecodeError as error:
            if len(head) < HEAD or error.start < HEAD - 4:
                continue
            text = head[: error.start].decode(encoding)  # the last letter was cut
        break
    if "\0" in text:
        raise InputError("neither text nor a table that is known", file=path, remedy="see docs/data.md for the formats")
    lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip()]
    lines = lines[:-1] if len(head) == HEAD and len(lines) > 1 else lines
    if not lines:
        raise InputError("the file is empty", file=path, remedy="check the export that should have written it")
    lines = lines[:LINES]
    separator = _separator(lines)
    rows = [_fields(line, separator) for line in lines]
    return TextHead(separator, encoding, rows)


def _separator(lines: list[str]) -> str | None:
    """The separator that most lines have equally often; where none is equal, the one that every line has."""
    best, share = None, 0.0
    for separator in SEPARATORS:
        widths = Counter(len(_fields(line, separator)) for line in lines)
        width, count = widths.most_common(1)[0]
        if width > 1 and count / len(lines) > share + 0.05:
            best, share = separator, count / len(lines)
    if share > 0.5:
        return best
    return next((each for each in ("\t", " ") if all(each in line.strip() for line in lines)), best)


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [line]
    if separator == " ":
        return line.split()
    if '"' in line and len(separator) == 1:
        outside = re.sub(r'"[^"]*"', lambda found: found[0].replace(separator, "\0"), line)
        return [field.replace("\0", separator).strip().strip('"') for field in outside.split(separator)]
    return line.split(separator)
