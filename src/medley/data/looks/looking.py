"""What a folder or a file seems to be."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from medley.data.looks.columns import names_without_header, with_columns
from medley.data.looks.heads import HEAD, SEPARATORS, TextHead, text_head
from medley.data.sources import compressed
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
    source_of,
    stem_and_suffix,
)
from medley.data.sources.tables import read_table
from medley.errors import InputError


class Look(NamedTuple):
    """What a source seems to be."""

    source: Path
    format: str
    options: dict[str, Any]  # of the import, beside the format
    seen: dict[str, str]  # what -> what it seems to be, in the order of reading


def look(source: str | Path) -> Look:
    """Looks at a folder or a file.

    Raises:
        InputError: nothing there looks like interactions.
    """
    source = source_of(source)
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
    if suffix in (".npy", ".npz"):
        return Look(path, "pairs", options, {"pairs": _shape(path)})
    if suffix in PARQUET or (path.is_file() and compressed.read_bytes(path, HEAD).startswith(compressed.PARQUET)):
        return Look(path, "parquet", *with_columns(read_table(path).frame.head(1000), options, {}))
    if suffix in JSON:
        return _look_at_json(path, options)
    text = text_head(path)
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
        head = compressed.read_bytes(path, HEAD).lstrip()
        if re.match(rb'\{\s*"[^"]*"\s*:\s*\[', head):
            return Look(path, "mmssl", options, {"records": "user -> list of items"})
        raise
    seen = {"records": f"{len(table.frame):,} objects"}
    return Look(path, "json", *with_columns(table.frame.head(1000), options, seen))


def _look_at_text(path: Path, text: TextHead, options: dict[str, Any], *, in_split: bool) -> Look:
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
        names, body = names_without_header(rows), rows
        options["header"] = tuple(names)
        seen["header"] = f"none; the columns seem to be {', '.join(names)}"
    if len(set(names)) == len(names) == width and body:
        frame = pl.DataFrame({name: [row[place].strip() for row in body] for place, name in enumerate(names)})
        return Look(path, "csv", *with_columns(frame, options, seen))
    return Look(path, "csv", options, seen)


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


def _shape(path: Path) -> str:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return "(not a plain array)"
    return f"{array.shape}" if isinstance(array, np.ndarray) else "(a sparse matrix or an archive)"


def _stem(path: Path) -> str:
    return stem_and_suffix(path)[0].lower()
