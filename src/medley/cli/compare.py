"""medley compare"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medley.cli.options import Json
from medley.report.terminal import show_columns, show_json

if TYPE_CHECKING:
    from medley.api import Compared


def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated")],
    split: Annotated[str, typer.Option(help="test or valid")] = "test",
    metric: Annotated[str, typer.Option(help="the metric that is compared")] = "recall@20",
    json: Json = False,
) -> None:
    """Compare evaluated runs with the first one; refuses runs that were evaluated under different protocols."""
    from medley import api

    rows = api.compare(runs, split=split, metric=metric)
    if json:
        show_json({"split": split, "metric": metric, "runs": [_document(row) for row in rows]})
        return
    shared = [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
    columns = {}
    for place, row in enumerate(rows, start=1):
        figures: dict[str, Any] = {"model": row.model, **{name: row.metrics[name] for name in shared}}
        if len(rows) > 1:
            one = row.comparison
            figures[f"difference in {metric}"] = None if one is None else f"{one.difference:+.4f}"
            figures["  95% from"] = None if one is None else f"{one.low:+.4f}"
            figures["  95% to"] = None if one is None else f"{one.high:+.4f}"
            figures["  p (Holm)"] = None if one is None else one.p_value
        columns[f"{place}. {Path(row.run).name}"] = figures
    caption = (
        "Differences to the first run, paired by user: 95% bootstrap interval, sign-flip test"
        if len(rows) > 1
        else None
    )
    show_columns(f"{split} split", columns, caption=caption)


def _document(row: "Compared") -> dict[str, Any]:
    one = row.comparison
    difference = None if one is None else {"mean": one.difference, "low": one.low, "high": one.high}
    p_value = None if one is None else one.p_value
    return {"run": row.run, "model": row.model, "metrics": row.metrics, "difference": difference, "p_value": p_value}
