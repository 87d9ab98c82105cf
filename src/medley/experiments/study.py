"""Trains and evaluates the entries of a study. Settings are chosen on validation with one seed, then the chosen recipes
are trained with several seeds and evaluated on test once per seed. All runs are kept in a store, so nothing is trained
twice: not by another study, and not by the same study after it was stopped.
"""

import json
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.evaluation.histories import reason_against_fresh
from medley.evaluation.statistics import spread
from medley.experiments.capacity import dim_of_size
from medley.experiments.declaration import Declaration, load
from medley.experiments.entries import Entry, Options
from medley.experiments.results import Result, Results
from medley.experiments.scheduler import Outcome, Peaks, Resources, run_all
from medley.experiments.splits import GIVEN, resplit
from medley.experiments.store import Diverged, Protocol, Store, Task, Trained
from medley.experiments.watch import Watch
from medley.runs import History, Recipe
from medley.version import versions

__all__ = ["Entry", "Result", "Results", "Study", "run_study"]

Key = tuple[str, str]  # split, label
FRESH = "fresh histories"
FINALISTS = 3  # of a search, trained with every seed before one is chosen


class Found(NamedTuple):
    """The results of a study, and what does not apply: label -> why."""

    results: list[Result]
    skipped: dict[str, str]


class Study:
    """Trains and evaluates entries on one data set, or on several splits of its log."""

    def __init__(
        self,
        data: Dataset | Mapping[str, Dataset],
        folder: str | Path,
        *,
        seeds: Sequence[int] = (0, 1, 2),
        protocols: Sequence[Protocol] = (Protocol(),),
        resources: Resources | None = None,
        watch: Watch | None = None,
    ):
        """Args:
        data: the data set, or split -> data set.
        folder: the folder of the runs, which other studies may share.
        seeds: the first one also chooses the settings.
        protocols: how each run is evaluated on test; all of them differ in candidates or histories.
        resources: how many trainings run at a time, and with how much; one process by default.
        watch: is told what happens; nothing is shown by default.
        """
        self.data = dict(data) if isinstance(data, Mapping) else {GIVEN: data}
        self.store, self.seeds, self.protocols = Store(folder), tuple(seeds), tuple(protocols)
        self.resources, self.watch, self.peaks = resources or Resources(), watch or Watch(), Peaks()
        self.skipped: dict[str, str] = {}
        self._applies: dict[str, tuple[Protocol, ...]] = {}  # split -> protocols

    def run(self, entries: Sequence[Entry], known: Mapping[str, Options] | None = None) -> Found:
        """Chooses settings on validation, trains with every seed, evaluates on test once per seed.

        Args:
            entries: the entries to train.
            known: label -> settings that an earlier study chose, for variants of entries outside this study.

        Raises:
            InputError: a variant of an unknown entry, a setting to choose without a validation split, or a recipe that
                learns from validation or test.
        """
        labels = {*(known or {}), *(entry.label for entry in entries)}
        for entry in entries:
            self._check(entry, labels)
        chosen: dict[Key, Options] = {
            (s, label): options for s in self.data for label, options in (known or {}).items()
        }
        left = list(entries)
        while left:  # a variant of a variant waits for it
            ready = [one for one in left if one.variant_of not in {other.label for other in left}]
            if not ready:
                raise InputError("variants", got=f"a circle of {' and '.join(one.label for one in left)}")
            self._choose(ready, chosen)
            left = [one for one in left if one not in ready]
        self._resize(entries, chosen)
        plan = [(split, entry) for split in self.data for entry in entries if (split, entry.label) in chosen]
        tasks = [self._tasks(split, entry, chosen[split, entry.label]) for split, entry in plan]
        flat = [task for each in tasks for task in each]
        outcomes = iter(run_all("final runs", flat, self.resources, self.watch, self.peaks))
        results = []
        for (split, entry), made in zip(plan, tasks, strict=True):
            ended = [next(outcomes) for _ in made]
            trained = self._usable(split, entry, ended)
            if trained:
                options, places = chosen[split, entry.label], range(len(self._protocols(split)))
                results += [self._result(split, entry, options, trained, place) for place in places]
        conditions = [(protocol.candidates, protocol.history) for protocol in self.protocols]
        results.sort(key=lambda one: conditions.index((one.candidates, one.history)))
        results.sort(key=lambda one: list(self.data).index(one.split))
        return Found(results, self.skipped)

    def _check(self, entry: Entry, labels: set[str]) -> None:
        for kind, label in (("a variant", entry.variant_of), ("as large as another", entry.parameters_of)):
            if label and label not in labels:
                expected = " or ".join(sorted(labels - {entry.label}))
                got = "an entry that is not part of this study"
                raise InputError(f"{entry.label} is {kind} of {label!r}", expected=expected, got=got)
        learns = entry.options.get("train_on", "train")
        if learns != "train" or set(entry.grid.get("train_on", ("train",))) != {"train"}:
            raise InputError(f"train_on of {entry.label}", expected="train", got=repr(learns))

    def _choose(self, entries: Sequence[Entry], chosen: dict[Key, Options]) -> None:
        """Adds the settings of entries: the point of the grid with the best validation metric under the first seed."""
        points: list[tuple[str, Entry, Options]] = []
        for split in self.data:
            for entry in entries:
                if entry.variant_of and (split, entry.variant_of) not in chosen:
                    self._skip(split, entry, f"it is a variant of {entry.variant_of}, which does not apply")
                    continue
                base = chosen[split, entry.variant_of] if entry.variant_of else {}
                combinations = [{**base, **point} for point in entry.combinations()]
                if entry.trials:
                    chosen[split, entry.label] = self._tuned(split, entry, base)
                elif len(combinations) == 1:
                    chosen[split, entry.label] = combinations[0]
                else:
                    self._needs_validation(split, entry)
                    points += [(split, entry, options) for options in combinations]
        tried: list[tuple[str, Entry, Options, Task]] = []
        for split, entry, options in points:
            task = self._task(split, entry, options, self.seeds[0], ())
            if task is not None:
                tried.append((split, entry, options, task))
        if not tried:
            return
        outcomes = run_all("settings", [one[-1] for one in tried], self.resources, self.watch, self.peaks)
        best: dict[Key, float] = {}
        for (split, entry, options, _), outcome in zip(tried, outcomes, strict=True):
            value = outcome.history.best if isinstance(outcome, Trained) else None
            if value is not None and value > best.get((split, entry.label), -1.0):
                best[split, entry.label], chosen[split, entry.label] = value, options
        for (split, entry, _, _), outcome in zip(tried, outcomes, strict=True):
            if (split, entry.label) not in chosen:
                self._skip(split, entry, f"{outcome}" if isinstance(outcome, InputError) else "it diverged everywhere")

    def _needs_validation(self, split: str, entry: Entry) -> None:
        if not len(self.data[split].valid):
            remedy = "import the data with a validation split (ratios=8:1:1); test never chooses"
            raise InputError(
                f"settings of {entry.label}", expected="validation interactions", got="none", remedy=remedy
            )

    def _tuned(self, split: str, entry: Entry, base: Options) -> Options:
        """Searches the space of the model in so many trials; the options of the entry are fixed."""
        from medley.tuning import tune  # here, for it needs an extra

        self._needs_validation(split, entry)
        fixed = {**base, **entry.options}
        start = _recipe(entry, fixed, self.seeds[0])
        folder = self.store.task(entry.label, start, self.data[split]).folder
        tuned = tune(
            entry.model,
            self.data[split],
            trials=entry.trials,
            out=folder.with_name(f"{folder.name}-tuned"),
            seed=self.seeds[0],
            finalists=min(FINALISTS, entry.trials),
            seeds=len(self.seeds),
            jobs=max(1, self.resources.jobs),
            progress=self.watch.note,
            **fixed,
        )
        return {key: value for key, value in tuned.recipe.flat().items() if key not in ("model", "seed", "device")}

    def _resize(self, entries: Sequence[Entry], chosen: dict[Key, Options]) -> None:
        """Chooses `dim` of the entries that must be as large as another."""
        for split, data in self.data.items():
            for entry in entries:
                if not entry.parameters_of or (split, entry.label) not in chosen:
                    continue
                try:
                    other = next(one for one in entries if one.label == entry.parameters_of)
                    reference = _recipe(other, chosen[split, other.label], self.seeds[0])
                    built = models.build(reference.model, data.inputs(), **reference.options)
                    wanted = sum(parameter.numel() for parameter in built.parameters())
                    recipe = _recipe(entry, chosen[split, entry.label], self.seeds[0])
                    dim, _ = dim_of_size(recipe, data, wanted)
                except (InputError, KeyError) as error:
                    del chosen[split, entry.label]
                    self._skip(split, entry, str(error))
                else:
                    chosen[split, entry.label] = {**chosen[split, entry.label], "dim": dim}

    def _seeds(self, entry: Entry) -> tuple[int, ...]:
        """Returns the seeds of an entry; one is enough for a model without a loss, which draws nothing at random."""
        return self.seeds if models.find(entry.model).loss is not models.Recommender.loss else self.seeds[:1]

    def _tasks(self, split: str, entry: Entry, options: Options) -> list[Task]:
        protocols = self._protocols(split)
        tasks = [self._task(split, entry, options, seed, protocols) for seed in self._seeds(entry)]
        return [task for task in tasks if task is not None]

    def _protocols(self, split: str) -> tuple[Protocol, ...]:
        """Returns the protocols that apply to a split: only a split by time has fresh histories."""
        if split not in self._applies:
            reason = reason_against_fresh(self.data[split])
            self._applies[split] = tuple(one for one in self.protocols if one.history == "train" or reason is None)
            if len(self._applies[split]) < len(self.protocols):
                name = FRESH if len(self.data) == 1 else f"{FRESH} ({split} split)"
                self.skipped[name] = f"the split is not by time: {reason}"
                self.watch.note(f"{name} do not apply: {reason}")
        return self._applies[split]

    def _task(
        self, split: str, entry: Entry, options: Options, seed: int, protocols: tuple[Protocol, ...]
    ) -> Task | None:
        label = entry.label if len(self.data) == 1 else f"{entry.label}, {split}"
        try:
            return self.store.task(label, _recipe(entry, options, seed), self.data[split], protocols)
        except InputError as error:  # the model cannot be built on such modalities
            self._skip(split, entry, str(error))
            return None

    def _usable(self, split: str, entry: Entry, ended: Sequence[Outcome]) -> list[Trained]:
        """Returns the runs if there is one for every seed; else says why not, and returns none."""
        for seed, outcome in zip(self._seeds(entry), ended, strict=False):
            if isinstance(outcome, InputError):
                self._skip(split, entry, str(outcome))
                return []
            if isinstance(outcome, Diverged):
                self._skip(split, entry, f"it diverged with seed {seed}: choose a smaller lr")
                return []
        return [one for one in ended if isinstance(one, Trained)]

    def _skip(self, split: str, entry: Entry, reason: str) -> None:
        label = entry.label if len(self.data) == 1 else f"{entry.label} ({split} split)"
        if label not in self.skipped:
            self.skipped[label] = reason
            self.watch.note(f"{label} does not apply: {reason}")

    def _result(self, split: str, entry: Entry, options: Options, runs: Sequence[Trained], place: int) -> Result:
        histories = [one.history for one in runs]
        evaluations, protocol = [one.evaluations[place] for one in runs], self._protocols(split)[place]
        num_epochs = sum(len(history.epochs) for history in histories)
        first = runs[0].recipe
        # with one seed a model may rely on a modality most for some users, and with another seed for none
        measured = [name for name in evaluations[0].metrics if all(name in one.metrics for one in evaluations)]
        return Result(
            entry=entry,
            chosen=dict(options),
            num_tried=entry.trials or (len(list(entry.combinations())) if entry.grid or not entry.variant_of else 0),
            valid=spread([history.best or 0.0 for history in histories]),
            metrics={name: spread([one.metrics[name] for one in evaluations]) for name in measured},
            cpu_to_best=spread([_cpu(history, history.best_epoch) for history in histories]),
            cpu_per_epoch=sum(_cpu(history) for history in histories) / max(1, num_epochs),
            peak_gb=max(one.peak_gb for one in runs),
            best_epochs=tuple(history.best_epoch for history in histories),
            num_parameters=runs[0].num_parameters,
            fingerprint=evaluations[0].fingerprint,
            measured=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=_machine(),
            split=split,
            candidates=protocol.candidates,
            history=protocol.history,
            users_of=evaluations[0].history,
            seeds=tuple(one.recipe.seed for one in runs),
            recipe=first.fingerprint,
            command=_command(first),
            runs=tuple(one.folder.relative_to(self.store.folder).as_posix() for one in runs),
            curves=tuple(tuple(epoch.metric for epoch in history.epochs) for history in histories),
            lists=evaluations[0].lists,
            beyond={name: spread([one.beyond[name] for one in evaluations]) for name in evaluations[0].beyond},
            references=evaluations[0].references,
            num_unknown_users=evaluations[0].num_unknown_users,
            user=evaluations[0].user,
            per_user={name: np.stack([one.per_user[name] for one in evaluations]) for name in measured},
        )


