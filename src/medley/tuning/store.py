"""The folder of a tuning, from which the same call goes on. Only this file knows the names:

tuning.json        what is tuned: recipe, search space, data, metric, seed; another call must agree
optuna.journal     all trials with their validation curves, in Optuna's journal format (optuna-dashboard reads it)
runs/<name>/       the runs of unfinished trials and of the finalists
recipe.json        the best recipe so far, for `medley train --recipe`
result.json        the finalists, the importance of the parameters, how the search ended
trials.csv         one line per trial
slice.svg          the validation metric over every parameter
.lock              held while a process tunes
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medley.errors import InputError
from medley.files import locked, read_json, write_json
from medley.models.spaces import Choice, Log, Space, Whole
from medley.tuning.journal import NAME, id_of, load_optuna, pruner, quiet, repair, storage_of
from medley.tuning.trials import Outcome, Trial

if TYPE_CHECKING:
    import optuna

NUM_RANDOM = 8  # random trials before TPE models what is good; Optuna's 10 would be most of a short search
MIN_IMPORTANCE = 10  # complete trials for the importance of the parameters
TOP = 0.25  # share of the trials whose parameters the importance compares with all

Identity = Mapping[str, Mapping[str, Any]]  # group (recipe, space, data) -> name -> value


class Store:
    """The folder, opened by one process."""

    def __init__(self, folder: Path, identity: Identity, space: Mapping[str, Space], *, seed: int, jobs: int):
        self.folder, self.space, self.jobs = folder, space, jobs
        self.journal, self.seed = folder / "optuna.journal", seed
        self._optuna = load_optuna()
        path = folder / "tuning.json"
        if path.exists():
            _same(path, read_json(path, remedy="tune into another folder"), identity)
        else:
            write_json(path, dict(identity))
        repair(self.journal)
        with quiet(self._optuna):
            self._storage = storage_of(self.journal)
            self.study = self._optuna.create_study(
                study_name=NAME, storage=self._storage, pruner=pruner(), direction="maximize", load_if_exists=True
            )

    @classmethod
    @contextmanager
    def opened(
        cls, folder: Path, identity: Identity, space: Mapping[str, Space], *, seed: int, jobs: int
    ) -> Iterator["Store"]:
        """Opens the folder, or makes it; one process at a time.

        Raises:
            InputError: another process tunes there; the folder holds another tuning, or something else.
            MissingExtraError: the extra tune is not installed.
        """
        load_optuna()
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if there - {".lock"} and "tuning.json" not in there:
            remedy = "choose another folder"
            raise InputError("folder of the tuning", file=folder, expected="an empty folder or a tuning", remedy=remedy)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            yield cls(folder, identity, space, seed=seed, jobs=jobs)

    def ask(self, defaults: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Returns number and parameters of a new trial: first the defaults, then those that TPE proposes."""
        with quiet(self._optuna):
            trials = self._frozen()
            if not trials:
                self.study.enqueue_trial(dict(defaults), user_attrs={"is_default": True})
            self._sample(len(trials))
            trial = self.study.ask()
            return trial.number, self._suggest(trial)

    def unfinished(self) -> list[tuple[int, dict[str, Any]]]:
        """Returns number and parameters of the trials that an earlier call began."""
        running = self._optuna.trial.TrialState.RUNNING
        with quiet(self._optuna):
            numbers = [trial.number for trial in self._frozen() if trial.state == running]
            found = []
            for number in numbers:
                self._sample(number)  # a kill may have come before all parameters were there
                trial = self._optuna.trial.Trial(self.study, id_of(self._storage, number))
                found.append((number, self._suggest(trial)))
            return found

    def tell(self, number: int, outcome: Outcome) -> None:
        """Keeps the outcome of a trial; a stopped trial stays open."""
        states = self._optuna.trial.TrialState
        with quiet(self._optuna):
            trial_id = id_of(self._storage, number)
            earlier = self._storage.get_trial(trial_id).user_attrs.get("value")
            if outcome.state == "stopped" and earlier is not None and earlier > (outcome.value or 0.0):
                return  # it went on at a checkpoint, and has not come as far again
            for name, value in asdict(outcome).items():
                self._storage.set_trial_user_attr(trial_id, name, value)
            if outcome.state == "complete":
                self.study.tell(number, outcome.value)
            elif outcome.state != "stopped":  # what diverged is bad, too: TPE puts it below all that did not
                self.study.tell(number, state=states.PRUNED)

    def repeat(self, number: int) -> None:
        """Drops a trial whose parameters were tried before."""
        with quiet(self._optuna):
            self.study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """Returns all trials that have an outcome, by number."""
        found = []
        running = self._optuna.trial.TrialState.RUNNING
        for frozen in self._frozen():
            about = dict(frozen.user_attrs)
            is_default = about.pop("is_default", False)
            if "state" in about:
                if frozen.state == running:  # also where a kill came between the two notes of `tell`
                    about["state"] = "stopped"
                found.append(Trial(frozen.number, dict(frozen.params), is_default=is_default, **about))
        return found

    @property
    def seconds(self) -> float:
        """Seconds that all calls so far have spent."""
        with quiet(self._optuna):
            return float(self.study.user_attrs.get("seconds", 0.0))

    @seconds.setter
    def seconds(self, value: float) -> None:
        with quiet(self._optuna):
            self.study.set_user_attr("seconds", round(value, 3))

    def seeds_of(self, number: int) -> dict[int, Outcome]:
        """Returns seed -> outcome of the further trainings of a finalist."""
        prefix = f"finalist/{number}/"
        with quiet(self._optuna):
            attrs = self.study.user_attrs
        return {int(key.removeprefix(prefix)): Outcome(**attrs[key]) for key in attrs if key.startswith(prefix)}

    def keep_seed(self, number: int, seed: int, outcome: Outcome) -> None:
        """Keeps the outcome of a finalist under another seed, unless the training is to go on."""
        if outcome.state != "stopped":
            with quiet(self._optuna):
                self.study.set_user_attr(f"finalist/{number}/{seed}", asdict(outcome))

    def run_folder(self, number: int, seed: int) -> Path:
        """Returns the folder of the run of a trial."""
        return self.folder / "runs" / f"trial-{number:04d}-seed-{seed}"

    def remove_runs(self, keep: set[int]) -> None:
        """Removes the runs of all trials but these."""
        runs = self.folder / "runs"
        for path in runs.iterdir() if runs.exists() else ():
            if int(path.name.split("-")[1]) not in keep:
                shutil.rmtree(path)

    def importance(self) -> dict[str, float]:
        """Returns parameter -> share of its importance (PED-ANOVA), largest first; empty with too few trials."""
        complete = self._frozen(self._optuna.trial.TrialState.COMPLETE)
        if len(complete) < MIN_IMPORTANCE or not self.space:
            return {}
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
        with quiet(self._optuna):
            shares = self._optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {name: float(share) for name, share in shares.items()}

    def _sample(self, number: int) -> None:
        """Prepares the sampler for one trial: what TPE draws depends on the seed and the number, not on kills."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        self.study.sampler = self._optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=NUM_RANDOM, constant_liar=self.jobs > 1
        )

    def _frozen(self, *states: Any) -> list[Any]:
        with quiet(self._optuna):
            return self.study.get_trials(deepcopy=False, states=states or None)

    def _suggest(self, trial: "optuna.trial.Trial") -> dict[str, Any]:
        """Returns the parameters of a trial; those that it has already do not change."""
        params: dict[str, Any] = {}
        for name, space in self.space.items():
            if isinstance(space, Choice):
                params[name] = trial.suggest_categorical(name, list(space.values))
            elif isinstance(space, Whole):
                params[name] = trial.suggest_int(name, int(space.low), int(space.high))
            else:
                params[name] = trial.suggest_float(name, space.low, space.high, log=isinstance(space, Log))
        return params


def _same(path: Path, was: Identity, now: Identity) -> None:
    """Refuses to go on with a tuning of something else."""
    one, two = (
        {f"{group} {name}": value for group, values in identity.items() for name, value in values.items()}
        for identity in (was, now)
    )
    differing = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    if differing:
        expected, got = (", ".join(f"{name} {each.get(name)}" for name in differing) for each in (one, two))
        remedy = "tune into another folder, or repeat the call that made this one"
        raise InputError("another tuning is in this folder", file=path, expected=expected, got=got, remedy=remedy)
