"""Which column of a table is what, by its name and its values."""

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from medley.data.sources.reading import EVENT_NAMES
from medley.data.sources.tables import COLUMN_NAMES

USER_WORDS = ("user", "customer", "member", "reviewer", "client", "visitor", "uid", "person", "buyer", "viewer")
ITEM_WORDS = (
    *("item", "movie", "article", "product", "book", "isbn", "asin", "song", "track", "artist", "news", "anime"),
    *("game", "video", "business", "sku", "iid", "poi", "venue", "photo", "recipe", "content"),
)
TIME_WORDS = ("timestamp", "time", "date", "t_dat", "datetime", "created", "unixreviewtime", "ts")
RATING_WORDS = ("rating", "score", "stars", "overall", "rate", "weight", "hours", "playcount", "count")
LARGEST_RATING = 100
TIME_UNITS = ((1e8, 2e10, "seconds"), (1e11, 2e13, "milliseconds"), (1e14, 2e16, "microseconds"), (1e17, 2e19, "ns"))


def with_columns(
    frame: pl.DataFrame, options: Mapping[str, Any], seen: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the options and what was seen, with which column is what; an option where the usual names do not say it.

    Args:
        frame: the first rows of the table.
        options: of the import, so far.
        seen: what -> what it seems to be, so far.
    """
    options, seen, used = dict(options), dict(seen), set()
    for what, words in (
        ("user", USER_WORDS),
        ("item", ITEM_WORDS),
        ("timestamp", TIME_WORDS),
        ("rating", RATING_WORDS),
    ):
        name = next((name for name in COLUMN_NAMES[what] if name in frame.columns), None)
        if name is None:
            name = _best(frame.columns, words, used, ids=what in ("user", "item"))
            if name is not None:
                options[f"{what}_column"] = name
        if name is None:
            if what in ("user", "item"):
                seen[f"{what} column"] = f"not found: name it, {what}_column=..."
            continue
        used.add(name)
        seen[f"{what} column"] = f"{name}{_sort_of_values(frame[name], what)}"
    event = next((name for name in frame.columns if name.lower() in EVENT_NAMES and name not in used), None)
    if event is not None:
        kinds = ", ".join(map(str, frame[event].drop_nulls().unique(maintain_order=True)[:6]))
        seen["event column"] = f"{event}: {kinds}; all are kept unless positive=... says which count"
        options["event_column"] = event
    if "split" in frame.columns or "x_label" in frame.columns:
        seen["split"] = "given: a column of the log"
    return options, seen


def _sort_of_values(column: pl.Series, what: str) -> str:
    values = column.cast(pl.String, strict=False).drop_nulls() if not column.dtype.is_nested() else column.drop_nulls()
    numbers = values.cast(pl.Float64, strict=False) if not column.dtype.is_nested() else values
    if not len(values):
        return ": empty"
    if what == "timestamp":
        if column.dtype.is_temporal() or numbers.null_count() == len(numbers):
            return f": times such as {values[0]}"
        typical = float(numbers.median() or 0)  # type: ignore[arg-type]
        if 19_000_000 < typical < 22_000_000:
            return f": dates such as {values[0]}"
        unit = next((unit for low, high, unit in TIME_UNITS if low <= abs(typical) < high), None)
        return f": {unit} since 1970" if unit else f": numbers such as {values[0]}, the unit is not clear"
    if what == "rating" and numbers.null_count() < len(numbers):
        return f": {numbers.min():g} to {numbers.max():g}"
    return f": ids such as {values[0]!r}"


def names_without_header(rows: list[list[str]]) -> list[str]:
    """Returns user_id, item_id, and then what the values say: large numbers are times, small ones ratings."""
    names = ["user_id", "item_id"][: len(rows[0])]
    for place in range(2, len(rows[0])):
        numbers = [float(row[place]) for row in rows if is_number(row[place])]
        if numbers and min(numbers) >= TIME_UNITS[0][0] and "timestamp" not in names:
            names.append("timestamp")
        elif numbers and max(numbers) <= LARGEST_RATING and "rating" not in names:
            names.append("rating")
        else:
            names.append(f"column_{place + 1}")
    return names


def _best(columns: list[str], words: tuple[str, ...], used: set[str], *, ids: bool) -> str | None:
    """The column whose name holds one of the words; of several, one that ends in id wins."""
    found = [name for name in columns if name not in used and has_word(name, words)]
    named = [name for name in found if re.search(r"id$|isbn$|asin$|sku$", name.lower())] if ids else []
    return next(iter(named or found), None)


def has_word(name: str, words: tuple[str, ...]) -> bool:
    """Returns whether the name of a column is one of the words, or holds one of more than three letters."""
    plain = name.lower().strip().strip('"')
    return any(plain == word or (len(word) > 3 and word in plain) for word in words)


def is_number(text: str) -> bool:
    """Returns whether a field, quoted or not, is a number."""
    return re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?\s*", text.strip('"')) is not None
