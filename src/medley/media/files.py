"""Finds the media of each item: in a folder by name, in a table by its columns, text in the columns of the items.

In a folder a medium belongs to the item whose id is its file name without the suffix (`42.jpg`), that name before a
number (`42_1.jpg`, `42-2.png`), or the folder it lies in (`42/front.jpg`), in this order. Text is `42.txt`.
"""

import json
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from medley.data.dataset import Dataset
from medley.data.sources.finding import is_table
from medley.data.sources.tables import Table, read_table
from medley.data.sources.values import scalar_text
from medley.errors import InputError
from medley.media.limits import Limits, MediaError, Source, opened
from medley.media.matching import Matcher, Name
from medley.media.scanning import scan, shown

COLUMNS = {"image": "images", "video": "videos", "audio": "audios", "text": "texts"}  # of a table -> field of ItemMedia
PLURAL = {"images": "image", "videos": "video", "audios": "audio", "texts": "text"}
WEB = ("http://", "https://", "s3://", "gs://", "ftp://")


@dataclass(frozen=True)
class ItemMedia:
    """The media of one item, in a fixed order."""

    images: tuple[Source, ...] = ()
    videos: tuple[Source, ...] = ()
    audios: tuple[Source, ...] = ()
    texts: tuple[str, ...] = ()


class Problem(NamedTuple):
    """A medium that is not used."""

    item: int | None  # item row, None where it is not known
    file: str  # relative to the folder, or as the table has it
    reason: str


class Found(NamedTuple):
    """The media of the items, and what did not match."""

    media: dict[int, ItemMedia]  # item row -> its media; rows ascend
    unmatched: list[str]  # files without an item, sorted
    notes: list[str]  # sentences for people
    problems: list[Problem]  # by file


def find_media(
    dataset: Dataset,
    media: Path | pl.DataFrame | None,
    *,
    text: Sequence[str] = (),
    id_rule: str = "auto",
    limits: Limits = Limits(),  # noqa: B008 (immutable)
) -> Found:
    """Finds the media of each item. No medium is opened except text files.

    Args:
        dataset: whose items.
        media: a folder, searched with its subfolders; or a table, a file or in memory, with `item_id` and any of
            `image`, `video`, `audio` (paths, relative to the table, or lists of paths) and `text`; or None.
        text: columns of the items; the text of one column as it is, those of several joined by ". ".
        id_rule: how names become ids, one of `matching.RULES`: `exact`, or one that repairs ids; `auto` is `exact`
            unless no file matches and exactly one repair matches most of them, each item at most once, which a note
            then says.
        limits: `max_text_bytes` bounds text files.

    Raises:
        InputError: the folder, the table or a column is absent, or the rule is unknown.
    """
    if media is None and not text:
        raise InputError("no media", expected="a folder, a table, or columns of text", remedy="give media or text")
    matcher = Matcher(dataset.items.raw.to_list(), id_rule)
    parts = _Parts()
    if isinstance(media, pl.DataFrame):
        _from_table(Table("media", media, np.arange(1, len(media) + 1)), Path(), matcher, parts)
    elif isinstance(media, str | Path):
        path = Path(media)
        if is_table(path):
            _from_table(read_table(path), path.parent, matcher, parts)
        elif path.is_dir():
            _from_folder(path, matcher, parts, limits)
        else:
            raise InputError("no media", file=path, expected="a folder or a table", remedy="check the path")
    elif media is not None:
        expected = "a path, a polars data frame or None"
        raise InputError("media", expected=expected, got=type(media).__name__, remedy="pl.DataFrame(...)")
    for row, text_of_item in _texts(dataset.item_table, text):
        parts.add(row, "text", text_of_item)
    return parts.found()


class _Parts:
    """Collects what is found."""

    def __init__(self) -> None:
        self._media: dict[int, dict[str, dict[Any, None]]] = {}  # row -> kind -> media; dicts drop what comes twice
        self.unmatched: list[str] = []
        self.notes: list[str] = []
        self.problems: list[Problem] = []

    def add(self, row: int, kind: str, medium: Path | str) -> None:
        self._media.setdefault(row, {}).setdefault(kind, {})[medium] = None

    def found(self) -> Found:
        media = {
            row: ItemMedia(**{COLUMNS[kind]: tuple(each) for kind, each in self._media[row].items()})
            for row in sorted(self._media)
        }
        if self.unmatched:
            self.notes.append(f"files without an item: {len(self.unmatched):,}, for example {min(self.unmatched)}")
        return Found(media, sorted(self.unmatched), self.notes, sorted(self.problems, key=lambda each: each.file))


