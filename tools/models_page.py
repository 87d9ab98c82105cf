"""Writes docs/models.md, one line per model, from docstrings and measured results, for `make docs`.

python tools/models_page.py --results docs/results/tiktok.json --out docs/models.md
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medley import models
from medley.experiments.studies.catalogue import OWN, SEQUENCES
from medley.experiments.studies.tiktok import BASELINES, BEYOND, SIMPLE, SYSTEMS
from medley.experiments.study import Entry
from medley.files import write_atomic
from medley.models.spaces import Choice, Log, Space
from medley.report.tables import Cell

SECTIONS = {
    "Medley's own": OWN,
    "The five systems": SYSTEMS,
    "Baselines of their papers": BASELINES,
    "Beyond the papers": BEYOND,
    "Sequences, for logs with times": SEQUENCES,
    "Simple baselines": SIMPLE,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="written by tools/results_page.py")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    chosen = parser.parse_args(arguments)
    measured = json.loads(chosen.results.read_text(encoding="utf-8"))
    write_atomic(chosen.out, page({result["entry"]["label"]: result for result in measured}))


def page(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the page in Markdown.

    Args:
        measured: label of an entry -> its figures; a model without figures has dashes.
    """
    lines = [
        "# Models",
        "",
        "Made by `make docs` from the docstrings of the models and docs/results/tiktok.json: edit those instead.",
        "",
        "Recall@20 on the test split of TikTok over all items, mean of three seeds, settings chosen on validation; "
        "cold: among items that never occur in train. CPU seconds per epoch (validation included) and peak GB of the "
        "process on one thread, with the settings that were chosen. "
        "[How, with spread and settings](results/tiktok.md); [BibTeX](references.bib).",
    ]
    for title, entries in SECTIONS.items():
        lines += ["", f"## {title}", "", "| model | idea | choose it | R@20 | cold | CPU s/epoch | GB | paper |"]
        lines += ["|---|---|---|---:|---:|---:|---:|---|"]
        lines += [_row(entry, measured.get(entry.label)) for entry in entries]
    lines += [
        "",
        "## Search spaces",
        "",
        "What `medley tune` tries, beside the defaults: both ends of a range, `log` where the logarithm is uniform, or "
        "one of several values. The sources stand beside the spaces, in the file of each model; "
        "[how tuning works](tuning.md).",
        "",
        "| model | searched |",
        "|---|---|",
    ]
    models_in_order = dict.fromkeys(entry.model for entries in SECTIONS.values() for entry in entries)
    lines += [f"| `{name}` | {_space(name)} |" for name in models_in_order]
    return "\n".join([*lines, ""])


def _row(entry: Entry, result: Mapping[str, Any] | None) -> str:
    about = models.describe(entry.model)
    figures = ["-"] * 4
    if result is not None:
        recall, cold = (result["metrics"][name]["mean"] for name in ("recall@20", "cold_recall@20"))
        seconds = str(Cell(result["cpu_per_epoch"], digits=2)) if result["num_parameters"] else "-"
        figures = [f"{recall:.4f}", f"{cold:.4f}", seconds, f"{result['peak_gb']:.1f}"]
    name = f"`{entry.model}` {entry.label}"
    cells = [name, about["summary"], about["choice"], *figures, about["paper"].partition(". ")[2] or "-"]
    return f"| {' | '.join(cells)} |"


def _space(name: str) -> str:
    """Returns the search space of a model."""
    space = models.find(name).search_space
    return ", ".join(f"{option} {_values(one)}" for option, one in space.items()) or "nothing: the model has no options"


def _values(space: Space) -> str:
    if isinstance(space, Choice):
        return " / ".join(str(space).split(","))
    ends = " to ".join(f"{end:g}" for end in (space.low, space.high))
    return f"{ends} (log)" if isinstance(space, Log) else ends


if __name__ == "__main__":
    main()
