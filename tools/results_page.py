"""Writes docs/results/tiktok.md, for `make results-tiktok`.

python tools/results_page.py --data ../shared/data/tiktok --out docs/results/tiktok.md

The figures are also written as JSON, next to the page. With `--only`, some rows are measured again or added, and all
other rows stay.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medley.auditing import audit
from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.errors import InputError
from medley.experiments import results
from medley.experiments.scheduler import Resources
from medley.experiments.studies.tiktok import ENTRIES, TRAINING, VARIANTS
from medley.experiments.study import Entry, Result, Study
from medley.experiments.watch import Lines
from medley.files import write_atomic
from medley.report.tables import Cell, but_for
from medley.version import listed, versions

ROWS = (*ENTRIES, *VARIANTS)
SHOWN = ("recall@10", "recall@20", "precision@10", "precision@20", "ndcg@10", "ndcg@20")
GROUPS = ("cold_recall@20", "warm_recall@20")
SHOWN_OF_FINGERPRINT = 16
NOTE = (
    "The rows of HUIGN that were measured before 2026-11-26 are of a form in which items without train interactions "
    "still had an edge to themselves ([fidelity](../fidelity/huign.md))."
)
TOLD_OF_AUDIT = ("row-order", "judged-users", "list-later-rows", "list-fixed")
LOWER_ROW_FIRST = "956ec60a5e01ce25"  # fingerprint of the protocol before docs/decisions/0010-ties.md
COSTS = ("CPU s/epoch", "CPU s to best", "GB", "parameters")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments, runs the study, writes the page and its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv, valid.csv, test.csv, *.npy")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--runs", type=Path, default=Path("runs/results-tiktok"), help="folder of the runs")
    parser.add_argument("--only", nargs="*", help="labels (with their variants) or models; all by default")
    parser.add_argument("--workers", type=int, default=2, help="number of trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="number of threads of each training")
    chosen = parser.parse_args(arguments)

    entries = list(ROWS) if chosen.only is None else select_rows(chosen.only)
    record = chosen.out.with_suffix(".json")
    kept, made_with = read_record(record) if chosen.only is not None and record.exists() else ({}, {})
    folder = chosen.runs / "data"
    data = Dataset(folder) if folder.exists() else import_dataset("csv", chosen.data, folder, name="tiktok")
    study = Study(
        data,
        chosen.runs,
        resources=Resources(jobs=chosen.workers, threads=chosen.threads),
        watch=Lines(),
    )
    new, skipped = study.run(entries, known={label: result.chosen for label, result in kept.items()})
    if skipped:
        got = "; ".join(f"{label}: {reason}" for label, reason in skipped.items())
        raise InputError("rows of the page", expected="entries that apply to the data", got=got)
    made_with |= {result.entry.label: versions() for result in new}
    by_label = kept | {result.entry.label: result for result in new}
    rows = [by_label[row.label] for row in ROWS if row.label in by_label]
    protocols = {result.fingerprint[:SHOWN_OF_FINGERPRINT] for result in rows}
    if len(protocols) > 1:
        remedy = "measure all rows again, or write to another page; the new runs are kept"
        raise InputError(f"the rows of {chosen.out}", expected="one protocol", got=sorted(protocols), remedy=remedy)
    write_atomic(record, json.dumps([_document(result, made_with) for result in rows], indent=1, default=list))
    write_atomic(chosen.out, page(data, study, rows, made_with))
    print(f"written: {chosen.out}")


def select_rows(names: Sequence[str]) -> list[Entry]:
    """Selects rows by label or model, with their variants, whose settings follow those of the row.

    Raises:
        InputError: a name that is neither a label nor a model.
    """
    rows = {name: [one for one in ROWS if name in (one.model, one.label, one.variant_of)] for name in names}
    for name in names:
        if not rows[name]:
            known = ", ".join(row.label for row in ROWS)
            raise InputError("--only", expected="labels of rows or names of models", got=repr(name), remedy=known)
    return [one for one in ROWS if any(one in some for some in rows.values())]


def _document(result: Result, made_with: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    document = results.document_of(result)
    shown = {name: document["metrics"][name] for name in (*SHOWN, *GROUPS)}
    fingerprint = result.fingerprint[:SHOWN_OF_FINGERPRINT]
    return {**document, "fingerprint": fingerprint, "metrics": shown, "versions": made_with[result.entry.label]}


def read_record(record: Path) -> tuple[dict[str, Result], dict[str, dict[str, str]]]:
    """Reads the figures of an earlier page: label -> result, and label -> the versions that made the result.

    Raises:
        InputError: the file does not hold such figures.
    """
    try:
        rows = json.loads(record.read_text(encoding="utf-8"))
        made_with = [row.pop("versions") for row in rows]
        read = [results.result_of(row) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(str(record), expected="figures that this command wrote", got=repr(error)) from error
    labels = [result.entry.label for result in read]
    return dict(zip(labels, read, strict=True)), dict(zip(labels, made_with, strict=True))


def page(data: Dataset, study: Study, results: Sequence[Result], made_with: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the page in Markdown."""
    counts = " / ".join(f"{count:,}" for count in data.manifest.num_interactions.values())
    dims = ", ".join(f"{name} {record.dim}-d" for name, record in data.manifest.modalities.items())
    installed = {label: listed(numbers) for label, numbers in made_with.items()}
    return "\n".join(
        [
            "# TikTok",
            "",
            *_audit(data),
            "Made by `make results-tiktok` (`python tools/results_page.py --data DATA/tiktok --out "
            f"docs/results/tiktok.md`), measured on {' and '.join(sorted({one.measured for one in results}))}.",
            "",
            f"Data: the public MMSSL / DiffMM split, {data.manifest.num_users:,} users, "
            f"{data.manifest.num_items:,} items, {counts} train / validation / test interactions. Features: {dims}. "
            "The textual features that were published with the data are **missing in this copy**, so no figure here "
            "uses text; published figures on this split do.",
            "",
            f"Protocol: all unseen items are ranked (train and validation masked at test; {_ties(results)}). "
            f"Settings are chosen by validation Recall@20 with seed {study.seeds[0]} over the grid below, epochs by "
            f"early stopping on the same metric; then seeds {', '.join(map(str, study.seeds))}, test scored once per "
            f"seed. Mean ± sample standard deviation over the seeds; none where nothing is random. "
            f"Fingerprint `{results[0].fingerprint[:SHOWN_OF_FINGERPRINT]}`.",
            "",
            _table([result for result in results if not result.entry.variant_of]),
            "",
            NOTE,
            "",
            "Cold: recall@20 among test interactions with items that never occur in train "
            "(a model that knows items by ID alone can hardly find them); warm: all others.",
            "",
            *_variants(results),
            "## Settings",
            "",
            f"Common to all: {', '.join(f'{key} = {value}' for key, value in TRAINING.items())}; Adam.",
            "",
            _settings([result for result in results if not result.entry.variant_of]),
            "",
            f"CPU seconds of one process with {study.resources.threads_each} thread(s), validation included, while "
            "other trainings ran; on an idle machine one thread takes about as long. GB is the peak resident memory of "
            "the process. "
            f"Measured on {but_for([(one.machine, one.entry.label) for one in results])}.",
            "",
            f"Versions: {but_for([(installed[one.entry.label], one.entry.label) for one in results])}.",
            "",
        ]
    )


