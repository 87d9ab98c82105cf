"""Tables of a study: metrics over the seeds with marks, costs, chosen settings; published scores below our own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medley.evaluation.statistics import Spread, mark_best, with_values
from medley.report.study_results import Condition, PublishedScores, StudyResult, StudyResults, means, under
from medley.report.tables import Cell, Mark, Row, Table

COSTS = ("CPU s to best", "GB", "parameters", "tried")
ACCURACY = ("recall", "precision", "ndcg")
STALE = "(train history)"  # beside a model with learned user vectors, in a table of fresh histories
MOST_K = 2  # cut-offs in one table; figures show all


def result_tables(
    results: StudyResults, condition: Condition, published: Sequence[PublishedScores] = ()
) -> list[Table]:
    """Returns a table per heading of the declaration, or per group of entries, under one condition.

    Args:
        results: of a study.
        condition: split, candidates and histories.
        published: scores that were measured elsewhere; those with a metric of the table stand at the end of the first
            table that has the model, or of the first table.
    """
    rows = under(results, condition)
    by_label = {one.entry.label: one for one in rows}
    columns = metric_columns(results.study, rows)
    tables, left = [], list(published)
    for heading, labels in _headings(results.study, rows).items():
        chosen = [by_label[label] for label in labels if label in by_label]
        if not chosen:
            continue
        known = {name.lower() for one in chosen for name in (one.entry.label, one.entry.model)}
        beside = [one for one in left if one.label.lower() in known and set(one.metrics) & set(columns)]
        left = [one for one in left if one not in beside]
        tables.append(_table(heading, chosen, columns, beside, condition))
    rest = [one for one in left if set(one.metrics) & set(columns)]
    if rest and tables:
        title = "Published scores of models and variants that this study does not have"
        tables.append(Table(title, columns, tuple(_published_row(one, columns) for one in rest)))
    return tables


def cost_table(rows: Sequence[StudyResult]) -> Table:
    """Returns what the entries cost: CPU time to the best epoch, memory, parameters, settings that were tried."""
    body = [
        Row(
            one.entry.label,
            {
                "CPU s to best": Cell(one.cpu_to_best.mean, one.cpu_to_best.std, digits=1),
                "GB": Cell(one.peak_gb, digits=2),
                "parameters": Cell(one.num_parameters),
                "tried": Cell(one.num_tried),
            },
        )
        for one in rows
    ]
    caption = "CPU seconds of training up to the best epoch, validation included; largest memory of the process"
    return Table("Costs", COSTS, tuple(body), caption=caption)


def settings_table(rows: Sequence[StudyResult]) -> Table:
    """Returns the settings that validation chose, with the fingerprint of the recipe and the command that trains it."""
    body = []
    for one in rows:
        chosen = ", ".join(f"{key}={_written(value)}" for key, value in one.chosen.items())
        cells = {"settings": chosen, "recipe": one.recipe[:16], "command": one.command}
        body.append(Row(one.entry.label, {name: Cell(value or None) for name, value in cells.items()}))
    return Table("Chosen settings", ("settings", "recipe", "command"), tuple(body))


def metric_columns(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> tuple[str, ...]:
    """Returns the metrics of the tables: accuracy at the study's cut-offs (at most two), then recall of groups."""
    metric, _, k = str(study.get("metric", "recall@20")).partition("@")
    ks = [str(each) for each in study.get("at", ())]
    shown = ks if len(ks) <= MOST_K else [k]
    names = dict.fromkeys([metric, *ACCURACY])
    wanted = [f"{name}@{each}" for name in names for each in shown]
    wanted += [f"{group}_recall@{k}" for group in ("cold", "warm", "sparse", "dense")]
    have = {name for one in rows for name in one.metrics}
    return tuple(name for name in wanted if name in have)


def marks_of(rows: Sequence[StudyResult], metric: str) -> dict[str, Mark | None]:
    """Returns label -> mark, from a corrected paired test over the users for whom all models have a value."""
    values = means(rows, metric)
    users = {one.user.tobytes() for one in rows}
    if len(values) < 2 or len(values) < len(rows) or len(users) > 1:
        return dict.fromkeys((one.entry.label for one in rows), None)
    known = with_values(values)
    if len(next(iter(known.values()))) < 2:
        return dict.fromkeys(known, None)
    return dict(mark_best(known))


def _table(
    heading: str,
    rows: Sequence[StudyResult],
    columns: tuple[str, ...],
    published: Sequence[PublishedScores],
    condition: Condition,
) -> Table:
    marks = {name: marks_of(rows, name) for name in columns}
    body = []
    for one in rows:
        label = one.entry.label
        name = label if one.users_of == condition.history else f"{label} {STALE}"
        body.append(Row(name, {n: _cell(one.metrics[n], marks[n].get(label)) for n in columns if n in one.metrics}))
    num_seeds = max((len(one.seeds) for one in rows), default=0)
    over = f"mean ± sample standard deviation over {num_seeds} seeds" if num_seeds > 1 else "one seed"
    body += [_published_row(one, columns) for one in published]
    return Table(heading, columns, tuple(body), caption=f"Test, {condition}; {over}{_histories(rows, condition)}")


def _histories(rows: Sequence[StudyResult], condition: Condition) -> str:
    """Returns what a table says about histories that are not those of train."""
    if condition.history == "train":
        return ""
    made = "; users are made of train and validation interactions, on which nothing is trained"
    stale = any(one.users_of != condition.history for one in rows)
    return f"{made}; {STALE}: learned user vectors, which take no new interactions" if stale else made


def _published_row(one: PublishedScores, columns: tuple[str, ...]) -> Row:
    cells = {name: Cell(value) for name, value in one.metrics.items() if name in columns}
    return Row(one.label, cells, elsewhere=f"{one.source}. Selection: {one.selection}")


def _cell(value: Spread, mark: Mark | None) -> Cell:
    return Cell(value.mean, value.std if np.isfinite(value.std) else None, mark)


def _headings(study: Mapping[str, Any], rows: Sequence[StudyResult]) -> dict[str, list[str]]:
    """Returns heading -> labels: first the groups of the entries, then the tables of the declaration."""
    groups: dict[str, list[str]] = {}
    for one in rows:
        groups.setdefault(one.entry.group or study.get("title", "Results"), []).append(one.entry.label)
    if len(groups) > 1:
        groups = {"All entries": [one.entry.label for one in rows]} | groups
    return {**groups, **study.get("tables", {})}


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
