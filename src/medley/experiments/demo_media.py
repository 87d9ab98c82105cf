"""`medley demo-media`: from pixels and samples to recommendations.

Simulates a catalogue as clips, pictures, sounds and captions, extracts three modalities, shows whether they hold the
planted clusters, trains one model on them and once more on random features, compares the two, recommends.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medley import api
from medley.data.dataset import Dataset
from medley.data.simulate import SimulationSettings, planted, preset
from medley.errors import InputError
from medley.evaluation.statistics import Comparison
from medley.files import read_json
from medley.media.progress import ExtractBar
from medley.media.render import FOLDER, TABLE, simulate_media
from medley.report import terminal
from medley.report.results import load_results
from medley.runs import Run
from medley.types import Features

NAME = "demo-media"  # of the data set, by which a later demo knows what it may replace
CATALOGUE: dict[str, Any] = {"num_interactions": 9_000, "clusters_per_user": 1}
"""Changes to the preset `demo`: few interactions per item, so that content helps."""

ENCODERS = {"visual": "efficientnet-lite0", "acoustic": "logmel", "textual": "minilm"}
LIMITS = {"max_frames": 1}  # a clip of two seconds has one scene
MODEL = "freedom"
SETTINGS: dict[str, Any] = {"feature_scale": "pca-whitening-32", "lr": 5e-3, "num_epochs": 100, "patience": 10}
"""The best on validation among feature_scale in {l2, standard, pca-whitening-32} and lr in {1e-3, 5e-3}; the run on
random features has the same settings."""

METRIC = "recall@20"
CHECKED = 1000  # rows whose neighbours are searched at a time
SHOWN = 5  # recommendations


def run_demo_media(
    out: Path,
    *,
    seed: int = 0,
    catalogue: SimulationSettings | None = None,
    encoders: Mapping[str, str] = ENCODERS,
    changes: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Comparison:
    """Runs the whole demo; data, media and runs are written below `out` and replace those of an earlier demo.

    Args:
        out: a folder that is new, empty, or an earlier demo's.
        seed: of the catalogue, its media and the training.
        catalogue: another shape of the catalogue.
        encoders: modality -> encoder.
        changes: settings for the training of both runs, e.g. `{"num_epochs": 2}`.
        console: prints the results; standard output by default.

    Returns:
        The comparison of the model on extracted features with the same model on random features.

    Raises:
        InputError: `out` holds anything but an earlier demo.
        MissingExtraError: packages of the extra `media` are absent.
    """
    console = console or terminal.console()
    _check_out(out)
    settings = (catalogue or preset("demo", **CATALOGUE)).model_copy(update={"name": NAME})
    bar = ExtractBar()
    data = simulate_media(out / "data", settings=settings, seed=seed, features=False, overwrite=True, progress=bar)
    media = data.folder / FOLDER
    console.print(Text(f"Rendered: {data.manifest.num_items:,} items as clips, pictures, sounds and captions: {media}"))
    data = api.extract(data, media / TABLE, limits=LIMITS, progress=bar, **encoders).dataset
    console.print(_agreements(data, encoders))

    runs: dict[str, Run] = {}
    for name, random in (("random-features", True), ("extracted-features", False)):
        folder = out / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        recipe = api.Recipe.of({"model": MODEL, **SETTINGS, **(changes or {}), "random_features": random, "seed": seed})
        runs[name] = api.train(recipe, data, out=folder)
        if runs[name].record.status == "interrupted":
            raise KeyboardInterrupt
        api.evaluate(runs[name], data, split="test", at=(10, 20))
    console.print(terminal.results_table(load_results(list(runs.values()))))
    comparison = api.compare(runs, metric=METRIC)[1].comparison
    assert comparison is not None  # the second run is compared with the first
    console.print(Text(f"\n{_sentence(comparison)}"))

    user = data.users.raw_id(int(data.test.items_per_user().argmax()))
    run = runs["extracted-features"]
    console.print(Text.assemble("\n", ("User ", "bold"), (user, "bold"), ", recommended:"))
    held_out = set(data.test.item[data.test.user == data.users.row(user)].tolist())
    for place, item in enumerate(api.recommend(run, data, user=user, k=SHOWN), start=1):
        found = "  ✓ seen in the test split" if data.items.row(item.item) in held_out else ""
        console.print(Text(f"  {place}  {item.title}{found}"), soft_wrap=True)
    return comparison


def agreement(features: Features, cluster: np.ndarray) -> tuple[float, float]:
    """Measures whether features hold planted clusters.

    Args:
        features: values (I, d_m) and presence (I,).
        cluster: (I,), -1 where the item has none; such items are left out.

    Returns:
        The share of the items whose nearest neighbour (cosine of standardised features) is of their cluster, and the
        share that is expected of a neighbour drawn at random.
    """
    there = features.present & (cluster >= 0)
    values, cluster = features.values[there].astype(np.float64), cluster[there]
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    same = 0
    for first in range(0, len(values), CHECKED):
        rows = np.arange(first, min(first + CHECKED, len(values)))
        cosine = values[rows] @ values.T
        cosine[rows - first, rows] = -2
        same += int((cluster[cosine.argmax(axis=1)] == cluster[rows]).sum())
    sizes = np.bincount(cluster)
    return same / len(values), float((sizes * (sizes - 1)).sum() / (len(values) * (len(values) - 1)))


def _agreements(data: Dataset, encoders: Mapping[str, str]) -> Table:
    clusters = planted(data).item_clusters  # (I, M)
    modalities = list(data.manifest.provenance["settings"]["modalities"])
    table = Table(title="\nDo the features hold the planted clusters?", box=None, pad_edge=False, title_justify="left")
    for column in ("modality", "encoder", "items", "neighbour of the same cluster", "by chance"):
        table.add_column(column, justify="left" if column in ("modality", "encoder") else "right", no_wrap=True)
    for name, features in data.features.items():
        share, chance = agreement(features, clusters[:, modalities.index(name)])
        table.add_row(name, encoders[name], f"{int(features.present.sum()):,}", f"{share:.0%}", f"{chance:.0%}")
    return table


def _sentence(comparison: Comparison) -> str:
    return (
        f"Extracted less random features, {METRIC}: {comparison.difference:+.4f}, 95% {comparison.low:+.4f} to "
        f"{comparison.high:+.4f}, p = {comparison.p_value:.4f} (paired by user, {comparison.num_pairs:,} users)"
    )


def _check_out(out: Path) -> None:
    """Refuses to replace anything but an earlier demo."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    remedy = "choose another folder, out=..., or delete this one"
    manifest = read_json(out / "data" / "manifest.json", remedy=remedy)
    if manifest.get("name") != NAME or manifest.get("provenance", {}).get("source") != "simulated":
        raise InputError("not the folder of an earlier demo", file=out, remedy=remedy)
