"""Summarises the runs of an entry: one result with the figures of all seeds."""

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medley.evaluation.statistics import Spread, spread
from medley.experiments.entries import Entry, Options
from medley.experiments.results import Result
from medley.experiments.store import Protocol, Trained
from medley.runs import History, Recipe

NO_SPREAD = Spread(math.nan, math.nan, 0)  # of CPU seconds that say nothing, as a GPU trained
NOT_RECORDED = "a machine that was not recorded"  # of older runs


def summarise(
    entry: Entry,
    options: Options,
    runs: Sequence[Trained],
    place: int,
    *,
    num_tried: int,
    split: str,
    protocol: Protocol,
    folder: Path,
) -> Result:
    """Returns the result of an entry.

    Args:
        entry: what was trained.
        options: the chosen settings.
        runs: one run per seed.
        place: of the evaluation under this protocol, among those of a run.
        num_tried: how many settings were tried; 0: those of another entry were taken.
        split: how the log was divided.
        protocol: how the runs were evaluated.
        folder: of the store, to which the folders of the runs are relative.
    """
    histories = [one.history for one in runs]
    evaluations = [one.evaluations[place] for one in runs]
    num_epochs = sum(len(history.epochs) for history in histories)
    on_cpu = all(one.device == "cpu" for one in runs)
    first = runs[0].recipe
    # with one seed a model may rely on a modality most for some users, and with another seed for none
    measured = _common([one.metrics for one in evaluations])
    return Result(
        entry=entry,
        chosen=dict(options),
        num_tried=num_tried,
        valid=spread([history.best or 0.0 for history in histories]),
        metrics={name: spread([one.metrics[name] for one in evaluations]) for name in measured},
        cpu_to_best=spread([_cpu(one.history, one.history.best_epoch) for one in runs]) if on_cpu else NO_SPREAD,
        cpu_per_epoch=sum(map(_cpu, histories)) / max(1, num_epochs) if on_cpu else math.nan,
        peak_gb=max(one.peak_gb for one in runs),
        best_epochs=tuple(history.best_epoch for history in histories),
        num_parameters=runs[0].num_parameters,
        fingerprint=evaluations[0].fingerprint,
        measured=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=_joined(each for one in runs for each in one.machines or (NOT_RECORDED,)),
        split=split,
        candidates=protocol.candidates,
        history=protocol.history,
        users_of=evaluations[0].history,
        seeds=tuple(one.recipe.seed for one in runs),
        recipe=first.fingerprint,
        command=_command(first),
        runs=tuple(one.folder.relative_to(folder).as_posix() for one in runs),
        curves=tuple(tuple(epoch.metric for epoch in history.epochs) for history in histories),
        lists=evaluations[0].lists,
        beyond={
            name: spread([one.beyond[name] for one in evaluations])
            for name in _common([one.beyond for one in evaluations])
        },
        references=evaluations[0].references,
        num_unknown_users=evaluations[0].num_unknown_users,
        versions={name: _joined(one.versions.get(name, NOT_RECORDED) for one in runs) for name in runs[0].versions},
        user=evaluations[0].user,
        per_user={name: np.stack([one.per_user[name] for one in evaluations]) for name in measured},
    )


def _command(recipe: Recipe) -> str:
    """Returns the command that trains a recipe alone."""
    defaults = Recipe.of({"model": recipe.model}).flat()
    words = ["medley", "train", recipe.model, "DATASET", "--seed", str(recipe.seed)]
    for key, value in recipe.flat().items():
        if key not in ("model", "seed", "device") and value != defaults.get(key):
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--out", "RUN"])


def _common(figures: Sequence[Mapping[str, float]]) -> list[str]:
    """Returns the names of the figures that every evaluation has: another seed may leave one undefined."""
    return [name for name in figures[0] if all(name in one for one in figures)]


def _joined(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(values))


def _cpu(history: History, num_epochs: int | None = None) -> float:
    """Sums the CPU seconds of the first epochs; of all epochs by default."""
    return sum(epoch.seconds_cpu for epoch in history.epochs[:num_epochs])
