"""Tables from files or from memory whose rows know their line, so that an error can name it.

Text is read as its `TextForm` says, see text.py. Every field of a text table is text, an empty one is null; blank lines
are skipped; ids lose surrounding white space. Lines count from 1, the header included; rows of other tables from 1.
"""

import difflib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from medley.data.manifest import SPLITS
from medley.data.parquet import parts_of, read_parquet
from medley.data.sources import sniff
from medley.data.sources.compressed import PARQUET, inner_name, read_bytes
from medley.data.sources.delimited import BY_SUFFIX, read_text
from medley.data.sources.encodings import to_utf8
from medley.data.sources.jsons import SUFFIXES as JSON_SUFFIXES
from medley.data.sources.jsons import read_json_table
from medley.data.sources.lines import no_header, with_header
from medley.data.sources.text import TextForm
from medley.data.sources.times import parse_times, units
from medley.data.sources.values import Parsed, WrongType, parse_ids, parse_numbers, parse_texts, titles
from medley.errors import InputError

Source = Path | str  # a file, or what errors call something in memory, such as `interactions`

COLUMN_NAMES = {  # what -> its names in the public formats, the first match wins
    "user": ("user_id", "userID", "userId", "user"),
    "item": ("item_id", "itemID", "itemId", "item"),
    "timestamp": ("timestamp", "time"),
    "rating": ("rating",),
}
X_LABELS = {str(label): split for label, split in enumerate(SPLITS)}  # MMRec's x_label
NOTHING = ["nan", "NaN", "NAN", "null", "NULL", "Null", "none", "None", "NONE", "NA", "N/A", "n/a", "<NA>", "\\N"]
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)  # what polars raises for a bad file
EXAMPLES = 3  # rows that a reason for leaving rows out names


