"""`make results-tiktok`: the table of docs/results/tiktok.md, by one command.

python -m medley.experiments.results --data ../shared/data/tiktok --out docs/results/tiktok.md
"""

import argparse
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from medley.data.dataset import Dataset
from medley.data.sources import import_dataset
from medley.experiments.studies import Candidate, Result, Study
from medley.files import write_atomic
from medley.training.progress import ProgressBar
from medley.version import versions

TRAINING = {"dim": 64, "batch_size": 2048, "num_epochs": 200, "patience": 10, "metric": "recall@20"}
CANDIDATES = (
    Candidate("popularity", "Popularity", {}, {}),
    Candidate("mf", "MF (BPR)", TRAINING, {"lr": (1e-3, 5e-3), "reg": (1e-3, 1e-2, 1e-1)}),
    Candidate("vbpr", "VBPR", TRAINING, {"lr": (1e-3, 5e-3), "reg": (1e-2, 1e-1), "feature_scale": ("l2", "standard")}),
    Candidate("lightgcn", "LightGCN", TRAINING, {"lr": (1e-3, 5e-3), "reg": (1e-4, 1e-3, 1e-2)}),
    Candidate("mmgcn", "MMGCN", TRAINING, {"lr": (3e-4, 1e-3), "reg": (1e-3, 1e-2), "feature_scale": ("l2", "none")}),
)

SHOWN = ("recall@10", "recall@20", "precision@10", "precision@20", "ndcg@10", "ndcg@20")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses, runs the study, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv, valid.csv, test.csv, *.npy")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--runs", type=Path, default=Path("runs/results-tiktok"), help="where runs are kept")
    parser.add_argument("--models", nargs="*", default=[candidate.model for candidate in CANDIDATES])
    chosen = parser.parse_args(arguments)

    folder = chosen.runs / "data"
    data = import_dataset("csv", chosen.data, folder, name="tiktok", overwrite=True)
    study = Study(data, chosen.runs, progress=lambda label: ProgressBar(label, "recall@20"))
    results = []
    for candidate in CANDIDATES:
        if candidate.model in chosen.models:
            results.append(study.run(candidate))
            write_atomic(chosen.out, page(data, study, results))  # after each, so a stopped study leaves its part
    print(f"written: {chosen.out}")


def page(data: Dataset, study: Study, results: Sequence[Result]) -> str:
    """The page in Markdown."""
    counts = " / ".join(f"{count:,}" for count in data.manifest.num_interactions.values())
    dims = ", ".join(f"{name} {record.dim}-d" for name, record in data.manifest.modalities.items())
    installed = ", ".join(f"{name} {number}" for name, number in versions().items())
    return "\n".join(
        [
            "# TikTok",
            "",
            "Made by `make results-tiktok` (`python -m medley.experiments.results --data DATA/tiktok --out "
            f"docs/results/tiktok.md`) on {datetime.now(UTC):%Y-%m-%d}.",
            "",
            f"Data: the public MMSSL / DiffMM split, {data.manifest.num_users:,} users, "
            f"{data.manifest.num_items:,} items, {counts} train / validation / test interactions. Features: {dims}. "
            "The textual features that were published with the data are **missing in this copy**, so no figure here "
            "uses text; published figures on this split do.",
            "",
            "Protocol: all unseen items are ranked (train and validation masked at test, lower row first among ties). "
            f"Settings are chosen by validation Recall@20 with seed {study.seeds[0]} over the grid below, epochs by "
            f"early stopping on the same metric; then seeds {', '.join(map(str, study.seeds))}, test scored once per "
            f"seed. Mean ± sample standard deviation over the seeds. Fingerprint `{results[0].fingerprint[:16]}`.",
            "",
            _table(results),
            "",
            "Cold: recall@20 among test interactions with items that never occur in train "
            "(a model that knows items by ID alone can hardly find them); warm: all others.",
            "",
            "## Settings",
            "",
            f"Common to all: {', '.join(f'{key} = {value}' for key, value in TRAINING.items())}; Adam.",
            "",
            _settings(results),
            "",
            f"Seconds are wall time of one training to its early stop, validation included, on {_machine()}. "
            "The machine is shared: compare them as ratios, and only within this table.",
            "",
            f"Versions: {installed}.",
            "",
        ]
    )


def _table(results: Sequence[Result]) -> str:
    groups = ("cold_recall@20", "warm_recall@20")
    columns = ["model", *(_title(name) for name in SHOWN), "cold R@20", "warm R@20", "seconds", "s/epoch", "parameters"]
    best = {name: max(result.metrics[name].mean for result in results) for name in (*SHOWN, *groups)}
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for result in results:
        cells = [result.candidate.label]
        for name in (*SHOWN, *groups):
            value = result.metrics[name]
            cells.append(f"**{value}**" if value.mean == best[name] > 0 else str(value))
        seconds = f"{result.seconds.mean:.0f} ± {result.seconds.std:.0f}" if result.num_parameters else "0"
        cells += [seconds, f"{result.seconds_per_epoch:.2f}", f"{result.num_parameters:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _settings(results: Sequence[Result]) -> str:
    lines = ["| model | grid | chosen | tried | validation R@20 | best epochs |", "|---|---|---|---:|---:|---|"]
    for result in results:
        grid = "; ".join(f"{key} in {list(values)}" for key, values in result.candidate.grid.items()) or "none"
        chosen = ", ".join(f"{key} = {result.chosen[key]}" for key in result.candidate.grid) or "-"
        epochs = ", ".join(map(str, result.best_epochs)) if result.num_parameters else "-"
        lines.append(
            f"| {result.candidate.label} | {grid} | {chosen} | {result.num_tried} | {result.valid} | {epochs} |"
        )
    return "\n".join(lines)


def _title(name: str) -> str:
    metric, _, k = name.partition("@")
    return f"{metric[0].upper() if metric != 'ndcg' else 'NDCG'}@{k}"


def _machine() -> str:
    import torch

    return (
        f"{platform.machine()} with {torch.get_num_threads()} threads, no GPU"
        if not torch.cuda.is_available()
        else (torch.cuda.get_device_name())
    )


if __name__ == "__main__":
    main()
