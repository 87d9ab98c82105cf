"""Looks at a source and says what it is: format, separator, header, columns, split, features, unit of time.

A look reads the first lines and the names of files. It proposes; the import decides by its own rules.
"""

import bz2
import gzip
import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from medley.data.options import path_of
from medley.data.sources.finding import (
    INTERACTIONS,
    ITEMS,
    JSON,
    LOOSE_TEXT,
    PARQUET,
    SPLIT_LIKE,
    SPLIT_STEMS,
    TABLES,
    TEXT,
    USERS,
    candidates,
    find_catalogue,
    home,
    is_table,
    listing,
    names_of,
    stem_and_suffix,
)
from medley.data.sources.reading import EVENT_NAMES
from medley.data.sources.tables import COLUMN_NAMES, read_table
from medley.errors import InputError

HEAD = 65_536  # bytes that are read of a text file
LINES = 50  # lines that are compared
SEPARATORS = {"\t": "tab", "::": "'::'", ";": "';'", "|": "'|'", ",": "comma", " ": "blank"}
ENCODINGS = ("utf-8-sig", "utf-16", "latin-1")
OPENERS: Mapping[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
USER_WORDS = ("user", "customer", "member", "reviewer", "client", "visitor", "uid", "person", "buyer", "viewer")
ITEM_WORDS = (
    *("item", "movie", "article", "product", "book", "isbn", "asin", "song", "track", "artist", "news", "anime"),
    *("game", "video", "business", "sku", "iid", "poi", "venue", "photo", "recipe", "content"),
)
TIME_WORDS = ("timestamp", "time", "date", "t_dat", "datetime", "created", "unixreviewtime", "ts")
RATING_WORDS = ("rating", "score", "stars", "overall", "rate", "weight", "hours", "playcount", "count")
LARGEST_RATING = 100
TIME_UNITS = ((1e8, 2e10, "seconds"), (1e11, 2e13, "milliseconds"), (1e14, 2e16, "microseconds"), (1e17, 2e19, "ns"))


class Look(NamedTuple):
    """What a source seems to be."""

    source: Path
    format: str
    options: dict[str, Any]  # of the import, beside the format
    seen: dict[str, str]  # what -> what it seems to be, in the order of reading


class _Text(NamedTuple):
    """The form of a text table, as far as its first lines show it."""

    separator: str | None
    encoding: str
    rows: list[list[str]]  # fields of the first lines

    @property
    def has_header(self) -> bool:
        """Text in a first row whose column holds numbers below it, or names that columns have."""
        first = self.rows[0]
        if any(_is_number(field) for field in first):
            return False
        named = any(
            _word(field, (*USER_WORDS, *ITEM_WORDS, *TIME_WORDS, *RATING_WORDS, "id", "title")) for field in first
        )
        numbers = any(_is_number(row[place]) for row in self.rows[1:] for place in range(min(len(row), len(first))))
        return len(self.rows) > 1 and (named or numbers)


def look(source: str | Path) -> Look:
    """Looks at a folder or a file.

    Raises:
        InputError: nothing there looks like interactions.
    """
    source = path_of(source, "source")
    if not source.exists():
        raise InputError("the source does not exist", file=source, remedy="check the path")
    found = _look_at_file(source, {}) if is_table(source) else _look_at_folder(source)
    seen = {"format": found.format, **found.seen, **_around(found)}
    return found._replace(seen=seen)


def likely_cause(error: InputError, source: Path, format: str, given: Mapping[str, Any]) -> InputError:
    """Adds to an error what the source looks like, where that is something else than was asked for."""
    try:
        seen = look(source)
    except Exception:  # a look is help, whatever the file holds; the first error stands
        return error
    changes = {name: value for name, value in seen.options.items() if given.get(name) != value}
    if seen.format == format and not changes:
        return error
    shown = ", ".join([f"format {seen.format}", *(f"{name}={_shown(value)}" for name, value in changes.items())])
    message = str(error)
    join = "; " if "Remedy: " in message else ". Remedy: "
    return InputError(f"{message}{join}the source looks like {shown}")


def _shown(value: Any) -> str:
    return repr(",".join(map(str, value)) if isinstance(value, tuple) else value)


def _look_at_folder(folder: Path) -> Look:
    files = listing(folder)
    by_suffix: dict[str, list[Path]] = {}
    for path in files:
        by_suffix.setdefault(stem_and_suffix(path)[1], []).append(path)
    splits = {
        suffix: {split: path for path in paths for split, stems in SPLIT_STEMS.items() if _stem(path) in stems}
        for suffix, paths in by_suffix.items()
    }
    if inter := by_suffix.get(".inter"):
        look = _look_at_file(inter[0], {})
        parts = ", ".join(path.name for path in inter)
        return look._replace(source=folder, seen=look.seen | ({"split": f"given: {parts}"} if len(inter) > 1 else {}))
    for suffix in (*PARQUET, *TEXT, ".json", ".jsonl", ".ndjson", ".txt", ".dat", ".npy", ".npz"):
        parts = splits.get(suffix, {})
        if parts.keys() >= {"train", "test"}:
            look = _look_at_file(parts["train"], {}, in_split=True)
            given = "given: " + names_of(parts.values())
            if "valid" not in parts:
                given += "; validation will be drawn from train"
            return look._replace(source=folder, seen={**look.seen, "split": given})
    log = next(
        (
            found[0]
            for suffixes in (PARQUET, TEXT, JSON, LOOSE_TEXT, (".npy", ".npz"))
            if (found := candidates(folder, INTERACTIONS, suffixes))
        ),
        None,
    )
    readable = [path for path in files if stem_and_suffix(path)[1] in (*TABLES, *LOOSE_TEXT)]
    readable = [path for path in readable if not SPLIT_LIKE.search(_stem(path))]
    if log is None and len(readable) == 1:
        log = readable[0]
    if log is None:
        got = names_of(files) or "an empty folder"
        remedy = "give the file of the interactions itself; see docs/data.md for the formats"
        raise InputError("nothing looks like interactions", file=folder, got=got, remedy=remedy)
    look = _look_at_file(log, {})
    own = look.format in ("csv", "parquet", "json") and _stem(log) == INTERACTIONS[0]
    options = look.options if own else {"interactions": log.name, **look.options}
    return look._replace(source=folder, options=options, seen={"interactions": log.name, **look.seen})


def _look_at_file(path: Path, options: dict[str, Any], *, in_split: bool = False) -> Look:
    suffix = stem_and_suffix(path)[1]
    if suffix in PARQUET or _starts(path, b"PAR1"):
        return _columns(path, "parquet", read_table(path).frame.head(1000), options, {})
    if suffix in (".npy", ".npz"):
        return Look(path, "pairs", options, {"pairs": _shape(path)})
    if suffix in JSON:
        return _look_at_json(path, options)
    text = _text(path)
    if suffix == ".inter":
        typed = all(":" in field for field in text.rows[0])
        labelled = "x_label" in text.rows[0]
        seen = {"header": ", ".join(text.rows[0])}
        if labelled:
            seen["split"] = "given: x_label"
        return Look(path, "recbole" if typed else "mmrec", options, seen)
    return _look_at_text(path, text, options, in_split=in_split)


def _look_at_json(path: Path, options: dict[str, Any]) -> Look:
    try:
        table = read_table(path)
    except InputError:
        head = _head(path).lstrip()
        if re.match(rb'\{\s*"[^"]*"\s*:\s*\[', head):
            return Look(path, "mmssl", options, {"records": "user -> list of items"})
        raise
    return _columns(path, "json", table.frame.head(1000), options, {"records": f"{len(table.frame):,} objects"})


def _look_at_text(path: Path, text: _Text, options: dict[str, Any], *, in_split: bool) -> Look:
    suffix, lengths = stem_and_suffix(path)[1], Counter(len(row) for row in text.rows)
    seen = {"encoding": text.encoding} if text.encoding != "utf-8-sig" else {}
    words = [" ".join(row).split() for row in text.rows]
    blank = text.separator in (" ", "\t", None)
    if blank and not text.has_header:
        whole = all(word.isdigit() for row in words for word in row)
        if len(lengths) > 1 or len({len(row) for row in words}) > 1:
            if in_split and whole and suffix == ".txt":
                return Look(path, "lists", options, {**seen, "lines": "user item item ..."})
            return Look(path, "sequences", options, {**seen, "lines": "user item item ..., in order"})
        if {len(row) for row in words} == {2}:
            return Look(path, "pairs", options, {**seen, "lines": "user item"})
    options = dict(options)
    if text.separator is None:
        got, remedy = repr(" ".join(text.rows[0])[:80]), "name the separator: separator='...'"
        raise InputError("no separator is found", file=path, got=got, remedy=remedy)
    seen["separator"] = SEPARATORS[text.separator]
    if text.separator != {".csv": ",", ".tsv": "\t"}.get(suffix):
        options["separator"] = text.separator
    if text.encoding != "utf-8-sig":
        options["encoding"] = text.encoding
    width = lengths.most_common(1)[0][0]
    rows = [row for row in text.rows if len(row) == width]
    if text.has_header:
        names, body = [name.strip() for name in text.rows[0]], rows[1:]
        seen["header"] = ", ".join(names)
    else:
        names, body = _names_without_header(rows), rows
        options["header"] = tuple(names)
        seen["header"] = f"none; the columns seem to be {', '.join(names)}"
    if len(set(names)) == len(names) == width and body:
        frame = pl.DataFrame({name: [row[place].strip() for row in body] for place, name in enumerate(names)})
        return _columns(path, "csv", frame, options, seen)
    return Look(path, "csv", options, seen)


def _columns(path: Path, format: str, frame: pl.DataFrame, options: dict[str, Any], seen: dict[str, str]) -> Look:
    """Adds which column is what, where the usual names do not say it."""
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
    return Look(path, format, options, seen)


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


def _names_without_header(rows: list[list[str]]) -> list[str]:
    """user_id, item_id, and then what the values say: large numbers are times, small ones ratings."""
    names = ["user_id", "item_id"][: len(rows[0])]
    for place in range(2, len(rows[0])):
        numbers = [float(row[place]) for row in rows if _is_number(row[place])]
        if numbers and min(numbers) >= TIME_UNITS[0][0] and "timestamp" not in names:
            names.append("timestamp")
        elif numbers and max(numbers) <= LARGEST_RATING and "rating" not in names:
            names.append("rating")
        else:
            names.append(f"column_{place + 1}")
    return names


def _around(found: Look) -> dict[str, str]:
    """The files that will be read beside the log, and those that will not."""
    folder, seen = home(found.source), {}
    log = found.options.get("interactions")
    taken = [folder / log] if log else [found.source] if folder != found.source else []
    for kind, names in (("items", ITEMS), ("users", USERS)):
        try:
            path = find_catalogue(found.source, names, None, taken)
        except InputError:
            continue
        if path is not None:
            seen[kind] = path.name
            taken.append(path)
    arrays = [path for path in listing(folder) if stem_and_suffix(path)[1] == ".npy" and path not in taken]
    arrays = [path for path in arrays if not path.stem.endswith(".present") and "pairs" not in found.seen]
    if arrays:
        seen["arrays"] = ", ".join(f"{path.name} {_shape(path)}" for path in arrays)
    if "split" not in found.seen:
        timed = "timestamp column" in found.seen or found.format == "sequences"
        seen["split"] = "none given; " + ("there is an order: leave-one-out or time-user" if timed else "random")
    return seen


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), open)
    with opener(path, "rb") as file:
        yield file