def run_study(
    study: Declaration | str | Path,
    data: Dataset,
    *,
    out: str | Path,
    runs: str | Path | None = None,
    seeds: int | None = None,
    quick: bool = False,
    resources: Resources | None = None,
    watch: Watch | None = None,
) -> Results:
    """Runs a study on a data set and writes its results into a folder.

    Args:
        study: a declaration, the name of a study that Medley ships, or the path of a .toml or .py file.
        data: any data set; entries that do not apply to it are named with the reason.
        out: the folder of the results.
        runs: the folder of the runs, which studies share; by default `runs`, beside `out`.
        seeds: number of seeds; by default that of the study.
        quick: two epochs, small vectors, at most two points per grid and two seeds: shows that a study runs, not more.
        resources: see `Resources`.
        watch: is told what happens; nothing is shown by default.

    Raises:
        InputError: an error in the study, or no entry applies to the data.
        KeyboardInterrupt: the study was stopped; the same call goes on where it was.
    """
    study = study if isinstance(study, Declaration) else load(study)
    out = Path(out)
    runs = out.parent / "runs" if runs is None else Path(runs)
    watch = watch or Watch()
    if seeds is not None and seeds < 1:
        raise InputError("seeds", expected="1 or more", got=seeds)
    num_seeds = seeds or (min(study.seeds, 2) if quick else study.seeds)
    skipped: dict[str, str] = {}
    datasets = _splits(study, data, runs, skipped, watch)
    candidates = _candidates(study, data, skipped, watch, quick=quick)
    entries, left_out = study.expand(list(data.manifest.modalities))
    for label, reason in left_out.items():
        watch.note(f"{label} does not apply: {reason}")
    protocols = [
        Protocol(tuple(study.at), each, study.groups, tuple(study.metrics), study.beyond, history)
        for each in candidates
        for history in study.histories
    ]
    inner = Study(datasets, runs, seeds=range(num_seeds), protocols=protocols, resources=resources, watch=watch)
    found = inner.run([entry.quick() for entry in entries] if quick else entries)
    if not found.results:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in [*left_out.items(), *found.skipped.items()][:3])
        raise InputError(f"study {study.name}", expected="entries that apply to the data", got=reasons or "none")
    results = Results(
        study=study.model_dump(mode="json"),
        data=_described(data, datasets),
        entries=found.results,
        skipped={**skipped, **left_out, **found.skipped},
        made_by={
            "command": f"medley study {study.name} DATASET{' --quick' if quick else ''} --seeds {num_seeds}",
            "seeds": list(range(num_seeds)),
            "quick": quick,
            "versions": versions(),
            "threads": inner.resources.threads_each,
        },
    )
    results.save(out)
    return results