def _from_folder(folder: Path, matcher: Matcher, parts: _Parts, limits: Limits) -> None:
    files, notes = scan(folder, set(matcher.ids))
    names = [Name(shown(file.relative), file.name, file.stem, file.folders) for file in files]
    matches = matcher.match(names)
    parts.notes += matches.notes + notes
    for place, (file, row) in enumerate(zip(files, matches.rows, strict=True)):
        label = names[place].shown
        if place in matches.reasons:
            parts.problems.append(Problem(None, label, matches.reasons[place]))
        elif row is None:
            parts.unmatched.append(label)
        elif file.kind == "text":
            try:
                parts.add(row, "text", _read_text(file.path, limits))
            except MediaError as error:
                parts.problems.append(Problem(row, label, str(error)))
        else:
            parts.add(row, file.kind, file.path)


def _read_text(path: Path, limits: Limits) -> str:
    with opened(path, limits.max_text_bytes) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise MediaError("not a text in UTF-8") from None
    if not text:
        raise MediaError("no text")
    return text


def _from_table(table: Table, folder: Path, matcher: Matcher, parts: _Parts) -> None:
    raw_ids = table.ids(table.column("item", None))
    columns = {name: PLURAL.get(name, name) for name in table.frame.columns if PLURAL.get(name, name) in COLUMNS}
    if not columns:
        got = ", ".join(map(repr, table.frame.columns))
        raise InputError("no column of media", file=table.path, expected=" or ".join(COLUMNS), got=got)
    unread = [name for name in table.frame.columns if name not in columns and name != table.column("item", None)]
    if unread:
        parts.notes.append(f"columns of the table not read: {', '.join(unread)}")
    matches = matcher.match([Name(raw_id, raw_id, raw_id) for raw_id in raw_ids])
    parts.notes += matches.notes
    values = [(kind, _lists(table, name)) for name, kind in columns.items()]
    unknown: list[str] = []
    for place, row in enumerate(matches.rows):
        if row is None:
            unknown.append(raw_ids[place])
        for kind, lists in values:
            for value in lists[place]:
                if place in matches.reasons:
                    parts.problems.append(Problem(None, value, matches.reasons[place]))
                elif row is None:
                    parts.unmatched += [shown(value)] if kind != "text" else []
                elif kind == "text":
                    parts.add(row, "text", value)
                elif (reason := _unusable(folder, value)) is not None:
                    parts.problems.append(Problem(row, value, reason))
                else:
                    parts.add(row, kind, folder / value)
    if unknown:
        parts.notes.append(f"rows of the table without an item: {len(unknown):,}, for example {unknown[0]!r}")


def _lists(table: Table, name: str) -> list[list[str]]:
    """Returns the values of a column of paths or text, a list per row."""
    column = table.frame[name]
    if column.dtype == pl.Null:
        return [[] for _ in column]
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.List(pl.String)):
        remedy = "store text, or lists of text"
        raise InputError(f"column {name!r}", file=table.path, expected="text", got=column.dtype, remedy=remedy)
    if column.dtype == pl.List(pl.String):
        return [[text for text in texts or [] if text and text.strip()] for texts in column.to_list()]
    return [[text] if text and text.strip() else [] for text in column.cast(pl.String).to_list()]


def _unusable(folder: Path, value: str) -> str | None:
    """Why a path of a table is not a file that can be read; None if it is."""
    if value.lower().startswith(WEB):
        return "a web address: download the file first"
    try:
        mode = (folder / value).stat().st_mode
    except (OSError, ValueError) as error:  # a null byte is a ValueError
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return "no such file" if missing else f"unreadable: {getattr(error, 'strerror', None) or error}"
    return None if stat.S_ISREG(mode) else "not a regular file"


def _texts(items: pl.DataFrame, columns: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yields (row, text) of the items that have any text in these columns."""
    if isinstance(columns, str):
        raise InputError("columns of text", expected="a list of names", got=repr(columns), remedy=f"[{columns!r}]")
    absent = [name for name in columns if name not in items.columns]
    if absent:
        known = ", ".join(items.columns)
        raise InputError(f"no column {absent[0]!r} of the items", expected=f"some of {known}", got=repr(absent[0]))
    for row, texts in enumerate(zip(*(_text_of(items[name]) for name in columns), strict=True)):
        known_texts = [text for text in texts if text is not None and text.strip()]
        if known_texts:
            yield row, ". ".join(known_texts)


def _text_of(column: pl.Series) -> list[str | None]:
    """Returns text per row; the values of a list are joined by commas. Imports store lists as JSON."""
    values = column.to_list()
    if column.dtype == pl.String:
        lists = [_json_list(value) for value in values if value is not None]
        if not lists or any(each is None for each in lists):
            return values
        values = [None if value is None else _json_list(value) for value in values]
    return [None if value is None else _joined(value) for value in values]


def _json_list(value: str) -> list[Any] | None:
    if not (value.startswith("[") and value.endswith("]")):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(scalar_text(each) for each in value if each is not None)
    return scalar_text(value)
