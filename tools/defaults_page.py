"""Writes docs/results/defaults.md: what the defaults of every model leave to tuning. For `make defaults`.

python tools/defaults_page.py --data runs/results/data --out docs/results/defaults.md

Every model is trained with nothing set, then with other learning rates, then with points drawn from its search space;
the points are the same on all data sets. Figures are validation Recall@20 with one seed and one thread; test is not
read. Trainings are kept as JSON next to the page, by the fingerprint of their recipe: after every training the file is
written, a second call measures only what is missing, and a change of the defaults measures the new ones alone. Runs of
studies on the same splits (`--runs`) count as trials too.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError, TrainingError
from medley.files import write_atomic
from medley.models.inputs import CONTROLS
from medley.models.spaces import Choice, Log, Space, Whole
from medley.runs import Recipe
from medley.runs.run import EXTENDABLE
from medley.training.fit import fit
from medley.training.progress import Progress
from medley.version import listed, versions

DATA_SETS = ("microlens-50k", "lfm2k", "ml-100k", "tiktok-random")
BAR = 0.9  # of the best trial, on at least three of the four data sets
RATES = (1e-3, 5e-3, 2e-2)  # alone, all else as in the defaults
METRIC = "recall@20"


class Task(NamedTuple):
    """One training: a data set, a model and changes to its defaults."""

    data: str
    model: str
    changes: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """What is trained."""
        return Recipe.of({"model": self.model, **self.changes})


class Clock(Progress):
    """Ends a training after so many seconds of processor time, as Ctrl-C does: the best parameters so far are kept."""

    def __init__(self, seconds: float):
        self.seconds, self.begin, self.late = seconds, time.process_time(), False

    def epoch(self, epoch: Any) -> None:
        """Looks at the clock; an epoch that has begun is finished."""
        self.late = time.process_time() - self.begin > self.seconds

    def batch(self) -> None:
        """Ends the training before the second step of an epoch: by then the loop has recorded the last one."""
        if self.late:
            raise KeyboardInterrupt


def points(model: str, num_draws: int) -> list[dict[str, Any]]:
    """Returns the changes to the defaults that are tried: none, other learning rates, draws from the search space.

    Models without a loss are cheap, and get four times as many draws. A draw depends on the name of the model and on
    its number alone, so more draws continue the list.
    """
    space = models.find(model).search_space
    rates = [{"lr": lr} for lr in RATES] if models.learns(model) else []
    num_draws *= 1 if models.learns(model) else 4
    rng = np.random.default_rng(list(model.encode()))
    draws = [{name: _drawn(one, rng) for name, one in space.items()} for _ in range(num_draws)]
    return [{}, *rates, *([draw for draw in draws if draw] if space else [])]


def _drawn(space: Space, rng: np.random.Generator) -> Any:
    """Returns a value of a space, numbers with two digits, so that a page can show them."""
    if isinstance(space, Choice):
        return space.values[rng.integers(len(space.values))]
    if isinstance(space, Whole):
        return int(rng.integers(space.low, space.high + 1))
    share = rng.random()
    value = space.low * (space.high / space.low) ** share if isinstance(space, Log) else 0.0
    return _round(value if isinstance(space, Log) else space.low + (space.high - space.low) * share)


def _round(value: float) -> float:
    return float(f"{value:.1e}")


def tasks(data_sets: Sequence[str], names: Sequence[str], num_draws: int) -> list[Task]:
    """Returns all trainings: the defaults of all models first, then the second point of all models, and so on."""
    lists = {name: points(name, num_draws) for name in names}
    return [
        Task(data, name, lists[name][number])
        for number in range(max(map(len, lists.values())))
        for name in names
        for data in data_sets
        if number < len(lists[name])
    ]


def measure(task: Task, data: Dataset, seconds: float) -> dict[str, Any]:
    """Trains for at most so many seconds of processor time.

    Raises:
        InputError: the model cannot be built on such data.
        KeyboardInterrupt: Ctrl-C, in place of the figures of a training that was cut off by hand.
    """
    recipe, begin, clock = task.recipe, time.process_time(), Clock(seconds)
    found: dict[str, Any] = {"recipe": recipe.flat(), "valid": 0.0, "epoch": 0, "ending": "diverged"}
    try:
        model = models.build(task.model, data.inputs(), seed=recipe.seed, **recipe.options)
        history = fit(model, data, recipe.settings, progress=clock)
        if history.ending == "interrupted" and not clock.late:
            raise KeyboardInterrupt
        ending = "time" if history.ending == "interrupted" else history.ending
        found |= {"valid": history.best, "epoch": history.best_epoch, "ending": ending}
    except TrainingError:
        pass  # a point where the training diverges is a result too
    return {**found, "seconds": round(time.process_time() - begin, 1)}


def trials_of_runs(folder: Path, opened: Mapping[str, Dataset]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yields data set, model, fingerprint and trial of finished runs with seed 0 that were judged in the same way.

    Args:
        folder: of the runs of studies.
        opened: name -> data set; runs on other splits are left out, and those on controls or on some of the modalities.
    """
    names = {data.manifest.split_hash: name for name, data in opened.items()}
    judged = {"metric": METRIC, "candidates": "all", "train_on": "train"}
    features = (*CONTROLS, "modalities", "drop_modalities")
    for path in sorted(folder.glob("*/*/run.json")):
        run = json.loads(path.read_text())
        name = names.get(run["data"]["split_hash"])
        recipe = Recipe.model_validate(run["recipe"])
        flat = recipe.flat()
        if name is None or run["status"] != "finished" or recipe.seed or any(flat.get(key) for key in features):
            continue
        if judged.items() <= flat.items():
            trial = {"valid": run["best"], "epoch": run["best_epoch"] or 0, "ending": run["message"] or "finished"}
            yield name, recipe.model, recipe.fingerprint, {"recipe": flat, **trial, "seconds": run["seconds"]}


