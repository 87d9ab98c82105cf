"""Tables in Markdown."""

from collections.abc import Sequence


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Returns the lines of a table.

    Args:
        columns: titles.
        rows: cells; a bar in a cell is escaped.
        left: how many of the first columns are left-aligned; the others are right-aligned.
    """
    rule = "|".join(["---"] * left + ["---:"] * (len(columns) - left))
    return [_line(columns), f"|{rule}|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
