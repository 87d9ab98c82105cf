"""How a text table is written: separator, header, encoding, quotes, numbers and dates."""

from typing import Literal, NamedTuple


class TextForm(NamedTuple):
    """The form of a text table; the defaults are those of docs/data.md."""

    separator: str | None = None  # None: by the suffix
    header: bool | tuple[str, ...] = True  # a tuple: the file has none, and these are its columns
    encoding: str = "utf-8"
    quote: str | None = '"'
    decimal: str = "."
    date_format: str | None = None
    on_error: Literal["refuse", "skip"] = "refuse"