class Row(NamedTuple):
    """What the trials of a model on a data set say about its defaults."""

    model: str
    default: Mapping[str, Any]  # a trial
    best: Mapping[str, Any]  # a trial
    num_trials: int

    @property
    def ratio(self) -> float:
        """Metric of the defaults / best of all trials."""
        return self.default["valid"] / self.best["valid"] if self.best["valid"] else math.nan

    @property
    def changes(self) -> str:
        """What the best trial has other than the defaults, but for its most epochs and its patience."""
        defaults, best = Recipe.of({"model": self.model}), Recipe.of(self.best["recipe"])  # with options of today
        changes = defaults.differences(best)
        changed = [f"{name}={value}" for name, (_, value) in changes.items() if name not in EXTENDABLE]
        return ", ".join(changed)


def rekeyed(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures by the fingerprints of today, which a new option or setting changes."""
    return {
        data: {
            model: {Recipe.of(trial["recipe"]).fingerprint: trial for trial in trials.values()}
            for model, trials in by_model.items()
        }
        for data, by_model in figures.items()
    }


def rows_of(figures: Mapping[str, Any], data: str) -> Iterator[Row]:
    """Yields the models whose defaults of today were measured on a data set, and at least one other point.

    A trial that differs from the defaults only in a smaller `num_epochs` or `patience` gives a lower bound for them.
    The bound is used when the default training is missing or was stopped by the time limit.
    """
    for model in models.names():
        trials = figures.get(data, {}).get(model, {})
        defaults = Recipe.of({"model": model})
        same = {key: trial for key, trial in trials.items() if key == defaults.fingerprint or _begins(trial)}
        default = same.get(defaults.fingerprint)
        if default is None or default["ending"] == "time":
            default = max(same.values(), key=_valid, default=None)
        if default is not None and len(same) < len(trials):
            best = max([default, *trials.values()], key=_valid)
            yield Row(model, default, best, len(trials) - len(same) + 1)


def _valid(trial: Mapping[str, Any]) -> float:
    return trial["valid"]


def _begins(trial: Mapping[str, Any]) -> bool:
    """Returns whether a trial is the defaults of its model with an earlier end."""
    given = Recipe.of(trial["recipe"])
    differences = Recipe.of({"model": given.model}).differences(given)
    if not differences or not differences.keys() <= EXTENDABLE:
        return False
    return all(0 < value <= default for default, value in differences.values())  # patience=0: without end


def page(figures: Mapping[str, Any]) -> str:
    """Returns the page in Markdown."""
    by_data = {data: {row.model: row for row in rows_of(figures, data)} for data in DATA_SETS}
    measured = [name for name in models.names() if any(name in rows for rows in by_data.values())]
    lines = [
        "# Defaults",
        "",
        "What `medley train MODEL DATA` with nothing set leaves to tuning. Made by `make defaults`.",
        "",
        "Every model is trained with its defaults, with other learning rates and with points drawn from its search "
        "space, the same on all data sets; settings that studies tried count too. Figures are validation Recall@20, "
        "one seed, one thread; test is not read. The best of many trials on one seed is an optimistic value, that of "
        "two or three trials a weak opponent: read a ratio with its number of trials. Differences of two seeds are a "
        "few percent.",
        "",
        f"## Defaults / best of the trials (aim: at least {BAR:g} on three of the four data sets)",
        "",
        f"| model | {' | '.join(by_data)} | reached |",
        f"|---|{'---:|' * len(by_data)}---:|",
    ]
    for name in measured:
        ratios = [rows[name].ratio if name in rows else None for rows in by_data.values()]
        cells = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        known = [ratio for ratio in ratios if ratio is not None]
        reached = f"{sum(ratio >= BAR for ratio in known)} of {len(known)}"
        lines.append(f"| {models.describe(name)['title']} | {' | '.join(cells)} | {reached} |")
    missing = [models.describe(name)["title"] for name in models.names() if name not in measured]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}. The same command goes on where it stopped."]
    for data, rows in by_data.items():
        if not rows:
            continue
        lines += ["", f"## {data}", "", "| model | defaults | best | trials | the best changes | epoch | CPU s |"]
        lines.append("|---|---:|---:|---:|---|---:|---:|")
        for row in rows.values():
            default, title = row.default, models.describe(row.model)["title"]
            values = " | ".join(_value(trial) for trial in (default, row.best))
            cells = f"{row.num_trials} | {row.changes or 'nothing'} | {default['epoch']} | {default['seconds']:.0f}"
            lines.append(f"| {title} | {values} | {cells} |")
    lines += [
        "",
        "\\*: the training ended earlier than the defaults say, by a limit of processor time or by a study's smaller "
        "num_epochs or patience, so the defaults give this or more. Epoch and seconds are those of the defaults. The "
        "seconds are of a machine that other programs used too.",
        "",
        f"Versions: {listed(versions())}.",
        "",
    ]
    return "\n".join(lines)


def _value(trial: Mapping[str, Any]) -> str:
    return f"{trial['valid']:.4f}{'*' if trial['ending'] == 'time' or _begins(trial) else ''}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments, measures what is missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--runs", type=Path, help="folder of the runs of studies, which count as trials")
    parser.add_argument("--on", nargs="+", choices=DATA_SETS, default=list(DATA_SETS), help="these data sets alone")
    parser.add_argument("--models", nargs="+", default=models.names(), help="these models alone, in this order")
    parser.add_argument("--draws", type=int, default=4, help="points drawn from the search space of a model")
    parser.add_argument("--seconds", type=float, default=300, help="most processor time of a training")
    parser.add_argument("--minutes", type=float, default=20, help="start no training after so many minutes")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record = chosen.out.with_suffix(".json")
    figures = rekeyed(json.loads(record.read_text())) if record.exists() else {}
    there = [name for name in DATA_SETS if name in chosen.on or (chosen.data / name).exists()]
    opened = {name: Dataset(chosen.data / name) for name in there}  # runs of all of them count, also beside --on
    if chosen.runs is not None:
        for name, model, fingerprint, trial in trials_of_runs(chosen.runs, opened):
            figures.setdefault(name, {}).setdefault(model, {}).setdefault(fingerprint, trial)
    start = time.monotonic()
    try:
        for task in tasks(chosen.on, chosen.models, chosen.draws):
            trials = figures.setdefault(task.data, {}).setdefault(task.model, {})
            if task.recipe.fingerprint in trials:
                continue
            if time.monotonic() - start > 60 * chosen.minutes:
                break
            try:
                found = measure(task, opened[task.data], chosen.seconds)
            except InputError as error:
                print(f"{task.data} {task.model} does not apply: {error}", flush=True)
                continue
            trials[task.recipe.fingerprint] = found
            write_atomic(record, json.dumps(figures, indent=1) + "\n")
            shown = {key: value for key, value in found.items() if key != "recipe"}
            print(
                f"{time.monotonic() - start:5.0f} s {task.data} {task.model} {dict(task.changes)} {shown}", flush=True
            )
    except KeyboardInterrupt:
        print("stopped; the trainings so far are kept")
    write_atomic(chosen.out, page(figures))


if __name__ == "__main__":
    main()
