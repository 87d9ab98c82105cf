"""Times as people write them -> seconds since 1970 (UTC)."""

import datetime
from contextlib import suppress
from itertools import pairwise
from typing import Any

import polars as pl

from medley.data.sources.values import DAY, LARGEST, TICKS, Parsed, parse_numbers, plain

ISO = (  # groups: year, month, day, hour, minute, second, fraction, zone
    r"^(\d{4})[-/]?(\d{2})[-/]?(\d{2})"
    r"(?:[T ]\s*(\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9})\d*)?)?)?\s*(Z|UTC|GMT|[-+]\d{2}(?::?\d{2})?)?)?$"
)
DASHED = r"^\s*\d{4}[-/]\d"  # what polars may read on its own; it would take 05/06/2024 for the fifth of June
UNITS = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}  # smallest moment: 1973
SAME_IN_POLARS = frozenset("YmdHMSyz")  # directives of strptime that mean the same there
EXPECTED = "a time (ISO 8601) or a number"


def parse_times(raw: pl.Series, *, decimal: str = ".", date_format: str | None = None) -> Parsed:
    """Returns seconds since 1970 (UTC), null where empty, int64 if all are whole.

    A number stays as it is; a date or time with a zone is converted to UTC, without a zone it is UTC. Where a text
    column holds both numbers and times, the rarer kind is bad.
    """
    raw = plain(raw)
    if raw.dtype == pl.Date:
        return _whole(Parsed(raw.to_physical().cast(pl.Int64) * float(DAY), _none(raw), raw))
    if raw.dtype == pl.Datetime:
        return _whole(Parsed(_epoch(raw), _none(raw), raw))
    if date_format is not None:
        return _whole(_by_format(raw, date_format))
    if raw.dtype != pl.String:
        return _whole(parse_numbers(raw, decimal))
    text = raw.str.strip_chars()
    text = text.set((text == "").fill_null(False), None)
    numbers = parse_numbers(text, decimal)
    if not numbers.bad.any():
        return _whole(numbers._replace(shown=raw))
    seconds = _iso(text.set(~numbers.bad, None))
    unreadable = numbers.bad & seconds.is_null()
    num_times, num_numbers = int(seconds.is_not_null().sum()), int(numbers.values.is_finite().sum())
    if num_numbers > num_times:
        expected = "a number in every row" if num_times else numbers.expected
        return _whole(numbers._replace(shown=raw, expected=expected))
    expected = EXPECTED if not num_numbers else "a time (ISO 8601) in every row"
    bad = unreadable | (text.is_not_null() & ~numbers.bad)
    return _whole(Parsed(seconds, bad, raw, expected, _advice(raw, unreadable)))


def units(times: pl.Series) -> dict[str, int]:
    """Counts what is odd about times in seconds: a second unit in the column, and zeros among real moments."""
    size = times.abs()
    bounds = [*UNITS.values(), 1e20]
    counts = [int(size.is_between(low, high, closed="left").sum()) for low, high in pairwise(bounds)]
    odd = {"times_in_another_unit": sum(counts) - max(counts)}
    if sum(counts) * 2 > len(times):
        odd["times_of_zero"] = int((times == 0).sum())
    return {what: count for what, count in odd.items() if count}


def _none(raw: pl.Series) -> pl.Series:
    return pl.repeat(False, len(raw), eager=True)


def _whole(parsed: Parsed) -> Parsed:
    values = parsed.values
    known = values.filter(~parsed.bad) if parsed.bad.any() else values
    whole = ((known == known.floor()) & (known.abs() < LARGEST)).all()
    return parsed._replace(values=values.set(parsed.bad, None).cast(pl.Int64)) if whole else parsed


def _epoch(moment: pl.Series) -> pl.Series:
    """Seconds, by microseconds; the ticks are read directly since dates beyond the year 9999 cannot be converted."""
    ticks, unit = moment.to_physical(), moment.dtype.time_unit  # type: ignore[attr-defined]
    if unit == "ns":
        ticks = ticks // 1_000
    return ticks / min(TICKS[unit], 1_000_000)