def _head(path: Path) -> bytes:
    try:
        with _opened(path) as file:
            return file.read(HEAD)
    except (OSError, EOFError) as error:
        raise InputError("the file cannot be read", file=path, got=str(error), remedy="check the file") from None


def _starts(path: Path, magic: bytes) -> bool:
    return path.is_file() and _head(path).startswith(magic)


def _text(path: Path) -> _Text:
    head = _head(path)
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
    return _Text(separator, encoding, rows)


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


def _best(columns: list[str], words: tuple[str, ...], used: set[str], *, ids: bool) -> str | None:
    """The column whose name holds one of the words; of several, one that ends in id wins."""
    found = [name for name in columns if name not in used and _word(name, words)]
    named = [name for name in found if re.search(r"id$|isbn$|asin$|sku$", name.lower())] if ids else []
    return next(iter(named or found), None)


def _word(name: str, words: tuple[str, ...]) -> bool:
    plain = name.lower().strip().strip('"')
    return any(plain == word or (len(word) > 3 and word in plain) for word in words)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?\s*", text.strip('"')) is not None


def _shape(path: Path) -> str:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return "(not a plain array)"
    return f"{array.shape}" if isinstance(array, np.ndarray) else "(a sparse matrix or an archive)"


def _stem(path: Path) -> str:
    return stem_and_suffix(path)[0].lower()