class Columns(NamedTuple):
    """Names of the columns to read; None means the usual names, see COLUMN_NAMES."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """A table, with the line of each row."""

    path: Source
    frame: pl.DataFrame  # n rows
    line: np.ndarray  # (n,) line of a text file, else number of the row; from 1
    form: TextForm = TextForm()  # noqa: RUF009 (a tuple, never written to)
    named_by: int | None = None  # line of the header that gave the names; None: no line of the file did
    notes: dict[str, int] = field(default_factory=dict)  # oddities found while reading; `read_log` adds to them
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> rows left out, where the form says skip

    @property
    def skipped(self) -> int:
        """Number of rows left out because they cannot be read; `read_log` and `read_catalogue` add to it."""
        return self.left_out.total()

    def _replace(self, **changes: Any) -> "Table":
        return replace(self, **changes)

    def refuse(self, bad: pl.Series, what: str, *, expected: object, got: pl.Series, remedy: str) -> None:
        """Raises an InputError about the first row that is `bad` (n,), if any row is, and how many more there are."""
        if bad.any():
            raise self._refusal(bad, what, expected=expected, got=got, remedy=remedy)

    def _refusal(self, bad: pl.Series, what: str, *, expected: object, got: pl.Series, remedy: str) -> InputError:
        first, more = int(bad.arg_max() or 0), int(bad.sum()) - 1
        row, value = int(self.line[first]), got[first]
        shown = "nothing" if value in (None, "") else repr(value)
        if more:
            shown += f", and the like in {more:,} more {'row' if more == 1 else 'rows'}"
        return InputError(what, file=self.path, row=row, expected=expected, got=shown, remedy=remedy)

    def column(self, what: str, name: str | None) -> str:
        """Returns the name of the user, item, timestamp or rating column; by default the first usual name in the table.

        Raises:
            InputError: the column is absent, or the table has no header.
        """
        candidates, names = COLUMN_NAMES[what] if name is None else (name,), self.frame.columns
        found = next((candidate for candidate in candidates if candidate in names), None)
        if self.named_by is not None and sniff.looks_like_data(names):
            raise no_header(self.path, self.named_by, names)
        if found is not None:
            return found
        similar = difflib.get_close_matches(candidates[0].lower(), [each.lower() for each in names], n=1)
        close = next((each for each in names if similar and each.lower() == similar[0]), None)
        example = "..." if close is None else f'"{close}"'
        raise InputError(
            f"no {what} column",
            file=self.path,
            expected=" or ".join(map(repr, candidates)),
            got=f"columns {', '.join(map(repr, names))}",
            remedy=f"name the column: {what}_column={example}",
        )

    def optional_column(self, what: str, name: str | None) -> str | None:
        """Like `column`, but returns None if no name is asked for and the table has no usual name."""
        absent = name is None and not set(COLUMN_NAMES[what]) & set(self.frame.columns)
        return None if absent else self.column(what, name)

    def ids(self, column: str) -> pl.Series:
        """Returns (n,) ids as text without surrounding white space; an empty id is an InputError."""
        return self._accept(column, self._parse(column, "ids"))

    def numbers(self, column: str) -> pl.Series:
        """Returns (n,) float64, null where the field is empty; anything but a finite number is an InputError."""
        return self._accept(column, self._parse(column, "numbers"))

    def times(self, column: str) -> pl.Series:
        """Returns (n,) seconds since 1970 (UTC), null where empty, int64 if all are whole, see `parse_times`."""
        return self._accept(column, self._parse(column, "times"))

    def readable(self, kinds: Mapping[str, str]) -> "Table":
        """Leaves out and counts rows that cannot be read, if the form says so; else returns the table itself.

        Args:
            kinds: column -> ids, numbers, times or split.

        Raises:
            InputError: no row is left, or no row of a column can be read because of its type.
        """
        if self.form.on_error != "skip":
            return self
        kept = pl.repeat(True, len(self.frame), eager=True)
        for column, kind in kinds.items():
            for check in self._parse(column, kind):
                bad = kept & check.bad.fill_null(True)
                self._leave_out(bad, column, check)
                kept &= ~bad
        if not kept.any():
            reasons = "; ".join(self.left_out)
            raise InputError("no row can be read", file=self.path, got=reasons, remedy="correct the rows")
        return self if kept.all() else self._replace(frame=self.frame.filter(kept), line=self.line[kept.to_numpy()])

    def _leave_out(self, bad: pl.Series, column: str, check: Parsed) -> None:
        if bad.any():
            rows = bad.arg_true()
            where = ", ".join(f"{self.line[row]:,} ({check.shown[row]!r:.40})" for row in rows[:EXAMPLES].to_list())
            name = source_name(self.path)
            self.left_out[f"{name}: {column}: expected {check.expected}, got rows {where}"] += len(rows)

    def _parse(self, column: str, kind: str) -> list[Parsed]:
        raw, form = self.frame[column], self.form
        try:
            if kind == "ids":
                return parse_ids(raw)
            if kind == "split":
                return [_parse_split(column, raw)]
            if kind == "numbers":
                return [parse_numbers(raw, form.decimal)]
            return [parse_times(raw, decimal=form.decimal, date_format=form.date_format)]
        except WrongType as error:
            raise InputError(
                column, file=self.path, expected=error.expected, got=raw.dtype, remedy=error.remedy
            ) from None

    def _accept(self, column: str, checks: list[Parsed]) -> pl.Series:
        for check in checks:
            self.refuse(check.bad, column, expected=check.expected, got=check.shown, remedy=check.remedy)
        return checks[-1].values


def read_table(path: Path, form: TextForm = TextForm()) -> Table:  # noqa: B008 (a tuple, never written to)
    """Reads a table: parquet, JSON or text, perhaps compressed, or a folder of parts, by name and content.

    Raises:
        InputError: the file is empty or damaged, or not a table; a value of the form is wrong; a row cannot be read.
    """
    form = form.checked()
    table = _read_parts(path, form) if path.is_dir() else _read_file(path, form)
    if not len(table.frame):
        reasons = "; ".join(table.left_out) or "none"
        raise InputError(
            "the table is empty", file=path, expected="at least one row", got=reasons, remedy="check the export"
        )
    return table


def _read_file(path: Path, form: TextForm) -> Table:
    suffix = Path(inner_name(path)).suffix
    if _starts_with(path, PARQUET) or (suffix == ".parquet" and path.suffix.lower() == suffix):
        return _parquet(path, path, form)
    data = read_bytes(path)
    if data.startswith(PARQUET):
        return _parquet(path, data, form)
    data = to_utf8(path, data, form.encoding)
    if suffix in JSON_SUFFIXES or (suffix not in BY_SUFFIX and data.lstrip()[:1] in (b"{", b"[")):
        content, named_by = read_json_table(path, data, form), None
    else:
        content = read_text(path, data, form)
        named_by = content.header
    return Table(path, content.frame, content.line, form, named_by, dict(content.notes), Counter(content.skipped))


def _starts_with(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False  # read_bytes will say why


def _parquet(path: Path, source: Path | bytes, form: TextForm) -> Table:
    try:
        frame = read_parquet(source) if isinstance(source, Path) else pl.read_parquet(io.BytesIO(source))
    except UNREADABLE as error:
        remedy = "write the file again; it may be cut short"
        raise InputError("not a readable parquet file", file=path, got=_first_line(error), remedy=remedy) from None
    return Table(path, frame, np.arange(1, len(frame) + 1), form)


def _read_parts(path: Path, form: TextForm) -> Table:
    """Reads the parts of a table one after the other; rows are numbered over all parts."""
    tables = [_read_file(part, form) for part in parts_of(path) if part.stat().st_size]
    if not tables:
        raise InputError("the folder has no parts", file=path, got="empty files", remedy="check the job that wrote it")
    names, notes, left_out = tables[0].frame.columns, Counter[str](), Counter[str]()
    for table in tables:
        if set(table.frame.columns) != set(names):
            got, expected = ", ".join(table.frame.columns), f"the columns {', '.join(names)} of the first part"
            raise InputError("parts with different columns", file=table.path, expected=expected, got=got)
        notes.update(table.notes)
        left_out.update(table.left_out)
    try:
        frame = pl.concat([table.frame.select(names) for table in tables], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InputError(
            "parts with different types", file=path, got=_first_line(error), remedy="write one type"
        ) from None
    return Table(path, frame, np.arange(1, len(frame) + 1), form, tables[0].named_by, dict(notes), left_out)


def read_utf8(path: Path, encoding: str = "utf-8") -> bytes:
    """Returns the content of a text file, perhaps compressed, in UTF-8 without a byte order mark.

    Raises:
        InputError: the file is unreadable, empty, or in another encoding; the message names the line and the byte.
    """
    return to_utf8(path, read_bytes(path), encoding)


def read_log(table: Table, columns: Columns, *, split: str | None = None) -> pl.DataFrame:
    """Reads the interactions of a table. What is odd about its times is added to the notes of the table.

    Args:
        table: one interaction per row.
        columns: the names of its columns.
        split: the split of the whole table; None reads a column `split` or `x_label` if the table has one.

    Returns:
        user_id, item_id (text), line; timestamp, rating, split if the table has them; trimmed: an id had white space.
    """
    user, item = table.column("user", columns.user), table.column("item", columns.item)
    time = table.optional_column("timestamp", columns.timestamp)
    rating = table.optional_column("rating", columns.rating)
    label = (
        next((name for name in ("split", "x_label") if name in table.frame.columns), None) if split is None else None
    )
    table = _without_header(table, (user, item))
    kinds = {user: "ids", item: "ids", time: "times", rating: "numbers", label: "split"}
    table = table.readable({name: kind for name, kind in kinds.items() if name is not None})
    series = {"user_id": table.ids(user), "item_id": table.ids(item), "line": pl.Series(table.line)}
    series["trimmed"] = _trimmed(table, user, series["user_id"]) | _trimmed(table, item, series["item_id"])
    if time is not None:
        series["timestamp"] = table.times(time)
        table.notes.update(units(series["timestamp"]))
    if rating is not None:
        series["rating"] = table.numbers(rating)
    if split is not None:
        series["split"] = pl.repeat(split, len(table.frame), eager=True)
    elif label is not None:
        series["split"] = table._accept(label, table._parse(label, "split"))
    return pl.DataFrame(series)


def _trimmed(table: Table, column: str, ids: pl.Series) -> pl.Series:
    """Returns (n,) bool, ids with white space around them; counts other oddities of ids in the notes."""
    raw = table.frame[column]
    if num_nothing := int(ids.is_in(NOTHING).sum()):
        table.notes["ids_such_as_nan_or_null"] = table.notes.get("ids_such_as_nan_or_null", 0) + num_nothing
    if raw.dtype != pl.String:
        return pl.repeat(False, len(raw), eager=True)
    stripped = ids
    if len(ids) and ids[0] != str(raw[0]).strip():  # 1.0 became 1
        table.notes["ids_written_as_floats"] = table.notes.get("ids_written_as_floats", 0) + len(ids)
        stripped = raw.str.strip_chars()
    return raw != stripped


def _parse_split(name: str, raw: pl.Series) -> Parsed:
    if not (raw.dtype.is_numeric() or raw.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise WrongType("names of splits", "store text")
    text = raw.cast(pl.String).str.strip_chars().str.replace(r"\.0$", "")
    codes = {label: label for label in X_LABELS.values()} if name == "split" else X_LABELS
    split = text.replace_strict(codes, default=None, return_dtype=pl.String)
    return Parsed(split, split.is_null(), text, " or ".join(codes))


def _without_header(table: Table, names: tuple[str, ...]) -> Table:
    """Refuses a first row that holds data although it is taken for a header, and a header in the middle.

    The first row is data where the name of an id column is an id in the same column.
    """
    if table.form.header is not True and all(
        table.frame[name].dtype == pl.String and sniff.looks_like_header(str(table.frame[name][0])) for name in names
    ):
        raise with_header(table.path, int(table.line[0]), [str(field) for field in table.frame.row(0)])
    if table.named_by is None:
        return table
    text = {column.name: column for column in table.frame if column.dtype == pl.String}
    once = [name for name in names if name in text and (text[name] == name).any()]
    if not once:
        return table
    again = pl.repeat(True, len(table.frame), eager=True)
    for name, column in text.items():
        again &= (column.str.strip_chars() == name).fill_null(False)
    if not again.any():
        usual = {each for names in COLUMN_NAMES.values() for each in names}
        if not set(once) <= usual:
            raise no_header(table.path, table.named_by, table.frame.columns)
        return table
    check = Parsed(table.frame[once[0]], again, table.frame[once[0]], "an interaction", "remove the row")
    if table.form.on_error == "skip":
        table._leave_out(again, once[0], check)
        return table._replace(frame=table.frame.filter(~again), line=table.line[~again.to_numpy()])
    table.refuse(again, "the header again", expected=check.expected, got=check.shown, remedy=check.remedy)
    return table


def read_catalogue(table: Table, columns: Columns, *, kind: str, title: str | None = None) -> Table:
    """Reads the users or items of a table: `{kind}_id` first, then `title` if a column holds titles, then the rest.

    Metadata becomes numbers, truth values or text, titles text. Values that cannot are counted in the notes.

    Args:
        table: one user or item per row.
        columns: the names of its columns.
        kind: user or item.
        title: the column with the titles of items; by default `title`, else the first in `_title`, else `name`.

    Raises:
        InputError: an id is missing or occurs twice.
    """
    name = table.column(kind, columns.user if kind == "user" else columns.item)
    table = _without_header(table, (name,)).readable({name: "ids"})
    ids = table.ids(name).alias(f"{kind}_id")
    again = ~ids.is_first_distinct()
    if again.any() and table.form.on_error == "skip":
        table._leave_out(again, name, Parsed(ids, again, ids, "distinct ids"))
        ids = ids.filter(~again)
        table = table._replace(frame=table.frame.filter(~again), line=table.line[~again.to_numpy()])
    else:
        table.refuse(again, name, expected="distinct ids", got=ids, remedy=f"keep one row per {kind}")
    rest = table.frame.drop(name)
    if f"{kind}_id" in rest.columns:
        rest = rest.rename({f"{kind}_id": _free(f"{kind}_id_of_the_table", rest.columns)})
    column = _title_column(table, rest.columns, title) if kind == "item" else None
    metadata = []
    for each in rest:
        values, num_lost = parse_texts(each)
        if num_lost:
            table.notes[f"metadata_lost_in_{each.name}"] = num_lost
        metadata.append(titles(values) if each.name == column else values)
    rest = pl.DataFrame(metadata)
    if column is not None:
        others = rest.select(pl.exclude(column))
        if column != "title" and "title" in others.columns:
            others = others.rename({"title": _free("title_of_the_table", others.columns)})
        rest = pl.DataFrame([rest[column].alias("title"), *others])
    return table._replace(frame=pl.DataFrame([ids, *rest]))


def _title_column(table: Table, names: list[str], title: str | None) -> str | None:
    if title is not None:
        if title not in names:
            got = f"columns {', '.join(map(repr, names))}"
            raise InputError("no title column", file=table.path, expected=repr(title), got=got)
        return title
    ending = [name for name in names if name.endswith("_title")]
    return next((name for name in ("title", *ending, "name") if name in names), None)


def _free(name: str, names: list[str]) -> str:
    while name in names:
        name += "_"
    return name


def source_name(source: Source) -> str:
    """What a sentence calls a source: the name of a file, or the label of something in memory."""
    return source.name if isinstance(source, Path) else source


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