def _audit(data: Dataset) -> list[str]:
    """Says what the audit found that limits the figures of the page."""
    found = audit(data)
    told = [finding.says for finding in found.findings if finding.name in TOLD_OF_AUDIT]
    head = f"**The [audit](../audits/tiktok.md) flags {len(found.flags)} properties of this split.** In particular:"
    return [head, "", *(f"- {says[0].upper()}{says[1:]}." for says in told), ""]


def _ties(results: Sequence[Result]) -> str:
    if results[0].fingerprint[:SHOWN_OF_FINGERPRINT] == LOWER_ROW_FIRST:
        older = "lower row first among ties, the rule of the day"
        return f"{older}: new evaluations [break ties by a hash](../decisions/0010-ties.md)"
    return "[ties are broken by a hash](../decisions/0010-ties.md)"


def _variants(results: Sequence[Result]) -> list[str]:
    """Returns a table of each system and its variants."""
    shown = []
    for system in results:
        variants = [one for one in results if one.entry.variant_of == system.entry.label]
        shown += [system, *variants] if variants else []
    if not shown:
        return []
    explained = "With the settings that were chosen for the system, where a variant does not change them."
    return ["## Variants", "", explained, "", _table(shown), ""]


def _table(results: Sequence[Result]) -> str:
    columns = ["model", *(_title(name) for name in SHOWN), "cold R@20", "warm R@20", *COSTS]
    best = {name: max(result.metrics[name].mean for result in results) for name in (*SHOWN, *GROUPS)}
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for result in results:
        cells = [result.entry.label]
        for name in (*SHOWN, *GROUPS):
            value = result.metrics[name]
            cells.append(f"**{value}**" if value.mean == best[name] > 0 else str(value))
        seconds = Cell(result.cpu_per_epoch, digits=2), Cell(result.cpu_to_best.mean, digits=0)
        trained = map(str, seconds) if result.num_parameters else ["-", "-"]
        cells += [*trained, f"{result.peak_gb:.2f}", f"{result.num_parameters:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _settings(results: Sequence[Result]) -> str:
    lines = ["| model | grid | chosen | tried | validation R@20 | best epochs |", "|---|---|---|---:|---:|---|"]
    for result in results:
        grid = "; ".join(f"{key} in {list(values)}" for key, values in result.entry.grid.items()) or "none"
        chosen = ", ".join(f"{key} = {result.chosen[key]}" for key in result.entry.grid) or "-"
        epochs = ", ".join(map(str, result.best_epochs)) if result.num_parameters else "-"
        lines.append(f"| {result.entry.label} | {grid} | {chosen} | {result.num_tried} | {result.valid} | {epochs} |")
    return "\n".join(lines)


def _title(name: str) -> str:
    metric, _, k = name.partition("@")
    return f"{metric[0].upper() if metric != 'ndcg' else 'NDCG'}@{k}"


if __name__ == "__main__":
    main()
