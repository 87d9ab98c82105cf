"""Writes docs/results/feature-scale.md, for `make feature-scale`.

python tools/scale_page.py --data ../shared/data --out docs/results/feature-scale.md

Trains each model with each scale of the features on TikTok and LastFM (lfm2k). All runs are kept in the folder of the
runs, so a command that was stopped goes on with what is left.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medley import models
from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.experiments.scheduler import Resources
from medley.experiments.study import Entry, Result, Study
from medley.experiments.watch import Lines
from medley.files import write_atomic
from medley.version import listed, versions

SCALES = ("none", "l2", "standard", "pca-whitening-64")
MODELS = ("vbpr", "freedom", "mmgcn")
TRAINING = {"dim": 64, "batch_size": 2048, "num_epochs": 50, "patience": 5, "metric": "recall@20"}
GRID = {"lr": (1e-3, 5e-3)}
SEEDS = (0, 1)
SHOWN = ("recall@20", "ndcg@20")


def tiktok(data: Path, out: Path) -> Dataset:
    """TikTok in its public split."""
    return import_dataset("csv", data / "tiktok", out, name="TikTok")


def lfm2k(data: Path, out: Path) -> Dataset:
    """LastFM with tags, VGGish and Whisper vectors."""
    features = {"textual": "all-MiniLM-L6-v2.npy", "acoustic": "vggish.npy", "speech": "whisper.npy"}
    return import_dataset("mmrec", data / "lfm2k", out, name="LastFM (lfm2k)", features=features)


DATA_SETS: Mapping[str, Callable[[Path, Path], Dataset]] = {"tiktok": tiktok, "lfm2k": lfm2k}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments, trains, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in which tiktok and lfm2k are")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--runs", type=Path, default=Path("runs/feature-scale"), help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="number of trainings at a time, one thread each")
    chosen = parser.parse_args(arguments)

    measured: list[tuple[Dataset, list[Result]]] = []
    for name, made in DATA_SETS.items():
        print(f"{name}:", flush=True)
        folder = chosen.runs / name / "data"
        data = Dataset(folder) if folder.exists() else made(chosen.data, folder)
        study = Study(
            data,
            chosen.runs / name,
            seeds=SEEDS,
            resources=Resources(jobs=chosen.workers, threads=1),
            watch=Lines(),
        )
        measured.append((data, study.run(entries()).results))
    write_atomic(chosen.out, page(measured))
    print(f"written: {chosen.out}")


def entries() -> list[Entry]:
    """Returns one entry per model and scale, models first."""
    return [
        Entry(model, f"{model} {how}", {**TRAINING, "feature_scale": how}, GRID) for model in MODELS for how in SCALES
    ]


def page(measured: Sequence[tuple[Dataset, Sequence[Result]]]) -> str:
    """Returns the page in Markdown.

    Args:
        measured: data sets, each with the results of `entries`.
    """
    machines = sorted({result.machine for _, results in measured for result in results})
    days = sorted({result.measured for _, results in measured for result in results})
    installed = listed(versions())
    lines = [
        "# Scale of features",
        "",
        "Made by `make feature-scale` (`python tools/scale_page.py --data DATA --out docs/results/feature-scale.md`), "
        f"measured on {' and '.join(days)}.",
        "",
        "What does `feature_scale` change? Each model reads the same features, raw (`none`), with rows of length one "
        "(`l2`), with columns of mean 0 and variance 1 (`standard`), or reduced to 64 uncorrelated columns of variance "
        "1 (`pca-whitening-64`); means, variances and components are those of the items of train.",
        "",
        "Test over all unseen items, scored once per seed; mean ± sample standard deviation over seeds "
        f"{' and '.join(map(str, SEEDS))}. The learning rate was chosen among {', '.join(map(str, GRID['lr']))} by "
        f"validation Recall@20 with seed {SEEDS[0]}, for each scale anew; the epoch by early stopping on the same "
        "metric. Everything else is the default of the model, which was chosen under `l2`: the table says how much the "
        "scale matters, not how good a model can get; where the best epoch is near "
        f"{TRAINING['num_epochs']}, the last one, more epochs would help. Two seeds tell large differences alone.",
    ]
    for data, results in measured:
        lines += ["", f"## {data.manifest.name}", "", _about(data), "", *_table(results)]
    common = ", ".join(f"{key} = {value}" for key, value in TRAINING.items())
    return "\n".join([*lines, "", f"Common to all: {common}. {'; '.join(machines)}. Versions: {installed}.", ""])


def _about(data: Dataset) -> str:
    dims = ", ".join(f"{name} {record.dim}-d" for name, record in data.manifest.modalities.items())
    cold = int((data.train.users_per_item() == 0).sum())
    counts = f"{data.manifest.num_users:,} users, {data.manifest.num_items:,} items, of which {cold:,}"
    return f"{counts} never occur in train; {dims}."


def _table(results: Sequence[Result]) -> list[str]:
    lines = [
        "| model | scale | lr | best epochs | validation R@20 | R@20 | NDCG@20 |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    for result in results:
        scale = str(result.chosen["feature_scale"])
        of_model = [one for one in results if one.entry.model == result.entry.model]
        cells = [models.describe(result.entry.model)["title"], scale, f"{result.chosen['lr']:g}"]
        cells += [", ".join(map(str, result.best_epochs)), str(result.valid)]
        for name in SHOWN:
            best = max(one.metrics[name].mean for one in of_model)
            value = result.metrics[name]
            cells.append(f"**{value}**" if value.mean == best else str(value))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
