"""The answer of `medley compare` as a table of results, for papers and spreadsheets."""

from collections.abc import Sequence
from pathlib import Path

from medley.api import Compared
from medley.report.tables import Cell, Row, Table

DIFFERENCE = ("difference", "95% from", "95% to", "d", "p", "detectable")


def compared_table(rows: Sequence[Compared], *, judged: str, metric: str, caption: str | None = None) -> Table:
    """Returns a row per run: the metrics that all runs have, and the difference to the first run.

    Args:
        rows: made by `medley.compare`.
        judged: what was evaluated, such as "test split, fresh histories".
        metric: whose differences were tested.
        caption: how they were tested.
    """
    shared = [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
    body = []
    for row in rows:
        cells, one = {name: Cell(row.metrics[name]) for name in shared}, row.comparison
        if one is not None:
            figures = (one.difference, one.low, one.high, one.effect, one.p_value, one.detectable)
            cells |= {name: Cell(value) for name, value in zip(DIFFERENCE, figures, strict=True)}
        body.append(Row(f"{row.model} ({Path(row.run).name})", cells))
    columns = (*shared, *(DIFFERENCE if len(rows) > 1 else ()))
    notes = (f"Differences are those of {metric}",) if len(rows) > 1 else ()
    return Table(
        f"Evaluated on the {judged}",
        columns,
        tuple(body),
        first="run",
        caption=caption or "",
        notes=notes,
    )
