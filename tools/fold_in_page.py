"""Writes docs/results/fold-in.md: what new users lose, per model.

python tools/fold_in_page.py --data ../shared/data --out docs/results/fold-in.md

A share of the users is left out of the training, whole histories; they are folded in from their train items by a model
trained on all others, and compared with the same users in a model trained on everybody. Figures are kept as JSON next
to the page, after every training, and a second call measures only what is missing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

import medley
from medley import models
from medley.errors import InputError
from medley.evaluation.statistics import spread
from medley.experiments.demo import CATALOGUE
from medley.files import write_atomic
from medley.serving.export import export
from medley.serving.fold_in import recall_at
from medley.serving.seen import TEST, TRAIN, VALID, pairs_of
from medley.version import listed, versions

TRAINING: dict[str, Any] = {"num_epochs": 40, "patience": 8, "lr": 5e-3, "batch_size": 2048}
DIM = 32
LFM2K_FEATURES = {"acoustic": "vggish.npy", "visual": "whisper.npy", "textual": "all-MiniLM-L6-v2.npy"}
SHARE = 0.15  # of the users, left out
SEEDS = (0, 1)  # of the users left out, and of the models
SLOW = ("huign", "acf", "stargcn", "gat")  # one seed each


def demo(data: Path, out: Path) -> medley.Dataset:
    """The catalogue of `medley demo`, without its times: LastFM has none."""
    whole = medley.simulate(out / "simulated", settings=medley.preset("demo", **CATALOGUE), seed=0)
    return without_users(whole, np.array([], dtype=np.int64), out / "demo")


def lfm2k(data: Path, out: Path) -> medley.Dataset:
    """LastFM, with its vectors of speech under the name visual, as MMRec has them."""
    return medley.import_dataset("mmrec", data / "lfm2k", out / "lfm2k", name="lfm2k", features=LFM2K_FEATURES)


DATA_SETS: dict[str, Callable[[Path, Path], medley.Dataset]] = {"demo": demo, "lfm2k": lfm2k}


def without_users(data: medley.Dataset, left_out: np.ndarray, out: Path) -> medley.Dataset:
    """The data set without the interactions of some users, and without times; the items keep their rows."""
    log = data.log.filter(~pl.col("user").is_in(left_out.tolist()))
    frame = pl.DataFrame(
        {
            "user_id": data.users.raw.gather(log["user"].to_numpy()),
            "item_id": data.items.raw.gather(log["item"].to_numpy()),
            "split": log["split"].cast(pl.String),
        }
    )
    items = data.item_table.select("item_id")
    features = {m: (np.asarray(f.values), f.present) for m, f in data.features.items()}
    part = medley.Dataset.from_frames(frame, items=items, features=features, out=out, name=data.manifest.name)
    assert part.items.raw.to_list() == data.items.raw.to_list(), "the items keep their rows"
    return part


def build(name: str, data: medley.Dataset, seed: int, training: Mapping[str, Any]) -> medley.Recommender:
    """Trains a model; settings that the model does not have are left out."""
    known = models.describe(name)["options"]
    options = {key: value for key, value in training.items() if key in known}
    settings = {key: value for key, value in training.items() if key in medley.TrainSettings.model_fields}
    model = medley.build(name, data, seed=seed, **({"dim": DIM} if "dim" in known else {}), **options)
    if any(True for _ in model.parameters()):
        medley.fit(model, data, progress=False, **settings)
    return model


def new_users(name: str, data: medley.Dataset, part: medley.Dataset, left_out: np.ndarray, seed: int) -> dict[str, Any]:
    """Recall@20 of the users left out: trained, and folded in."""
    whole, bundle = export(build(name, data, seed, TRAINING), data), export(build(name, part, seed, TRAINING), part)
    seen, held_out = whole.seen[left_out], pairs_of(whole.seen, TEST)[left_out]
    known = sp.csr_array(pairs_of(seen, TRAIN) + pairs_of(seen, VALID))
    trained = whole.scores.scores(whole.scores.queries(left_out))
    folded = bundle.scores.scores(np.stack([bundle.fold_in(whole.history(int(user))) for user in left_out]))
    popular = np.tile(bundle.popularity.astype(np.float32), (len(left_out), 1))
    found = {"trained": trained, "folded": folded, "popular": popular}
    return {
        **{what: recall_at(scores, known, held_out) for what, scores in found.items()},
        "rule": bundle.fold_in_rule.rule,
    }


def page(figures: Mapping[str, Any]) -> str:
    """Returns the page in Markdown."""
    lines = [
        "# New users",
        "",
        "Made by `python tools/fold_in_page.py --data ../shared/data --out docs/results/fold-in.md`.",
        "",
        f"{SHARE:.0%} of the users are left out of the training, with their whole histories. A model trained on all "
        "others folds them in from their train items (`medley.serving.fold_in`); *trained* is the same model trained "
        "on everybody. Recall@20 on the test items of these users, mean ± sample standard deviation over the seeds; "
        "each seed is another choice of users and other initial parameters. *Popular* ranks by train interactions. The "
        "rule is the one that export chose on validation, by seed.",
    ]
    for name in DATA_SETS:
        rows = figures.get(name, {})
        if not rows:
            continue
        lines += ["", f"### {name}", "", "| model | trained | folded in | kept | rule |", "|---|---:|---:|---:|---|"]
        for model, seeds in rows.items():
            cells = {what: [one[what] for one in seeds.values()] for what in ("trained", "folded")}
            kept = sum(cells["folded"]) / max(sum(cells["trained"]), 1e-9)
            rules = "; ".join(dict.fromkeys(one["rule"] for one in seeds.values()))
            title = models.describe(model)["title"] + ("" if len(seeds) > 1 else " (one seed)")
            shown = " | ".join(_spread(values) for values in cells.values())
            lines.append(f"| {title} | {shown} | {kept:.0%} | {rules} |")
        popular = {seed: one["popular"] for seeds in rows.values() for seed, one in seeds.items()}
        lines.append(f"| *popular* | | {_spread(list(popular.values()))} | | |")
        missing = [models.describe(model)["title"] for model in models.names() if model not in rows]
        if missing:
            left = "Models of sequences need times, which these logs lack; for others, the same command goes on."
            lines += ["", f"Not measured: {', '.join(missing)}. {left}"]
    settings = ", ".join(f"{key}={value}" for key, value in TRAINING.items())
    lines += ["", f"Settings, the same for all models and cheap, so no model is at its best: dim={DIM}, {settings}."]
    lines[-1] += (
        " Folded-in users often rank better than trained ones: a vector inferred with a prior from all users is "
        "regularised, and few epochs leave the trained vectors of single users noisy."
    )
    lines += ["", f"Versions: {listed(versions())}.", ""]
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return str(spread(values)) if len(values) > 1 else f"{values[0]:.4f}"


class Task(NamedTuple):
    """One measurement: the keys of its figures, and the folders of its data."""

    keys: tuple[str, str, str]  # data set, model, seed
    data: Path
    part: Path  # without the users left out


def measure(task: Task) -> dict[str, Any]:
    """Runs in a process of its own, with one thread."""
    torch.set_num_threads(1)
    data = medley.Dataset(task.data)
    _, model, seed = task.keys
    return new_users(model, data, medley.Dataset(task.part), left_out(data, int(seed)), int(seed))


def left_out(data: medley.Dataset, seed: int) -> np.ndarray:
    """The users (n,) who are left out under a seed, ascending."""
    users = np.random.default_rng(seed).permutation(np.flatnonzero(data.test.items_per_user()))
    return np.sort(users[: int(SHARE * len(users))])


def tasks_of(data: Path, folder: Path) -> list[Task]:
    """Makes the data sets below `folder` and returns all measurements."""
    tasks, opened = [], {kind: make(data, folder) for kind, make in DATA_SETS.items()}
    for seed in SEEDS:
        for kind, whole in opened.items():
            part = without_users(whole, left_out(whole, seed), folder / f"{kind}-{seed}")
            names = [name for name in models.names() if not (name in SLOW and seed)]
            tasks += [Task((kind, name, str(seed)), whole.folder, part.folder) for name in names]
    return tasks


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments, measures what is missing, one thread per process, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lfm2k")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--minutes", type=float, default=20, help="start no training after so many minutes")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    chosen = parser.parse_args(arguments)
    record, start = chosen.out.with_suffix(".json"), time.monotonic()
    figures: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        missing = [task for task in tasks_of(chosen.data, Path(folder)) if not _found(figures, task.keys)]
        with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
            running: dict[Future[dict[str, Any]], Task] = {}
            while missing or running:
                while missing and len(running) < chosen.workers and time.monotonic() - start < 60 * chosen.minutes:
                    task = missing.pop(0)
                    running[pool.submit(measure, task)] = task
                if not running:
                    break
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(done)
                    try:
                        found = done.result()
                    except InputError as error:  # a model of sequences and a log without times
                        print(f"{' '.join(task.keys)} does not apply: {error}", flush=True)
                        continue
                    place = figures
                    for key in task.keys[:-1]:
                        place = place.setdefault(key, {})
                    place[task.keys[-1]] = found
                    write_atomic(record, json.dumps(figures, indent=1) + "\n")
                    print(f"{time.monotonic() - start:5.0f} s {' '.join(task.keys)} {found}", flush=True)
    write_atomic(chosen.out, page(figures))


def _found(figures: Mapping[str, Any], keys: Sequence[str]) -> bool:
    for key in keys:
        if key not in figures:
            return False
        figures = figures[key]
    return True


if __name__ == "__main__":
    main()
