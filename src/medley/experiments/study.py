"""A study: many recipes under one protocol. Settings are chosen on validation with one seed, then the chosen recipes
are trained again with several seeds and evaluated on test once per seed. All runs are kept, so a study that was stopped
continues where it stopped.
"""

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from medley import api, models
from medley.data.dataset import Dataset
from medley.errors import InputError, TrainingError
from medley.evaluation.evaluator import Evaluation
from medley.evaluation.statistics import Spread, spread
from medley.files import sha256_of_json
from medley.runs import History, Recipe

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A model and the values to try: every combination of the lists in `grid`, with the fixed `options`.

    With `variant_of`, the label of an earlier entry, nothing is tried: `options` change the settings of that entry.
    """

    model: str
    label: str
    options: Options  # options and settings, as in `Recipe.of`
    grid: Mapping[str, Sequence[Any]]
    variant_of: str = ""

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yields each point of the grid with the fixed options."""
        for values in product(*self.grid.values()):
            yield {**self.options, **dict(zip(self.grid, values, strict=True))}


class Task(NamedTuple):
    """One training, in a process of its own."""

    label: str
    recipe: Recipe
    score: bool  # whether the run is evaluated on test


class Trained(NamedTuple):
    """The result of one task."""

    history: History
    num_parameters: int
    peak_gb: float
    evaluation: Evaluation | None


@dataclass(frozen=True)
class Result:
    """An entry at its best: chosen settings, and their figures over the seeds."""

    entry: Entry
    chosen: Options
    num_tried: int
    valid: Spread
    metrics: dict[str, Spread]  # on test
    cpu_to_best: Spread  # CPU seconds of training to the best epoch, validation included
    cpu_per_epoch: float
    peak_gb: float
    best_epochs: tuple[int, ...]
    num_parameters: int
    fingerprint: str
    measured: str  # day of the result, YYYY-MM-DD
    machine: str


class Study:
    """Trains and evaluates entries on one data set."""

    def __init__(
        self,
        data: Dataset,
        folder: Path,
        *,
        seeds: Sequence[int] = (0, 1, 2),
        at: Sequence[int] = (10, 20),
        workers: int = 1,
        threads: int | None = None,
        report: Callable[[str], None] = lambda line: None,
    ):
        """Args:
        data: the data set.
        folder: the folder of the runs.
        seeds: the first one also chooses the settings.
        at: cut-offs of the test metrics.
        workers: number of trainings at a time, each in its own process.
        threads: number of threads of each training; None leaves the number to torch.
        report: called with one line of text per finished training.
        """
        self.data, self.folder, self.seeds, self.at = data, folder, tuple(seeds), tuple(at)
        self.workers, self.threads, self.report = workers, threads, report

    def run(self, entries: Sequence[Entry], known: Mapping[str, Options] | None = None) -> list[Result]:
        """Chooses settings on validation, trains with every seed, evaluates on test once per seed.

        Args:
            entries: the entries to train.
            known: label -> settings that an earlier study chose, for variants of entries outside this study.

        Raises:
            InputError: a variant of an unknown entry; an entry diverged at every point of its grid.
        """
        chosen = {**(known or {}), **self._choose([one for one in entries if not one.variant_of])}
        for entry in entries:
            if entry.variant_of:
                if entry.variant_of not in chosen:
                    raise InputError(
                        f"{entry.label} is a variant of {entry.variant_of!r}",
                        expected=" or ".join(chosen),
                        got="an entry that is not part of this study",
                    )
                chosen[entry.label] = {**chosen[entry.variant_of], **entry.options}
        tasks = [
            _task(entry, chosen[entry.label], seed, score=True) for entry in entries for seed in self._seeds(entry)
        ]
        done = iter(self._train(tasks))
        return [_result(entry, chosen[entry.label], [next(done) for _ in self._seeds(entry)]) for entry in entries]

    def _seeds(self, entry: Entry) -> tuple[int, ...]:
        """Returns the seeds of an entry; one is enough for a model without a loss, which draws nothing at random."""
        return self.seeds if models.find(entry.model).loss is not models.Recommender.loss else self.seeds[:1]

    def _choose(self, entries: Sequence[Entry]) -> dict[str, Options]:
        """Returns label -> the point of the grid with the best validation metric under the first seed."""
        points = [(entry, options) for entry in entries for options in entry.combinations()]
        tasks = [_task(entry, options, self.seeds[0], score=False) for entry, options in points]
        best: dict[str, float] = {}
        chosen: dict[str, Options] = {}
        for (entry, options), trained in zip(points, self._train(tasks), strict=True):
            value = None if trained is None else trained.history.best
            if value is not None and value > best.get(entry.label, -1.0):
                best[entry.label], chosen[entry.label] = value, options
        for entry in entries:
            if entry.label not in chosen:
                raise InputError(f"{entry.label} diverged everywhere", got=dict(entry.grid), remedy="smaller lr")
        return chosen

    def _train(self, tasks: Sequence[Task]) -> list[Trained | None]:
        """Runs the tasks in processes. Returns their results in order, None where training diverged."""
        with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            futures: list[Future[Trained | None]] = []
            for task in tasks:
                future = pool.submit(_run_task, task, self.data.folder, self.folder, self.at, self.threads)
                future.add_done_callback(lambda done, task=task: self.report(_describe_task(task, done)))
                futures.append(future)
            return [future.result() for future in futures]