def _splits(study: Declaration, data: Dataset, runs: Path, skipped: dict[str, str], watch: Watch) -> dict[str, Dataset]:
    datasets = {}
    for split in study.splits:
        try:
            datasets[split] = resplit(data, split, runs / "data")
        except InputError as error:
            skipped[f"{split} split"] = str(error)
            watch.note(f"{split} split does not apply: {error}")
    if not datasets:
        raise InputError(f"study {study.name}", got="; ".join(f"{name}: {why}" for name, why in skipped.items()))
    return datasets


def _candidates(study: Declaration, data: Dataset, skipped: dict[str, str], watch: Watch, *, quick: bool) -> list[str]:
    """Returns the kinds of candidates that differ on this data set; a sample as large as the catalogue is left out."""
    num_items, chosen = data.manifest.num_items, []
    for each in study.candidates:
        number = re.search(r"\d+", each)
        if number is None or int(number[0]) < num_items:
            chosen.append(each)
        elif quick:
            chosen.append(each.replace(number[0], str(max(1, num_items // 2))))
        else:
            skipped[each] = f"the data set has {num_items:,} items, so all of them would be drawn"
            watch.note(f"{each} does not apply: {skipped[each]}")
    if not chosen:
        raise InputError(f"study {study.name}", expected="candidates that apply", got=str(skipped))
    return list(dict.fromkeys(chosen))


def _described(data: Dataset, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    manifest = data.manifest
    return {
        "name": manifest.name,
        "num_users": manifest.num_users,
        "num_items": manifest.num_items,
        "modalities": {name: record.dim for name, record in manifest.modalities.items()},
        "splits": {
            split: {
                "num_interactions": one.manifest.num_interactions,
                "split_hash": one.manifest.split_hash,
                "parts": one.manifest.parts,
            }
            for split, one in datasets.items()
        },
    }


def _recipe(entry: Entry, options: Options, seed: int) -> Recipe:
    return Recipe.of({"model": entry.model, **options, "seed": seed})


def _command(recipe: Recipe) -> str:
    """Returns the command that trains a recipe alone."""
    defaults = Recipe.of({"model": recipe.model}).flat()
    words = ["medley", "train", recipe.model, "DATASET", "--seed", str(recipe.seed)]
    for key, value in recipe.flat().items():
        if key not in ("model", "seed", "device") and value != defaults.get(key):
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--out", "RUN"])


def _machine() -> str:
    """Returns the names of processor and GPU."""
    about = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)", about.read_text(), re.M) if about.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{names[0] if names else platform.machine()}, {gpu}"


def _cpu(history: History, num_epochs: int | None = None) -> float:
    """Sums the CPU seconds of the first epochs; of all epochs by default."""
    return sum(epoch.seconds_cpu for epoch in history.epochs[:num_epochs])
