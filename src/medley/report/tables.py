"""One kind of table for results, shown on a terminal or as Markdown, LaTeX, CSV or HTML.

A cell has a mean and, with several seeds, a standard deviation; the best and the second best value of a column are
marked where a test supports the mark. Rows that were measured elsewhere are never marked, and say where.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from rich.table import Table as RichTable
from rich.text import Text

from medley.errors import InputError

Mark = Literal["best", "second"]
NONE = "\u2013"  # a dash
STYLES = {"best": "bold", "second": "underline", None: ""}
SIGNS = {"best": " *", "second": " +", None: ""}  # on a terminal, where a pipe has no styles
LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {"\\": r"\textbackslash{}", "±": r"$\pm$", NONE: "--", "\u00d7": r"$\times$", "²": "$^2$", "\u2212": "$-$"}
MARKDOWN = re.compile(r"([\\`*_\[\]<>|])")
UPPER = ("ndcg", "map", "mrr")  # names of metrics that are abbreviations


@dataclass(frozen=True)
class Cell:
    """A figure, or text."""

    value: float | int | str | None  # None: a dash
    std: float | None = None  # over the seeds; None or NaN where there is one value
    mark: Mark | None = None
    digits: int = 4

    def __str__(self) -> str:
        """The figure with its standard deviation, for people."""
        if self.value is None or (isinstance(self.value, float) and math.isnan(self.value)):
            return NONE
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, int):
            return f"{self.value:,}"
        figure = f"{self.value:,.{self.digits}f}"
        return figure if self.std is None or math.isnan(self.std) else f"{figure} ± {self.std:.{self.digits}f}"


@dataclass(frozen=True)
class Row:
    """A row: an entry of a study, or a row of another publication."""

    label: str
    cells: Mapping[str, Cell]  # column -> cell; a column may be absent
    elsewhere: str = ""  # where and how it was measured and selected, if not here


@dataclass(frozen=True)
class Table:
    """A table of results."""

    title: str
    columns: tuple[str, ...]  # keys of the cells and, by `column_title`, the heads
    rows: tuple[Row, ...]
    first: str = "model"  # head of the labels
    caption: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for row in self.rows:
            unknown = [name for name in row.cells if name not in self.columns]
            if unknown:
                raise InputError(f"cells of {row.label!r}", expected=" or ".join(self.columns), got=unknown[0])

    @property
    def here(self) -> tuple[Row, ...]:
        """The rows that were measured here."""
        return tuple(row for row in self.rows if not row.elsewhere)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the other rows were measured, in the order of their footnotes."""
        return tuple(dict.fromkeys(row.elsewhere for row in self.rows if row.elsewhere))

    def footnotes(self) -> list[str]:
        """Returns the lines below the table: caption, meaning of the marks, notes and numbered sources."""
        marks = {cell.mark for row in self.rows for cell in row.cells.values()} - {None}
        lines = [self.caption] if self.caption else []
        if marks:
            lines.append(
                "Marked are the best and the second best value of a column where a paired test over users, corrected "
                "for all pairs of models, supports the mark."
            )
        lines += self.notes
        return lines + [f"[{n}] Measured elsewhere: {source}" for n, source in enumerate(self.sources, start=1)]

    def label_of(self, row: Row) -> str:
        """Returns the label of a row, with the number of its source."""
        return f"{row.label} [{self.sources.index(row.elsewhere) + 1}]" if row.elsewhere else row.label


def column_title(name: str) -> str:
    """`ndcg@20` -> `NDCG@20`, `cold_recall@20` -> `Cold recall@20`; a name with a blank or capital stays as it is."""
    metric, at, k = name.partition("@")
    if not at or " " in name or name != name.lower():
        return name
    return (metric.upper() if metric in UPPER else metric.replace("_", " ").capitalize()) + at + k


def to_terminal(table: Table) -> RichTable:
    """Returns the table for a terminal; a mark is a style and a sign, as a pipe shows no styles."""
    shown = RichTable(title=Text(table.title), box=None, pad_edge=False, title_justify="left", caption_justify="left")
    shown.caption = Text("\n".join(_with_signs(table)), style="dim")
    shown.add_column(Text(table.first), no_wrap=True)
    for name in table.columns:
        shown.add_column(Text(column_title(name)), justify="right", no_wrap=True)
    for row in table.rows:
        cells = [_get(row, name) for name in table.columns]
        texts = [Text(f"{cell}{SIGNS[cell.mark]}", style=STYLES[cell.mark]) for cell in cells]
        shown.add_row(Text(table.label_of(row), style="dim" if row.elsewhere else ""), *texts)
    return shown


