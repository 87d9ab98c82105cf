"""How text tables are written: CSV and its relatives with any separator, quoting, encoding and line end.

How quotes are read (`quote`, by default `"`):

- With a comma or a semicolon between fields a quote opens a field, two quotes in it are one, and separators and line
  ends in it are text, as in RFC 4180; quotes may be escaped by a backslash throughout instead. Quotes that do not pair
  up are refused, and so is a quoted field over several lines that all look like rows.
- With any other separator (tabs above all) lines come first: where every line has as many fields as the header, each
  line is a row. Quotes are then taken off if each field with a quote is quoted as above, else every quote is text. Only
  where lines differ in their number of fields quotes are read as with a comma.

So a stray quote never swallows a row. Fields over several lines and quotes read as text are counted in the notes.
"""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from medley.errors import InputError


class TextForm(NamedTuple):
    """How text tables are written."""

    separator: str | None = None  # any string, or r"\s+" for any run of blanks; None: by the name of the file
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
