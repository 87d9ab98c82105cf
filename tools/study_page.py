"""Writes a page of docs/results from the results of a study, for `make results-lfm2k-controls` and its like.

python tools/study_page.py --results runs/results/lfm2k-cold --out docs/results/lfm2k-cold.md --made-by "make ..."

Nothing is trained.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medley.evaluation.statistics import compare_with_first, with_values
from medley.experiments.agreement import agreements
from medley.experiments.results import Result, Results
from medley.files import write_atomic
from medley.report.study_results import Condition, conditions
from medley.report.study_tables import result_tables
from medley.report.tables import Cell, but_for, to_markdown
from medley.runs.settings import TrainSettings
from medley.version import listed

MOST_DIGITS = 16  # of a fingerprint
MOST_EPOCHS = TrainSettings().num_epochs  # where a study does not say


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder that medley study wrote")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--made-by", required=True, help="the command that makes study and page")
    chosen = parser.parse_args(arguments)
    write_atomic(chosen.out, page(Results.load(chosen.results), chosen.made_by))
    print(f"written: {chosen.out}")


def page(results: Results, made_by: str) -> str:
    """Returns the page in Markdown."""
    data, study = results.data, results.study
    dims = ", ".join(f"{name} {dim}-d" for name, dim in data["modalities"].items()) or "none"
    days = " and ".join(sorted({one.measured for one in results.entries}))
    once = list({one.label: one for one in results.entries}.values())
    machines = but_for((one.machine, one.label) for one in once)
    versions = but_for((listed(one.versions or results.made_by["versions"]), one.label) for one in once)
    seeds = ", ".join(map(str, results.made_by["seeds"]))
    lines = [
        f"# {study['title']} ({data['name']})",
        "",
        study["about"].replace("\n", " "),
        "",
        f"Made by `{made_by}`, measured on {days}; one thread for each training. Machine: {machines}. Versions: "
        f"{versions}.",
        "",
        f"Data: {data['num_users']:,} users, {data['num_items']:,} items; features: {dims}.",
        "",
        f"{_choice(results)} Then seeds {seeds}, test scored once per seed. Intervals are over users: they say how far "
        "the difference depends on who was measured, and with few seeds little of how far it depends on the seed.",
        "",
        *_cut_short(results.entries),
        *_never_better(results.entries),
    ]
    for condition in conditions(results):
        lines += _condition(results, condition)
    lines += _agreements(results)
    lines += _settings(results)
    if results.skipped:
        lines += ["## Not measured", "", *(f"- {label}: {reason}" for label, reason in results.skipped.items()), ""]
    return "\n".join(lines)


def _choice(results: Results) -> str:
    """Says how settings came about; variants never choose their own without a grid."""
    if max((one.num_tried for one in results.entries), default=0) <= 1:
        return "Settings are fixed by the study, none were chosen."
    seed = results.made_by["seeds"][0]
    return f"Settings are chosen by validation {results.study['metric'].capitalize()} with seed {seed}."


def _cut_short(entries: Sequence[Result]) -> list[str]:
    """Names the entries whose best epoch is one of the last two that the budget allows, for any seed."""
    found = dict.fromkeys(
        one.label
        for one in entries
        if one.num_parameters and max(one.best_epochs, default=0) >= int(one.chosen.get("num_epochs", MOST_EPOCHS)) - 1
    )
    if not found:
        return []
    return [f"Best in one of the last two epochs for a seed, so longer training may help: {', '.join(found)}.", ""]


def _never_better(entries: Sequence[Result]) -> list[str]:
    """Names the entries whose first epoch was the best with every seed: early stopping then chose nothing."""
    found = dict.fromkeys(one.label for one in entries if one.num_parameters and max(one.best_epochs, default=0) == 1)
    if not found:
        return []
    told = "Best in the first epoch with every seed, so these figures are of models after one epoch"
    return [f"{told}: {', '.join(found)}.", ""]


def _condition(results: Results, condition: Condition) -> list[str]:
    split = results.data["splits"][condition.split]
    counts = " / ".join(f"{count:,}" for count in split["num_interactions"].values())
    rows = results.of(condition.split, condition.candidates, condition.history)
    tables = result_tables(results, condition)
    named = set(results.study.get("tables", {}))
    whole = [table for place, table in enumerate(tables) if place == 0 or table.title in named]
    shown = [part for table in whole for part in (to_markdown(table).rstrip(), "")]
    unknown = f", {rows[0].num_unknown_users:,} of the measured users never in train" if rows else ""
    head = (
        f"{counts} train / validation / test interactions{unknown}. Split hash `{split['split_hash'][:MOST_DIGITS]}`."
    )
    title = str(condition)
    return [f"## {title[0].upper()}{title[1:]}", "", head, "", *shown, *_differences(rows, results.study)]


def _differences(rows: Sequence[Result], study: Mapping[str, Any]) -> list[str]:
    """Compares variants with their entry and with the entry of as many parameters. Entries of which some have no
    variants are compared with the best of them, and with the last of each table.
    """
    metric = study["metric"]
    by_label = {one.label: one for one in rows}
    groups: dict[str, list[str]] = {}
    for one in rows:
        if one.entry.variant_of in by_label:
            groups.setdefault(one.entry.variant_of, []).append(one.label)
    for one in rows:
        if one.entry.parameters_of in by_label:
            groups.setdefault(one.entry.parameters_of, []).append(one.label)
    plain = [one for one in rows if not one.entry.variant_of and not one.entry.parameters_of]
    if len(plain) > 1 and any(one.label not in groups for one in plain):
        best = max(plain, key=lambda one: one.metrics[metric].mean)
        others = [one.label for one in plain if one is not best]
        groups = {best.label: [*others, *groups.pop(best.label, [])], **groups}
        for labels in study.get("tables", {}).values():
            if labels[-1] in by_label:
                groups.setdefault(labels[-1], [label for label in labels[:-1] if label in by_label])
    if not groups:
        return []
    lines = [
        f"Differences of {metric} to the entry in the second column, with the bootstrap interval (95%) over users and "
        "the p-value of the paired permutation test (Holm's correction within each entry):",
        "",
        "| entry | compared with | difference | interval | p | relative |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for base, labels in groups.items():
        values = with_values({label: by_label[label].values(metric) for label in (base, *labels)})
        mean = float(np.mean(values[base]))
        for label, found in compare_with_first(values).items():
            if found is not None:
                relative = f"{found.difference / mean:+.1%}" if mean else "-"
                interval = f"{found.low:+.4f} to {found.high:+.4f}"
                cells = (label, base, f"{found.difference:+.4f}", interval, f"{found.p_value:.4f}", relative)
                lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _agreements(results: Results) -> list[str]:
    found = agreements(results, results.study["metric"])
    if not found:
        return []
    lines = [
        "## Do the conclusions agree?",
        "",
        "Pairs of entries whose difference a paired t-test with Holm's correction supports under both conditions, with "
        "the same sign or with opposite signs, or under one of them alone.",
        "",
        "| first | second | Kendall's tau | same | opposite | first alone | second alone | neither |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {' '.join(one.first)} | {' '.join(one.second)} | {one.tau:.2f} | {' | '.join(map(str, one[3:]))} |"
        for one in found
    ]
    return [*lines, ""]


def _settings(results: Results) -> list[str]:
    """Lists the chosen settings and costs; variants have the settings of their entry."""
    common = _common(results.entries)
    lines = [
        "## Settings and costs",
        "",
        *(
            [f"Common to all trained entries: {', '.join(f'{k} = {v}' for k, v in common.items())}.", ""]
            if common
            else []
        ),
        "| entry | split | chosen | tried | best epochs | CPU s to best | parameters |",
        "|---|---|---|---:|---|---:|---:|",
    ]
    # The same under all conditions of a split.
    once = {(one.split, one.label): one for one in reversed(results.entries)}
    for one in reversed(once.values()):
        chosen = ", ".join(f"{key}={value}" for key, value in one.chosen.items() if common.get(key) != value) or "-"
        epochs = ", ".join(map(str, one.best_epochs)) if one.num_parameters else "-"
        shown = chosen if not one.entry.variant_of else f"as {one.entry.variant_of}, " + _changes(one)
        cells = (one.label, one.split, shown, str(one.num_tried), epochs, str(Cell(one.cpu_to_best.mean, digits=1)))
        lines.append(f"| {' | '.join(cells)} | {one.num_parameters:,} |")
    return [*lines, ""]


def _common(entries: Sequence[Result]) -> dict[str, Any]:
    """Returns the settings that all trained entries have in common."""
    chosen = [one.chosen for one in entries if one.num_parameters]
    return (
        {key: value for key, value in chosen[0].items() if all(one.get(key) == value for one in chosen)}
        if chosen
        else {}
    )


def _changes(result: Result) -> str:
    changed = {**result.entry.options}
    if result.entry.parameters_of:
        changed["dim"] = result.chosen["dim"]
    return ", ".join(f"{key}={value}" for key, value in changed.items())


if __name__ == "__main__":
    main()