def to_markdown(table: Table) -> str:
    """Returns the table in Markdown: the best value bold, the second best in italics."""
    lines = [_line([table.first, *map(column_title, table.columns)])]
    lines.append("|---|" + "---:|" * len(table.columns))
    around = {"best": "**", "second": "*", None: ""}
    for row in table.rows:
        cells = [(_markdown(str(cell)), around[cell.mark]) for cell in (_get(row, name) for name in table.columns)]
        lines.append("| " + " | ".join([_markdown(table.label_of(row)), *(f"{a}{c}{a}" for c, a in cells)]) + " |")
    notes = [_markdown(line) for line in table.footnotes()]
    return "\n".join(
        [f"**{_markdown(table.title)}**", "", *lines, *(part for note in notes for part in ("", note)), ""]
    )


def to_latex(table: Table) -> str:
    """Returns the table in LaTeX (package booktabs): the best value bold, the second best underlined."""
    around = {"best": r"\textbf{%s}", "second": r"\underline{%s}", None: "%s"}
    heads = " & ".join(_latex(head) for head in (table.first, *map(column_title, table.columns)))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule", rf"{heads} \\", r"\midrule"]
    was_here = True
    for row in table.rows:
        if row.elsewhere and was_here and row is not table.rows[0]:
            lines.append(r"\midrule")
        was_here = not row.elsewhere
        cells = [around[cell.mark] % _latex(str(cell)) for cell in (_get(row, name) for name in table.columns)]
        lines.append(" & ".join([_latex(table.label_of(row)), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {_latex(note)}" for note in table.footnotes()]
    return "\n".join([*lines, r"\end{table}", ""])


def to_csv(table: Table) -> str:
    """Returns the table as CSV with full precision: per column of figures the mean, `std` and `mark`."""
    wide = [name for name in table.columns if any(_has_spread(_get(row, name)) for row in table.rows)]
    parts = [
        (name, part) for name in table.columns for part in (("value", "std", "mark") if name in wide else ("value",))
    ]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [table.first, *(n if part == "value" else f"{n} {part}" for n, part in parts), "measured elsewhere"]
    )
    for row in table.rows:
        cells = [getattr(_get(row, name), part) for name, part in parts]
        writer.writerow([row.label, *("" if _is_missing(cell) else cell for cell in cells), row.elsewhere])
    return file.getvalue()


def to_html(table: Table) -> str:
    """Returns the table as an element of an HTML page."""
    around = {"best": "<strong>{}</strong>", "second": "<u>{}</u>", None: "{}"}
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in (table.first, *map(column_title, table.columns)))
    rows = []
    for row in table.rows:
        cells = [_get(row, name) for name in table.columns]
        shown = "".join(f"<td>{around[cell.mark].format(escape(str(cell)))}</td>" for cell in cells)
        kind = ' class="elsewhere"' if row.elsewhere else ""
        rows.append(f'<tr{kind}><th scope="row">{escape(table.label_of(row))}</th>{shown}</tr>')
    notes = "<br>".join(escape(line) for line in table.footnotes())
    caption = f"<caption>{escape(table.title)}{f'<span>{notes}</span>' if notes else ''}</caption>"
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


FORMATS: dict[str, Callable[[Table], str]] = {
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "html": to_html,
}


def render(table: Table, form: str) -> str:
    """Returns the table as text in a format: markdown, latex, csv or html.

    Raises:
        InputError: an unknown format.
    """
    if form not in FORMATS:
        raise InputError("format of a table", expected=" or ".join(FORMATS), got=repr(form))
    return FORMATS[form](table)


def but_for(pairs: Iterable[tuple[str, str]]) -> str:
    """Lists the values of (value, label) pairs, with the labels of all but the most frequent value."""
    labels: dict[str, list[str]] = {}
    for value, label in pairs:
        labels.setdefault(value, []).append(label)
    most = max(labels, key=lambda value: len(labels[value]))
    others = [f"{value} ({'; '.join(labels[value])})" for value in labels if value != most]
    return ", but for ".join([most, *others])


def _get(row: Row, name: str) -> Cell:
    return row.cells.get(name, Cell(None))


def _has_spread(cell: Cell) -> bool:
    return cell.std is not None or cell.mark is not None


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _with_signs(table: Table) -> list[str]:
    lines = table.footnotes()
    marked = any(cell.mark for row in table.rows for cell in row.cells.values())
    return [*lines, "* best, + second best"] if marked else lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_markdown, cells)) + " |"


def _markdown(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", text).replace("\n", " ")


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
