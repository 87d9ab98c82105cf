"""Documents -> the terminal. Every command makes one JSON-able document; here it is printed as JSON or as a table."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Console()


def show_json(document: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str | None = None
) -> None:
    """A table; columns of numbers are right-aligned."""
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    lines = [[cell(value) for value in row] for row in rows]
    for place, column in enumerate(columns):
        numeric = all(line[place][:1] in "+-0123456789" for line in lines)
        table.add_column(column, justify="right" if numeric else "left")
    for line in lines:
        table.add_row(*line)
    OUT.print(table)


def show_pairs(title: str, pairs: Mapping[str, Any]) -> None:
    """A two-column table of names and values."""
    show_table(title, ("", ""), [(name, cell(value)) for name, value in pairs.items()])


def cell(value: object) -> str:
    """A value as text: floats with four digits, counts with separators, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
