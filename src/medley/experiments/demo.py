"""`make demo`: simulate a catalogue, train five models, compare them, recommend, explain, write one page.

python -m medley.experiments.demo --out demo
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medley import models
from medley.data.dataset import Dataset
from medley.data.simulate import SimulationSettings, planted, preset, simulate
from medley.errors import InputError, MedleyError
from medley.evaluation.evaluator import evaluate
from medley.files import read_json, write_atomic
from medley.runs import Run
from medley.training.fit import fit
from medley.training.progress import ProgressBar
from medley.training.settings import TrainSettings, check_settings

if TYPE_CHECKING:
    from medley.experiments.report import ExplainedUser, Result

CATALOGUE: dict[str, Any] = {
    "num_users": 1000,
    "num_items": 2000,
    "num_interactions": 20_000,
    "num_clusters": 32,
    "clusters_per_user": 1,
    "cluster_skew": 0.3,
    "feature_noise": 0.4,
}
"""Changes to the preset `demo`: few interactions per item, so that it pays to read the content."""

TRAINING: dict[str, dict[str, Any]] = {
    "popularity": {},
    "mf": {"reg": 3e-2, "lr": 1e-2},
    "vbpr": {"feature_scale": "standard", "reg": 3e-2, "lr": 5e-3},
    "lightgcn": {"num_layers": 2, "reg": 1e-2, "lr": 1e-2},
    "mmgcn": {"num_layers": 1, "feature_scale": "standard", "reg": 1e-4, "lr": 3e-3},
}
"""Model -> options and settings: the best on validation among six to nine points each, of reg and lr or num_layers."""

COMMON = {"num_epochs": 100, "patience": 10, "metric": "recall@20"}
EXPLAINED = "mmgcn"
NOTES = (
    "All settings were chosen on the validation split by Recall@20, and so was the epoch; the test split was ranked "
    "once per model. This is one seed on a small catalogue: small differences may be chance.",
    "The catalogue is simulated, so the taste behind every interaction is known.",
)
TYPICAL_WEIGHT, LEAST_HELD_OUT = 2 / 3, 5  # of the users that are shown
COLOURS = ("yellow", "blue", "green", "magenta", "red")  # of the modalities
BAR_WIDTH = 16


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    catalogue: SimulationSettings | None = None,
    changes: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Path:
    """The whole demo; the data, the runs and the page are written below `out`, over those of an earlier demo.

    Args:
        out: a folder that is new, empty, or an earlier demo's.
        seed: of the catalogue and of the training.
        catalogue: another shape.
        changes: settings for the training of all models, e.g. `{"num_epochs": 2}`.
        console: where results are printed; standard output by default.

    Returns:
        The path of the page.

    Raises:
        InputError: `out` holds something else.
        MissingExtraError: the packages of the extra `plots` are absent.
    """
    from medley.experiments import report  # first of all: it needs an extra, and nobody should wait to learn that

    console = console or Console()
    _check_out(out)
    settings = catalogue or preset("demo", **CATALOGUE)
    data = simulate(out / "data", settings=settings, seed=seed, overwrite=True)
    console.print(_description(data))
    folders = {name: out / "runs" / name for name in TRAINING}
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        _train(name, data, folder, {**COMMON, **TRAINING[name], **(changes or {}), "seed": seed})
    runs = [Run(folder) for folder in folders.values()]
    results = report.load_results(runs)
    console.print(_table(results, report.best_values(results), report.metric_title))

    model, truth = Run(folders[EXPLAINED]).model(data), planted(data)
    users = []
    for row in _typical_users(data, truth.user_weights):
        taste = dict(zip(data.manifest.modalities, truth.user_weights[row].tolist(), strict=True))
        users.append(report.explain_user(model, data, data.users.raw_id(row), taste=taste))
    for user in users:
        console.print(_user(user))

    page = out / "report.html"
    explained_by = models.describe(EXPLAINED)["title"]
    report.write_report(page, runs, data, users=users, explained_by=explained_by, notes=NOTES)
    console.print(Text.assemble("\nReport: ", (str(page), "bold"), "\n\nNext:"))
    for command in (
        f"recommend {folders[EXPLAINED]} --user {users[0].user} --explain",
        f"compare {folders['lightgcn']} {folders[EXPLAINED]}",
        f"inspect {data.folder}",
    ):
        console.print(f"  {_medley()} {command}", highlight=False, markup=False, soft_wrap=True)
    return page


def _check_out(out: Path) -> None:
    """Refuses to replace anything but an earlier demo."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    remedy = "choose another folder with --out, or delete this one"
    manifest = read_json(out / "data" / "manifest.json", remedy=remedy)
    if manifest.get("name") != "demo" or manifest.get("provenance", {}).get("source") != "simulated":
        raise InputError("the folder holds something else than an earlier demo", file=out, remedy=remedy)


