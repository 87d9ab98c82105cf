"""The result of a search, as an object, as JSON and as a table."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medley.runs import Recipe
from medley.tuning.trials import Outcome, Trial

Ending = Literal["trials", "time", "nothing left to try", "interrupted"]


@dataclass(frozen=True)
class Finalist:
    """One of the best trials, trained again with more seeds."""

    number: int  # of the trial
    recipe: Recipe
    values: tuple[float, ...]  # best validation metric of each seed; all finalists have the same seeds

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def std(self) -> float | None:
        """The standard deviation over the seeds; None with one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Tuned:
    """The result of tuning."""

    recipe: Recipe  # of the best finalist
    metric: str
    trials: list[Trial]  # by number
    finalists: list[Finalist]  # best first, by the mean over the seeds
    importance: dict[str, float]  # parameter -> share (PED-ANOVA); empty with fewer than ten complete trials
    ending: Ending
    seconds: float  # of all calls on the same folder

    @property
    def best(self) -> float:
        """Validation metric of the recipe: the mean over the seeds."""
        return self.finalists[0].mean


def document_of(tuned: Tuned) -> dict[str, Any]:
    """Returns the result without the single trials, JSON-able."""
    finalists = [
        {"trial": one.number, "values": list(one.values), "mean": one.mean, "std": one.std} for one in tuned.finalists
    ]
    counts = Counter(trial.state for trial in tuned.trials)
    return {
        "recipe": tuned.recipe.model_dump(mode="json"),
        "metric": tuned.metric,
        "best": tuned.best,
        "finalists": finalists,
        "importance": tuned.importance,
        "num_trials": len(tuned.trials),
        "states": dict(counts),
        "ending": tuned.ending,
        "seconds": tuned.seconds,
    }


def table_of(trials: Sequence[Trial], names: Sequence[str]) -> str:
    """Returns one line per trial, as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    figures = ("number", "state", "value", "best_epoch", "num_epochs", "seconds", "is_default", "message")
    writer.writerow([*figures, *names])
    for trial in trials:
        cells = [getattr(trial, name) for name in figures] + [trial.params[name] for name in names]
        writer.writerow(["" if each is None else each for each in cells])
    return file.getvalue()


def shown(params: Mapping[str, Any]) -> str:
    """Writes parameters on one line, short."""
    cells = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in params.items()}
    return " ".join(f"{name}={cell}" for name, cell in cells.items())


def described(outcome: Outcome, metric: str) -> str:
    """Writes an outcome on one line."""
    if outcome.state in ("diverged", "failed"):
        return f"{outcome.state}: {outcome.message}"
    value = "no epoch" if outcome.value is None else f"{metric} {outcome.value:.4f}"
    state = "" if outcome.state == "complete" else f"{outcome.state} ({outcome.message or 'below the median'}), "
    return f"{state}{value}, epoch {outcome.best_epoch} of {outcome.num_epochs}, {outcome.seconds:.1f} s"
