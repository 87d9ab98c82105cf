"""Trains and evaluates the entries of a study. Settings are chosen on validation with one seed, then the chosen recipes
are trained with several seeds and evaluated on test once per seed. All runs are kept in a store, so nothing is trained
twice: not by another study, and not by the same study after it was stopped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.evaluation.evaluator import cold_pairs
from medley.evaluation.histories import reason_against_fresh
from medley.experiments.capacity import dim_of_size
from medley.experiments.entries import Entry, Options
from medley.experiments.results import Result
from medley.experiments.scheduler import Outcome, Peaks, Resources, run_all
from medley.experiments.splits import GIVEN
from medley.experiments.store import Diverged, Protocol, Store, Task, Trained
from medley.experiments.summary import summarise
from medley.experiments.watch import Watch
from medley.runs import Recipe

if TYPE_CHECKING:
    from medley.tuning import Tuned

__all__ = ["Entry", "Result", "Study"]

Key = tuple[str, str]  # split, label
FRESH = "fresh histories"
COLD = "cold candidates"
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
        self._num_tried: dict[Key, int] = {}  # settings

    def run(self, entries: Sequence[Entry], known: Mapping[str, Options] | None = None) -> Found:
        """Chooses settings on validation, trains with every seed, evaluates on test once per seed.

        Args:
            entries: the entries to train.
            known: label -> settings that an earlier study chose, for variants of entries outside this study.

        Raises:
            InputError: a variant of an unknown entry, a setting to choose without a validation split, or a recipe that
                learns from validation or test.
            KeyboardInterrupt: Ctrl-C; the same study goes on where it was stopped.
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
                options = chosen[split, entry.label]
                results += [
                    summarise(
                        entry,
                        options,
                        trained,
                        place,
                        num_tried=self._num_tried[split, entry.label],
                        split=split,
                        protocol=protocol,
                        folder=self.store.folder,
                    )
                    for place, protocol in enumerate(self._protocols(split))
                ]
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
                self._num_tried[split, entry.label] = len(combinations) if entry.grid or not entry.variant_of else 0
                if entry.trials:
                    self._needs_validation(split, entry)
                    try:
                        tuned = self._tuned(split, entry, base)
                    except InputError as error:  # the model does not fit the data
                        self._skip(split, entry, str(error))
                        continue
                    chosen[split, entry.label] = _settings(tuned.recipe)
                    self._num_tried[split, entry.label] = len(tuned.trials)
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

    def _tuned(self, split: str, entry: Entry, base: Options) -> "Tuned":
        """Searches the space of the model in so many trials; the options of the entry are fixed.

        Raises:
            InputError: the model does not fit the data, or no trial trains.
            KeyboardInterrupt: Ctrl-C has stopped the search, which goes on when the study runs again.
        """
        from medley.tuning import tune  # here, for it needs an extra

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
        if tuned.ending == "interrupted":
            raise KeyboardInterrupt
        return tuned

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
        """Returns the seeds of an entry; one is enough for a model that does not learn: it draws nothing at random."""
        return self.seeds if models.learns(entry.model) else self.seeds[:1]

    def _tasks(self, split: str, entry: Entry, options: Options) -> list[Task]:
        protocols = self._protocols(split)
        tasks = [self._task(split, entry, options, seed, protocols) for seed in self._seeds(entry)]
        return [task for task in tasks if task is not None]

    def _protocols(self, split: str) -> tuple[Protocol, ...]:
        """Returns the protocols that apply: fresh histories need a split by time, cold candidates a cold test item."""
        if split not in self._applies:
            data, protocols = self.data[split], self.protocols
            reason = reason_against_fresh(data)
            if reason is not None and any(one.history == "fresh" for one in protocols):
                protocols = tuple(one for one in protocols if one.history != "fresh")
                self._leave_out(split, FRESH, f"the split is not by time: {reason}")
            if any(one.candidates == "cold" for one in protocols) and not len(cold_pairs(data, "test")[0]):
                protocols = tuple(one for one in protocols if one.candidates != "cold")
                self._leave_out(split, COLD, "no item without train interactions is held out")
            self._applies[split] = protocols
        return self._applies[split]

    def _leave_out(self, split: str, what: str, reason: str) -> None:
        name = what if len(self.data) == 1 else f"{what} ({split} split)"
        self.skipped[name] = reason
        self.watch.note(f"{name} do not apply: {reason}")

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


def _settings(recipe: Recipe) -> Options:
    return {key: value for key, value in recipe.flat().items() if key not in ("model", "seed", "device")}


def _recipe(entry: Entry, options: Options, seed: int) -> Recipe:
    return Recipe.of({"model": entry.model, **options, "seed": seed})
