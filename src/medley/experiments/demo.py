"""`medley demo`: simulate a catalogue, train six models, compare them, recommend, explain, write one page."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from medley import api
from medley.data.dataset import Dataset
from medley.data.simulate import SimulationSettings, planted, preset, simulate
from medley.errors import InputError
from medley.files import read_json
from medley.models import describe
from medley.runs import Run

CATALOGUE: dict[str, Any] = {
    "num_users": 1000,
    "num_items": 2000,
    "num_interactions": 20_000,
    "num_clusters": 32,
    "clusters_per_user": 1,
    "cluster_skew": 0.3,
    "feature_noise": 0.4,
}
"""Changes to the preset `demo`: few interactions per item, so that content helps."""

TRAINING: dict[str, dict[str, Any]] = {
    "popularity": {},
    "mf": {"reg": 3e-2, "lr": 1e-2},
    "vbpr": {"feature_scale": "standard", "reg": 3e-2, "lr": 5e-3},
    "lightgcn": {"num_layers": 2, "reg": 1e-2, "lr": 1e-2},
    "mmgcn": {"num_layers": 1, "feature_scale": "standard", "reg": 1e-4, "lr": 3e-3},
    "mosaic": {"use_order": False, "lr": 5e-3},  # the times of the simulator tell no order
}
"""Model -> options and settings: the best on validation among six to nine points each, of reg and lr or num_layers; of
Mosaic, of lr and tau."""

COMMON = {"num_epochs": 100, "patience": 10, "metric": "recall@20"}
EXPLAINED = "mmgcn"
NOTES = (
    "All settings were chosen on the validation split by Recall@20, and so was the epoch; the test split was ranked "
    "once per model. This is one seed on a small catalogue: small differences may be chance.",
    "The catalogue is simulated, so the taste behind every interaction is known.",
)
TYPICAL_WEIGHT, LEAST_HELD_OUT = 2 / 3, 5  # of the users that are shown


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    catalogue: SimulationSettings | None = None,
    changes: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Path:
    """Runs the whole demo; data, runs and page are written below `out` and replace those of an earlier demo.

    Args:
        out: a folder that is new, empty, or an earlier demo's.
        seed: of the catalogue and of the training.
        catalogue: another shape of the catalogue.
        changes: settings for the training of all models, e.g. `{"num_epochs": 2}`.
        console: prints the results; standard output by default.

    Returns:
        The path of the page.

    Raises:
        InputError: `out` holds anything but an earlier demo.
        MissingExtraError: the packages of the extra `plots` are absent.
    """
    from medley.report import page as report  # first, because it needs an extra: an absent extra must fail at once
    from medley.report import terminal
    from medley.report.results import load_results

    console = console or terminal.console()
    _check_out(out)
    data = simulate(out / "data", settings=catalogue or preset("demo", **CATALOGUE), seed=seed, overwrite=True)
    console.print(_description(data))
    runs: dict[str, Run] = {}
    for name in TRAINING:
        folder = out / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        recipe = api.Recipe.of({"model": name, **COMMON, **TRAINING[name], **(changes or {}), "seed": seed})
        runs[name] = api.train(recipe, data, out=folder)
        if runs[name].record.status == "interrupted":
            raise KeyboardInterrupt
        api.evaluate(runs[name], data, split="test", at=(10, 20))
    console.print(terminal.results_table(load_results(list(runs.values()))))

    model, truth = runs[EXPLAINED].model(data), planted(data)
    users = []
    for row in _typical_users(data, truth.user_weights):
        taste = dict(zip(data.manifest.modalities, truth.user_weights[row].tolist(), strict=True))
        users.append(report.explain_user(model, data, data.users.raw_id(row), taste=taste))
    explained_by = describe(EXPLAINED)["title"]
    for user in users:
        console.print(terminal.explained_user(user, explained_by))

    page = out / "report.html"
    report.write_report(page, list(runs.values()), data, users=users, explained_by=explained_by, notes=NOTES)
    console.print(Text.assemble("\nReport: ", (str(page), "bold"), "\n\nNext:"))
    for command in (
        f"recommend {runs[EXPLAINED].folder} --user {users[0].user} --explain",
        f"compare {runs['lightgcn'].folder} {runs[EXPLAINED].folder}",
        f"inspect {data.folder}",
        f"export {runs[EXPLAINED].folder} -o {out / 'shop.medley'}",
        f"serve {out / 'shop.medley'}",
    ):
        console.print(Text(f"  {_medley()} {command}"), soft_wrap=True)
    return page


def _check_out(out: Path) -> None:
    """Refuses to replace anything but an earlier demo."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    remedy = "choose another folder, out=..., or delete this one"
    manifest = read_json(out / "data" / "manifest.json", remedy=remedy)
    if manifest.get("name") != "demo" or manifest.get("provenance", {}).get("source") != "simulated":
        raise InputError("not the folder of an earlier demo", file=out, remedy=remedy)


def _typical_users(data: Dataset, weights: np.ndarray) -> list[int]:
    """Returns rows of up to three users: for each modality the user whose planted weight (U, M) is nearest to
    TYPICAL_WEIGHT, among users with enough held-out items. The choice does not depend on any model."""
    too_few = data.test.items_per_user() < LEAST_HELD_OUT
    nearest = [np.lexsort((np.abs(column - TYPICAL_WEIGHT), too_few))[0] for column in weights.T[:3]]
    return list(dict.fromkeys(int(row) for row in nearest))


def _description(data: Dataset) -> Text:
    manifest = data.manifest
    counts = f"{manifest.num_users:,} users, {manifest.num_items:,} items, {sum(manifest.num_interactions.values()):,}"
    return Text.assemble(
        ("Simulated: ", "bold"), f"{counts} interactions; items have {', '.join(manifest.modalities)} features"
    )


def _medley() -> str:
    """Returns the command as a shell here finds it."""
    return "medley" if shutil.which("medley") else os.path.relpath(Path(sys.executable).with_name("medley"))
