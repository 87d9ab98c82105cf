"""medley compare"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medley.cli.options import Json, flags_line
from medley.report.terminal import show_columns, show_json, show_line, show_table

if TYPE_CHECKING:
    from medley.api import Compared

TESTS = {"permutation": "sign-flip test", "t": "t-test", "wilcoxon": "Wilcoxon's test"}
CORRECTIONS = {"holm": "Holm", "bh": "Benjamini-Hochberg"}


def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated")],
    split: Annotated[str, typer.Option(help="test or valid")] = "test",
    history: Annotated[str, typer.Option(help="of the evaluations: train or fresh")] = "train",
    candidates: Annotated[str, typer.Option(help="of the evaluations: all, cold, sampled-1000, ...")] = "all",
    metric: Annotated[str, typer.Option(help="the metric that is compared")] = "recall@20",
    correction: Annotated[str, typer.Option(help="of the p-values: holm, or bh (Benjamini-Hochberg)")] = "holm",
    test: Annotated[str, typer.Option(help="permutation (sign flips), t or wilcoxon")] = "permutation",
    wide: Annotated[bool, typer.Option("--wide", help="a row per run with all tests, for wide terminals")] = False,
    form: Annotated[
        str | None, typer.Option("--format", help="print markdown, latex, csv or html instead of a table")
    ] = None,
    json: Json = False,
) -> None:
    """Compare evaluated runs with the first one; refuses runs that were evaluated under different protocols."""
    from medley import api

    judged = f"{split} split" if history == "train" else f"{split} split, {history} histories"
    judged += "" if candidates == "all" else f", {candidates} candidates"
    protocol = {"split": split, "history": history, "candidates": candidates}
    rows = api.compare(runs, **protocol, metric=metric, correction=correction, test=test)
    if json:
        about = {**protocol, "metric": metric, "test": test, "correction": correction}
        show_json({**about, "runs": [_document(row) for row in rows]})
        return
    flags = list(dict.fromkeys(flag for row in rows for flag in row.flags))
    caption = None
    if len(rows) > 1:
        caption = (
            f"Differences to the first run, paired by user: 95% bootstrap interval, {TESTS[test]}, "
            f"{CORRECTIONS[correction]}; effect: mean / standard deviation; detectable: a true difference of this size "
            "is found in 4 of 5 experiments"
        )
    if form is not None:
        from medley.report.comparison import compared_table
        from medley.report.tables import render

        if flags:
            caption = flags_line(flags) if caption is None else f"{caption}. {flags_line(flags)}"
        print(render(compared_table(rows, judged=judged, metric=metric, caption=caption), form), end="")
        return
    if wide:
        _show_wide(rows, judged=judged, metric=metric, correction=correction, caption=caption)
    else:
        _show_narrow(rows, judged=judged, metric=metric, correction=correction, caption=caption)
    if flags:
        show_line(flags_line(flags))


def _show_narrow(rows: "Sequence[Compared]", *, judged: str, metric: str, correction: str, caption: str | None) -> None:
    """Prints a table with one column per run."""
    shared = [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
    columns = {}
    for place, row in enumerate(rows, start=1):
        figures: dict[str, Any] = {"model": row.model, **{name: row.metrics[name] for name in shared}}
        if len(rows) > 1:
            one = row.comparison
            figures[f"difference in {metric}"] = None if one is None else f"{one.difference:+.4f}"
            figures["  95% from"] = None if one is None else f"{one.low:+.4f}"
            figures["  95% to"] = None if one is None else f"{one.high:+.4f}"
            figures["  effect size d"] = None if one is None else f"{one.effect:+.3f}"
            figures[f"  p ({_name(correction)})"] = None if one is None else _p(one.p_value)
            figures["  detectable"] = None if one is None else one.detectable
        columns[f"{place}. {Path(row.run).name}"] = figures
    show_columns(judged, columns, caption=caption)


def _show_wide(rows: "Sequence[Compared]", *, judged: str, metric: str, correction: str, caption: str | None) -> None:
    """Prints a table with one row per run and everything that is known about its difference to the first run."""
    heads = (
        "run",
        "model",
        metric,
        "difference",
        "95% from",
        "95% to",
        "d",
        "better",
        "worse",
        f"p ({_name(correction)})",
    )
    heads = (*heads, "p flips", "p t", "p Wilcoxon", "detectable", "users")
    body: list[tuple[Any, ...]] = []
    for row in rows:
        one, start = row.comparison, (Path(row.run).name, row.model, row.metrics.get(metric))
        if one is None:
            body.append((*start, *[None] * (len(heads) - len(start))))
            continue
        differences = (f"{value:+.4f}" for value in (one.difference, one.low, one.high))
        sides = (f"{share:.1%}" for share in (one.better, one.worse))
        p_values = map(_p, (one.p_value, one.permutation_p, one.t_p, one.wilcoxon_p))
        body.append((*start, *differences, f"{one.effect:+.3f}", *sides, *p_values, one.detectable, one.num_pairs))
    show_table(judged, heads, body, caption=caption, wide=True)


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _name(correction: str) -> str:
    return "Holm" if correction == "holm" else "BH"


def _document(row: "Compared") -> dict[str, Any]:
    document: dict[str, Any] = {"run": row.run, "model": row.model, "metrics": row.metrics, "flags": list(row.flags)}
    one = row.comparison
    if one is None:
        return {**document, "difference": None, "p_value": None}
    return {
        **document,
        "difference": {"mean": one.difference, "low": one.low, "high": one.high},
        "p_value": one.p_value,
        "p_values": {"permutation": one.permutation_p, "t": one.t_p, "wilcoxon": one.wilcoxon_p},
        "effect": {"d": one.effect if math.isfinite(one.effect) else None, "better": one.better, "worse": one.worse},
        "detectable": one.detectable,
        "num_users": one.num_pairs,
    }
