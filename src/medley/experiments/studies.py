"""A study: every model gets the same protocol. Settings are chosen on validation with one seed, then the chosen ones
are trained again with several seeds and scored on test once per seed. All runs are kept, so a study that was stopped
goes on where it was.
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

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError, TrainingError
from medley.evaluation.evaluator import Evaluation, evaluate
from medley.evaluation.statistics import Spread, spread
from medley.files import sha256_of_json
from medley.runs import Run
from medley.training.fit import History, fit
from medley.training.settings import TrainSettings, check_settings

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A model and the values to be tried: every combination of the lists in `grid`, over the fixed `options`.

    With `variant_of`, the label of an earlier candidate, nothing is tried: `options` change what was chosen for that.
    """

    model: str
    label: str
    options: Options
    grid: Mapping[str, Sequence[Any]]
    variant_of: str = ""

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Each point of the grid with the fixed options."""
        for values in product(*self.grid.values()):
            yield {**self.options, **dict(zip(self.grid, values, strict=True))}


class Task(NamedTuple):
    """One training, in a process of its own."""

    model: str
    label: str
    options: Options
    seed: int
    score: bool  # on test


class Trained(NamedTuple):
    """What came of it."""

    history: History
    num_parameters: int
    peak_gb: float
    evaluation: Evaluation | None


@dataclass(frozen=True)
class Result:
    """A candidate at its best: chosen settings, and how they did over the seeds."""

    candidate: Candidate
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
    measured: str  # day on which it was written, YYYY-MM-DD
    machine: str


class Study:
    """Trains and scores candidates on one data set."""

    def __init__(
        self,
        data: Dataset,
        folder: Path,
        *,
        seeds: Sequence[int] = (0, 1, 2),
        at: Sequence[int] = (10, 20),
        workers: int = 1,
        threads: int | None = None,
        told: Callable[[str], None] = lambda line: None,
    ):
        """Args:
        data: the data set.
        folder: where the runs are kept.
        seeds: the first one also chooses the settings.
        at: cut-offs of the test metrics.
        workers: trainings at a time, each in its own process.
        threads: of each; None leaves it to torch.
        told: gets a line per finished training.
        """
        self.data, self.folder, self.seeds, self.at = data, folder, tuple(seeds), tuple(at)
        self.workers, self.threads, self.told = workers, threads, told

    def run(self, candidates: Sequence[Candidate], known: Mapping[str, Options] | None = None) -> list[Result]:
        """Chooses on validation, repeats over the seeds, scores test once per seed.

        Args:
            candidates: what is trained.
            known: label -> what an earlier study chose, for variants of candidates that are not part of this one.

        Raises:
            InputError: a variant of nothing; a candidate diverged at every point of its grid.
        """
        chosen = {**(known or {}), **self._choose([one for one in candidates if not one.variant_of])}
        for candidate in candidates:
            if candidate.variant_of:
                if candidate.variant_of not in chosen:
                    raise InputError(
                        f"{candidate.label} is a variant of {candidate.variant_of!r}",
                        expected=" or ".join(chosen),
                        got="a candidate that is not part of this study",
                    )
                chosen[candidate.label] = {**chosen[candidate.variant_of], **candidate.options}
        tasks = [
            Task(candidate.model, candidate.label, chosen[candidate.label], seed, score=True)
            for candidate in candidates
            for seed in self._seeds(candidate)
        ]
        done = iter(self._train(tasks))
        return [
            _result(candidate, chosen[candidate.label], [next(done) for _ in self._seeds(candidate)])
            for candidate in candidates
        ]

    def _seeds(self, candidate: Candidate) -> tuple[int, ...]:
        """Of a model without a loss nothing is random, so one is enough."""
        return self.seeds if models.find(candidate.model).loss is not models.Recommender.loss else self.seeds[:1]

    def _choose(self, candidates: Sequence[Candidate]) -> dict[str, Options]:
        """Label -> the point of its grid that does best on validation with the first seed."""
        points = [(candidate, options) for candidate in candidates for options in candidate.combinations()]
        tasks = [
            Task(candidate.model, candidate.label, options, self.seeds[0], score=False) for candidate, options in points
        ]
        best: dict[str, float] = {}
        chosen: dict[str, Options] = {}
        for (candidate, options), trained in zip(points, self._train(tasks), strict=True):
            value = None if trained is None else trained.history.best
            if value is not None and value > best.get(candidate.label, -1.0):
                best[candidate.label], chosen[candidate.label] = value, options
        for candidate in candidates:
            if candidate.label not in chosen:
                raise InputError(
                    f"{candidate.label} diverged everywhere", got=dict(candidate.grid), remedy="smaller lr"
                )
        return chosen

    def _train(self, tasks: Sequence[Task]) -> list[Trained | None]:
        """None where training diverged."""
        with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            futures: list[Future[Trained | None]] = []
            for task in tasks:
                future = pool.submit(_work, task, self.data.folder, self.folder, self.at, self.threads)
                future.add_done_callback(lambda done, task=task: self.told(_line(task, done)))
                futures.append(future)
            return [future.result() for future in futures]


def _work(task: Task, data_folder: Path, folder: Path, at: Sequence[int], threads: int | None) -> Trained | None:
    if threads:
        torch.set_num_threads(threads)
    data = Dataset(data_folder)
    of_training = {key: value for key, value in task.options.items() if key in TrainSettings.model_fields}
    of_model = {key: value for key, value in task.options.items() if key not in TrainSettings.model_fields}
    settings = check_settings({"seed": task.seed} | of_training)
    model = models.build(task.model, data.inputs(), seed=task.seed, **of_model)
    identity = {**model.spec.options, **settings.model_dump(), "data": data.manifest.content_hash}
    out = folder / task.model / sha256_of_json(identity)[:16]
    try:
        history = fit(model, data, settings, out=out, resume=True)
    except TrainingError:
        return None
    with torch.no_grad():
        evaluation = evaluate(model.scorer(), data, split="test", at=at, groups=True) if task.score else None
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return Trained(history, num_parameters, Run(out).record.peak_gb, evaluation)


def _line(task: Task, done: "Future[Trained | None]") -> str:
    short = " ".join(f"{key}={value}" for key, value in task.options.items() if key not in ("dim", "metric"))
    if done.cancelled() or done.exception():
        return f"{task.label} seed {task.seed} ({short}): stopped"
    trained = done.result()
    if trained is None:
        return f"{task.label} seed {task.seed} ({short}): diverged"
    history = trained.history
    score = f"{history.metric} {history.best or 0:.4f} in epoch {history.best_epoch}, {history.seconds:.0f} s"
    return f"{task.label} seed {task.seed} ({short}): {score}, {trained.peak_gb:.2f} GB"


def _result(candidate: Candidate, chosen: Options, trained: Sequence[Trained | None]) -> Result:
    runs = [one for one in trained if one is not None]
    if len(runs) < len(trained):
        raise InputError(f"{candidate.label} diverged with one of the seeds", got=dict(chosen), remedy="smaller lr")
    histories = [one.history for one in runs]
    evaluations = [one.evaluation for one in runs if one.evaluation is not None]
    num_epochs = sum(len(history.epochs) for history in histories)
    return Result(
        candidate=candidate,
        chosen=chosen,
        num_tried=0 if candidate.variant_of else len(list(candidate.combinations())),
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
    """Processor and GPU."""
    about = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)", about.read_text(), re.M) if about.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{names[0] if names else platform.machine()}, {gpu}"


def _cpu(history: History, num_epochs: int | None = None) -> float:
    """CPU seconds of the first epochs; of all by default."""
    return sum(epoch.seconds_cpu for epoch in history.epochs[:num_epochs])