def _iso(text: pl.Series) -> pl.Series:
    """Returns seconds since 1970, null where the text is not a time of ISO 8601."""
    text = text.str.to_uppercase()
    dashed = text.set(~text.str.contains(DASHED).fill_null(False), None)
    try:
        seconds = _epoch(dashed.str.to_datetime(strict=False, time_zone="UTC"))
    except pl.exceptions.PolarsError:  # no format fits the first rows
        seconds = pl.Series(values=[None] * len(text), dtype=pl.Float64)
    left = (text.is_not_null() & seconds.is_null()).arg_true()
    if not len(left):
        return seconds
    parts = text.gather(left).str.extract_groups(ISO).struct.unnest()
    parts.columns = ["year", "month", "day", "hour", "minute", "second", "fraction", "zone"]
    clock = [pl.col(name).fill_null("00") for name in ("hour", "minute", "second")]
    zone = pl.col("zone").str.replace(":", "", literal=True)
    offset = zone.str.slice(1, 2).cast(pl.Int32, strict=False) * 3_600
    offset = offset + zone.str.slice(3, 2).cast(pl.Int32, strict=False).fill_null(0) * 60
    offset = pl.when(zone.str.starts_with("-")).then(-offset).otherwise(offset)
    stamp = pl.concat_str(["year", "month", "day", *clock]).str.to_datetime("%Y%m%d%H%M%S", strict=False)
    micros = pl.col("fraction").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    exact = (stamp.dt.epoch("us") - offset.fill_null(0).cast(pl.Int64) * 1_000_000 + micros) / 1e6
    return seconds.scatter(left, parts.select(exact.alias("s"))["s"])


def _by_format(raw: pl.Series, date_format: str) -> Parsed:
    text = raw.cast(pl.String).str.strip_chars()
    text = text.set((text == "").fill_null(False), None)
    directives = {date_format[at + 1 : at + 2] for at, letter in enumerate(date_format) if letter == "%"}
    seconds = pl.Series(values=[None] * len(text), dtype=pl.Float64)
    if directives <= SAME_IN_POLARS:
        with suppress(pl.exceptions.PolarsError):  # a date without a clock, for example: the other way reads it
            seconds = _epoch(text.str.to_datetime(date_format, strict=False, time_zone="UTC"))
    left = text.filter(text.is_not_null() & seconds.is_null()).unique()
    if len(left):
        read = {value: _strptime(value, date_format) for value in left.to_list()}
        seconds = seconds.fill_null(text.replace_strict(read, default=None, return_dtype=pl.Float64))
    bad = text.is_not_null() & seconds.is_null()
    remedy = "correct the row, or date_format (directives as in Python's strptime)"
    return Parsed(seconds, bad, raw, f"a time written as {date_format}", remedy)


def _strptime(value: str, date_format: str) -> float | None:
    try:
        moment = datetime.datetime.strptime(value, date_format)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) / datetime.timedelta(microseconds=1) / 1e6


def _advice(raw: pl.Series, bad: pl.Series) -> str:
    if bad.any():
        first: Any = raw.filter(bad)[0]
        for pattern, written in {
            r"^\s*\d{1,2}/\d{1,2}/\d{4}": "%d/%m/%Y",
            r"^\s*\d{1,2}\.\d{1,2}\.\d{4}": "%d.%m.%Y",
        }.items():
            if pl.Series([str(first)]).str.contains(pattern)[0]:
                return f'say how times are written, for example date_format="{written}" (day first) or "%m/%d/%Y"'
        if any(letter.isdigit() for letter in str(first)):
            return 'write 2024-05-31T12:00:00 or seconds, or say how times are written: date_format="%d %b %Y"'
    return "write 2024-05-31T12:00:00 or seconds"