def _train(name: str, data: Dataset, folder: Path, chosen: Mapping[str, Any]) -> None:
    """Trains one model and scores test once."""
    options = {key: value for key, value in chosen.items() if key not in TrainSettings.model_fields}
    settings = check_settings({key: value for key, value in chosen.items() if key in TrainSettings.model_fields})
    model = models.build(name, data.inputs(), seed=settings.seed, **options)
    progress = ProgressBar(models.describe(name)["title"], settings.metric)
    if fit(model, data, settings, out=folder, progress=progress).ending == "interrupted":
        raise KeyboardInterrupt
    evaluate(model.scorer(), data, split="test", at=(10, 20)).save(folder)


def _typical_users(data: Dataset, weights: np.ndarray) -> list[int]:
    """Rows of up to three users: for each modality the one whose planted weight (U, M) is nearest to TYPICAL_WEIGHT,
    among those with enough held-out items to be found again. Nothing that a model does enters."""
    too_few = data.test.items_per_user() < LEAST_HELD_OUT
    nearest = [np.lexsort((np.abs(column - TYPICAL_WEIGHT), too_few))[0] for column in weights.T[:3]]
    return list(dict.fromkeys(int(row) for row in nearest))


def _description(data: Dataset) -> Text:
    manifest = data.manifest
    counts = f"{manifest.num_users:,} users, {manifest.num_items:,} items, {sum(manifest.num_interactions.values()):,}"
    return Text.assemble(
        ("Simulated: ", "bold"), f"{counts} interactions; items have {', '.join(manifest.modalities)} features"
    )


def _table(results: Sequence[Result], best: Mapping[str, float], title_of: Callable[[str], str]) -> Table:
    table = Table(title="\nOn the test split", box=None, pad_edge=False, title_justify="left", caption_justify="left")
    table.caption = f"{results[0].evaluation.num_users:,} users; every unseen item competes; settings from validation"
    table.add_column("model", no_wrap=True)
    for name in best:
        table.add_column(
            title_of(name).replace("Precision", "Prec.").replace("@", "\n@"), justify="right", no_wrap=True
        )
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for result in results:
        values = [Text(f"{v:.4f}", style="bold green" * (v == best[name])) for name, v in result.shown.items()]
        record = result.record
        table.add_row(result.label, *values, f"{record.seconds:.1f}", f"{record.num_parameters:,}")
    return table


def _user(user: ExplainedUser) -> Group:
    """What one user watched, is recommended, and why."""
    names = list(user.shares)
    heading = Text.assemble("\n", ("User ", "bold"), (user.user, "bold"), f", watched {user.num_watched:,}, lately:")
    watched = [Text(f"  {title}", style="dim", no_wrap=True, overflow="ellipsis") for title in user.watched[:4]]
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column(f"recommended by {models.describe(EXPLAINED)['title']}")
    for place, name in enumerate(names):
        table.add_column(Text(name, style=COLOURS[place % len(COLOURS)]), justify="right", no_wrap=True)
    table.add_column("of the score", no_wrap=True)
    for place, item in enumerate(user.recommended, start=1):
        title = Text(item.title or item.item)
        mark = Text.assemble(str(place), (" ✓", "bold green") if item.item in user.found else "")
        table.add_row(mark, title, *_shares(item.shares, names))
    table.add_section()
    table.add_row("", Text("the model, on average", style="italic"), *_shares(user.shares, names))
    table.add_row("", Text("planted taste", style="italic"), *_shares(user.taste, names))
    found = f"✓ watched in the test split, which the model had not seen: {len(user.found)} of {user.num_held_out}"
    return Group(heading, *watched, Padding(table, (1, 0, 0, 2)), Text(f"  {found}", style="dim"))


def _shares(shares: Mapping[str, float], names: Sequence[str]) -> list[Text]:
    """A percentage per name, then all of them as a bar: broken where a share is negative."""
    ends = np.rint(np.cumsum([abs(shares.get(name, 0)) for name in names]) * BAR_WIDTH).astype(int)
    bar = Text()
    for place, (name, begin, end) in enumerate(zip(names, [0, *ends], ends, strict=False)):
        bar.append(("━" if shares.get(name, 0) >= 0 else "╌") * (end - begin), style=COLOURS[place % len(COLOURS)])
    return [*(Text(f"{shares.get(name, 0):.0%}") for name in names), bar]


def _medley() -> str:
    """How the command is called from here."""
    return "medley" if shutil.which("medley") else os.path.relpath(Path(sys.executable).with_name("medley"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses and runs; `--svg` keeps a picture of the terminal."""
    parser = argparse.ArgumentParser(prog="python -m medley.experiments.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument("--seed", type=int, default=0, help="of the catalogue and of the training")
    parser.add_argument("--svg", type=Path, help="also write what was printed as an SVG picture")
    chosen = parser.parse_args(arguments)
    console = Console(record=True, width=104) if chosen.svg else Console()
    run_demo(chosen.out, seed=chosen.seed, console=console)
    if chosen.svg:
        svg = console.export_svg(title="make demo")
        write_atomic(chosen.svg, re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))  # which would load fonts


if __name__ == "__main__":
    try:
        main()
    except MedleyError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
