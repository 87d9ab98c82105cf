"""Searches the settings of a model on validation: the defaults first, then what TPE proposes, then the best again under
several seeds. Test interactions are not read.
"""

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from medley import models
from medley.api import load
from medley.data.dataset import Dataset
from medley.errors import InputError, MedleyError, MedleyWarning, MissingExtraError
from medley.files import write_atomic, write_json
from medley.models import Recommender
from medley.models.spaces import Space
from medley.runs import Recipe
from medley.training.progress import Progress
from medley.tuning.execution import Bar, Executor, InProcess, result_of, workers
from medley.tuning.plot import slices
from medley.tuning.result import Ending, Finalist, Tuned, described, document_of, shown, table_of
from medley.tuning.searched import space_of
from medley.tuning.store import Store
from medley.tuning.trials import Outcome, Task, Trial

NUM_TRIALS = 30  # where neither trials nor seconds are given
RESERVE = 0.4  # at most this share of the time is kept for the finalists
MAX_REPEATS = 50  # proposals in a row that were tried before: the space has nothing new
SAVE_SECONDS = 5.0  # least time between two notes of the time spent
FOREVER = float("inf")


def tune(
    model: Recipe | str | type[Recommender],
    data: Dataset | str | Path,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    finalists: int = 3,
    seeds: int = 3,
    jobs: int = 1,
    space: Mapping[str, Space] | None = None,
    progress: bool | Callable[[str], None] = True,
    **changes: Any,
) -> Tuned:
    """Searches the settings of a model on validation: `medley.tune("lightgcn", data, seconds=600, out="tuned")`.

    The first trial has the given settings, the following ones what TPE proposes; a trial that is worse than the median
    is pruned. The best trials and the first one are trained again under further seeds; the best mean wins. Test is not
    read.

    Args:
        model: a model as in `medley.build`, or a recipe to start from.
        data: a data set with validation interactions.
        trials: number of trials; 30 if neither `trials` nor `seconds` is given.
        seconds: time of the search and the finalists together, over all calls on one folder. A training that runs
            when the time is over ends with its epoch.
        out: folder of the search. The same call goes on with a search that was stopped or killed; more trials or more
            time prolong it. None keeps nothing.
        seed: of the trainings of all trials, and of the search.
        finalists: number of trials to train again, beside the first one.
        seeds: number of seeds of a finalist: `seed`, `seed + 1`, ...
        jobs: trainings at a time; more than one run in processes of their own, which share the threads.
        space: option or setting -> search space (`medley.models.spaces`), which replace or extend those that the
            model declares.
        progress: True prints a line per trial on standard error; a function receives the lines.
        changes: options and settings of all trials, as in `medley.train`; they are not searched.

    Returns:
        The best `recipe`, all `trials`, the `finalists`, and the `importance` of every parameter.

    Raises:
        InputError: no validation interactions; a wrong option or space; `out` holds another search; no trial trained.
        MissingExtraError: the extra tune is not installed.
    """
    data = load(data) if isinstance(data, str | Path) else data
    for name, value, least in (("finalists", finalists, 1), ("seeds", seeds, 1), ("jobs", jobs, 1), ("seed", seed, 0)):
        _whole(name, value, least)
    if trials is not None:
        _whole("trials", trials, 1)
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < FOREVER):
        raise InputError("seconds", expected="a number above 0", got=repr(seconds))
    if not len(data.valid):
        remedy = "import the data with a validation split, for example ratios=(0.8, 0.1, 0.1)"
        got = "none; settings are never chosen on test"
        raise InputError("validation interactions", file=data.folder, expected="at least one", got=got, remedy=remedy)
    base = model if isinstance(model, Recipe) else Recipe.of({"model": model})
    base = base.changed({**changes, "seed": seed})
    if base.settings.train_on != "train":
        raise InputError("train_on", expected="train: validation judges", got=base.settings.train_on)
    space = space_of(base, space or {}, fixed=changes)
    num_trials = NUM_TRIALS if trials is None and seconds is None else trials
    temporary = TemporaryDirectory(prefix="medley-tune-") if out is None else None
    folder = Path(temporary.name if temporary is not None else out or "")
    fixed = {name: value for name, value in base.flat().items() if name not in ("device", "seed")}
    identity = {
        "recipe": fixed,
        "space": {name: str(one) for name, one in space.items()},
        "data": data.manifest.parts,
        "search": {"seed": seed},
    }
    try:
        with Store.opened(folder, identity, space, seed=seed, jobs=jobs) as store:
            tuner = _Tuner(store, base, data, num_trials, seconds or FOREVER, finalists, seeds, jobs, progress)
            return tuner.tune()
    finally:
        if temporary is not None:
            temporary.cleanup()