def _task(entry: Entry, options: Options, seed: int, *, score: bool) -> Task:
    return Task(entry.label, Recipe.of({"model": entry.model, **options, "seed": seed}), score)


def _run_task(task: Task, data_folder: Path, folder: Path, at: Sequence[int], threads: int | None) -> Trained | None:
    if threads:
        torch.set_num_threads(threads)
    data = Dataset(data_folder)
    identity = {"recipe": task.recipe.fingerprint, "data": data.manifest.content_hash}
    out = folder / task.recipe.model.replace(":", ".") / sha256_of_json(identity)[:16]
    try:
        run = api.train(task.recipe, data, out=out, resume=True, progress=False)
    except TrainingError:
        return None
    evaluation = api.evaluate(run, data, split="test", at=at, groups=True) if task.score else None
    return Trained(run.history, run.record.num_parameters, run.record.peak_gb, evaluation)


def _describe_task(task: Task, done: "Future[Trained | None]") -> str:
    recipe = task.recipe
    defaults = Recipe.of({"model": recipe.model}).flat()
    short = " ".join(f"{key}={value}" for key, value in recipe.flat().items() if value != defaults.get(key))
    if done.cancelled() or done.exception():
        return f"{task.label} ({short}): stopped"
    trained = done.result()
    if trained is None:
        return f"{task.label} ({short}): diverged"
    history = trained.history
    score = f"{history.metric} {history.best or 0:.4f} in epoch {history.best_epoch}, {history.seconds:.0f} s"
    return f"{task.label} ({short}): {score}, {trained.peak_gb:.2f} GB"


def _result(entry: Entry, chosen: Options, trained: Sequence[Trained | None]) -> Result:
    runs = [one for one in trained if one is not None]
    if len(runs) < len(trained):
        raise InputError(f"{entry.label} diverged with one of the seeds", got=dict(chosen), remedy="smaller lr")
    histories = [one.history for one in runs]
    evaluations = [one.evaluation for one in runs if one.evaluation is not None]
    num_epochs = sum(len(history.epochs) for history in histories)
    return Result(
        entry=entry,
        chosen=chosen,
        num_tried=0 if entry.variant_of else len(list(entry.combinations())),
        valid=spread([history.best or 0.0 for history in histories]),
        metrics={
            name: spread([evaluation.metrics[name] for evaluation in evaluations]) for name in evaluations[0].metrics
        },
        cpu_to_best=spread([_cpu(history, history.best_epoch) for history in histories]),
        cpu_per_epoch=sum(_cpu(history) for history in histories) / max(1, num_epochs),
        peak_gb=max(one.peak_gb for one in runs),
        best_epochs=tuple(history.best_epoch for history in histories),
        num_parameters=runs[0].num_parameters,
        fingerprint=evaluations[0].fingerprint,
        measured=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=_machine(),
    )


def _machine() -> str:
    """Returns the names of processor and GPU."""
    about = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)", about.read_text(), re.M) if about.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{names[0] if names else platform.machine()}, {gpu}"


def _cpu(history: History, num_epochs: int | None = None) -> float:
    """Sums the CPU seconds of the first epochs; of all epochs by default."""
    return sum(epoch.seconds_cpu for epoch in history.epochs[:num_epochs])