class _Tuner:
    """One call of `tune`."""

    def __init__(
        self,
        store: Store,
        base: Recipe,
        data: Dataset,
        num_trials: int | None,
        seconds: float,
        num_finalists: int,
        num_seeds: int,
        jobs: int,
        progress: bool | Callable[[str], None],
    ):
        self.store, self.base, self.data, self.num_trials, self.jobs = store, base, data, num_trials, jobs
        self.num_finalists = num_finalists
        self.num_seeds = num_seeds if models.learns(base.model) else 1  # other models draw nothing at random
        self.spent_before, self.begin = store.seconds, time.time()
        self.end = self.begin + seconds - self.spent_before
        self.saved = self.begin
        self.ending: Ending = "trials"
        self.metric = base.settings.metric
        self.report = progress if callable(progress) else _print if progress else _ignore
        self.shows_bars = progress is True

    def tune(self) -> Tuned:
        """Searches, compares the finalists and writes the result, whatever ends the search."""
        with self._executor() as executor:
            try:
                self._search(executor)
                if self.ending != "interrupted":
                    self._compare(executor)
            except KeyboardInterrupt:
                self.ending = "interrupted"
            self._tick(now=True)
        return self._finish()

    # ---------------------------------------------------------------- search

    def _search(self, executor: Executor) -> None:
        waiting = self.store.unfinished()
        pending: dict[Future[Outcome], tuple[int, dict[str, Any]]] = {}
        while True:
            while len(pending) < self.jobs and self.ending != "interrupted":
                following = self._next(waiting, pending)
                if following is None:
                    break
                number, params = following
                folder = self.store.run_folder(number, self.base.seed)
                deadline = self.end - self._reserve()
                task = Task(self.base.changed(params), folder, deadline, self.store.journal, number)
                pending[executor.submit(task)] = following
            if not pending:
                return
            for future in executor.wait(pending):
                number, params = pending.pop(future)
                self._told(number, params, result_of(future, is_first=not self.store.trials()))

    def _next(
        self, waiting: list[tuple[int, dict[str, Any]]], pending: Mapping[Any, tuple[int, dict[str, Any]]]
    ) -> tuple[int, dict[str, Any]] | None:
        """Returns the next trial: one that was cut off, else a new one; None if there is none, and why."""
        if time.time() >= self.end - self._reserve() and (self.store.trials() or pending):
            self.ending = "time"
            return None
        tried = [trial.params for trial in self.store.trials() if trial.state != "stopped"]
        tried += [params for _, params in pending.values()]
        while waiting:
            number, params = waiting.pop(0)
            if params not in tried:
                return number, params
            self.store.repeat(number)
        if self.num_trials is not None and len(tried) >= self.num_trials:
            return None
        sizes = [one.size for one in self.store.space.values()]
        if None not in sizes and len(tried) >= np.prod([size or 1 for size in sizes], dtype=object):
            self.ending = "nothing left to try"
            return None
        defaults = {name: self.base.flat()[name] for name in self.store.space}
        for _ in range(MAX_REPEATS):
            number, params = self.store.ask(defaults)
            if params not in tried:
                return number, params
            self.store.repeat(number)
        self.ending = "nothing left to try"
        return None

    def _told(self, number: int, params: dict[str, Any], outcome: Outcome) -> None:
        """Keeps the outcome of a trial."""
        self.store.tell(number, outcome)
        if outcome.message == "interrupted":
            self.ending = "interrupted"
        self._tick(now=True)
        best = self._leaders()
        self.store.remove_runs({trial.number for trial in best} | {number for number, _ in self.store.unfinished()})
        line = f"trial {number} ({shown(params) or 'defaults'}): {described(outcome, self.metric)}"
        self.report(line + (f"; best {best[0].value:.4f} (trial {best[0].number})" if best else ""))

    def _leaders(self) -> list[Trial]:
        """Returns the best trials so far, and the defaults: what beats them by chance under one seed must not win.

        A trial that was cut off by the time can only become better.
        """
        judged = [one for one in self.store.trials() if one.state in ("complete", "stopped") and one.value is not None]
        ranked = sorted(judged, key=lambda trial: (-(trial.value or 0.0), trial.number))
        return [one for place, one in enumerate(ranked) if place < self.num_finalists or one.is_default]

    def _reserve(self) -> float:
        """Returns the seconds to keep for the finalists: as long as their trials took, for every further seed."""
        if self.end == FOREVER or self.num_seeds == 1:
            return 0.0
        most = RESERVE * (self.end - self.begin + self.spent_before)
        leaders = self._leaders()
        longest = sum(trial.seconds for trial in leaders) * (self.num_seeds - 1) / self.jobs
        return min(most, longest) if len(leaders) >= self.num_finalists else most

    # ------------------------------------------------------------- finalists

    def _compare(self, executor: Executor) -> None:
        """Trains the best trials under the other seeds, one seed of all finalists after the other."""
        leaders = self._leaders()
        todo = [
            (trial, self.base.seed + offset)
            for offset in range(1, self.num_seeds)
            for trial in leaders
            if self.base.seed + offset not in self.store.seeds_of(trial.number)
        ]
        pending: dict[Future[Outcome], tuple[Trial, int]] = {}
        while todo or pending:
            while todo and len(pending) < self.jobs and self.ending != "interrupted" and time.time() < self.end:
                trial, seed = todo.pop(0)
                recipe = self.base.changed({**trial.params, "seed": seed})
                task = Task(recipe, self.store.run_folder(trial.number, seed), self.end)
                pending[executor.submit(task)] = trial, seed
            if not pending:
                self.ending = self.ending if self.ending == "interrupted" else "time"
                return
            for future in executor.wait(pending):
                (trial, seed), outcome = pending.pop(future), result_of(future, is_first=False)
                self.store.keep_seed(trial.number, seed, outcome)
                self._tick(now=True)
                if outcome.message == "interrupted":
                    self.ending = "interrupted"
                self.report(f"trial {trial.number}, seed {seed}: {described(outcome, self.metric)}")

    def _finalists(self) -> list[Finalist]:
        """Returns the best trials with the values of all seeds that every one of them was trained with."""
        values: dict[int, dict[int, float | None]] = {}
        leaders = self._leaders()
        for trial in leaders:
            others = {seed: outcome.value for seed, outcome in self.store.seeds_of(trial.number).items()}
            if not any(outcome.state == "diverged" for outcome in self.store.seeds_of(trial.number).values()):
                values[trial.number] = {self.base.seed: trial.value, **others}
        if not values:  # all have diverged under some seed: the first seed decides
            values = {trial.number: {self.base.seed: trial.value} for trial in leaders}
        wanted = range(self.base.seed, self.base.seed + self.num_seeds)
        common = [seed for seed in wanted if all(of.get(seed) is not None for of in values.values())]
        finalists = [
            Finalist(
                trial.number,
                self.base.changed(trial.params),
                tuple(values[trial.number][seed] or 0.0 for seed in common),
            )
            for trial in leaders
            if trial.number in values
        ]
        return sorted(finalists, key=lambda one: (-one.mean, one.number))

    # ---------------------------------------------------------------- result

    def _finish(self) -> Tuned:
        """Writes the result into the folder."""
        trials = self.store.trials()
        finalists = self._finalists()
        if not finalists:
            reasons = "; ".join(f"trial {trial.number}: {trial.message}" for trial in trials if trial.message)
            remedy = "smaller lr, or another space"
            if self.ending == "interrupted":
                raise MedleyError("interrupted before the first epoch of a trial. Remedy: the same call goes on")
            raise InputError("trials", expected="one that trains", got=reasons or "none", remedy=remedy)
        tuned = Tuned(
            recipe=finalists[0].recipe,
            metric=self.metric,
            trials=trials,
            finalists=finalists,
            importance=self.store.importance(),
            ending=self.ending,
            seconds=self.store.seconds,
        )
        folder = self.store.folder
        tuned.recipe.save(folder / "recipe.json")
        write_json(folder / "result.json", document_of(tuned))
        write_atomic(folder / "trials.csv", table_of(trials, list(self.store.space)))
        if self.store.space:
            try:
                write_atomic(folder / "slice.svg", slices(trials, self.store.space, self.metric))
            except MissingExtraError as error:
                warnings.warn(str(error), MedleyWarning, stacklevel=2)
        return tuned

    # ------------------------------------------------------------- execution

    def _executor(self) -> AbstractContextManager[Executor]:
        """Returns an executor in this process, or with worker processes, which end with its block."""
        if self.jobs == 1:
            return nullcontext(Executor(InProcess(self.data, tick=self._tick, shown=self._bar).submit, tick=self._tick))
        return workers(self.data.folder, self.jobs, tick=self._tick, interrupted=self._interrupted)

    def _interrupted(self) -> None:
        self.ending = "interrupted"

    def _tick(self, *, now: bool = False) -> None:
        """Notes the time spent, every few seconds: a killed process loses no more of it."""
        if now or time.time() - self.saved >= SAVE_SECONDS:
            self.saved = time.time()
            self.store.seconds = self.spent_before + self.saved - self.begin

    def _bar(self, task: Task) -> Progress | None:
        """Returns a bar of the epochs of one training, on a terminal."""
        if not (self.shows_bars and sys.stderr.isatty()):
            return None
        return Bar(task.folder.name.replace("-", " "), self.metric)


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(name, expected=f"a whole number of at least {least}", got=repr(value))


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _ignore(_: str) -> None:
    """Reports nothing."""
