"""Finished and evaluated runs, for tables, charts and pages."""

from collections.abc import Sequence
from typing import NamedTuple

from medley.errors import InputError
from medley.evaluation.evaluator import Evaluation, same_protocol
from medley.models import describe
from medley.runs import Epoch, Run, RunRecord

SHOWN = ("recall", "precision", "ndcg")


class Result(NamedTuple):
    """A finished and evaluated run with its label."""

    label: str
    folder: str
    record: RunRecord
    epochs: list[Epoch]
    evaluation: Evaluation

    @property
    def shown(self) -> dict[str, float]:
        """ "recall@10" -> mean: the metrics of the tables, in their order."""
        metrics = self.evaluation.metrics
        ks = sorted({int(name.partition("@")[2]) for name in metrics})
        return {name: metrics[name] for name in (f"{m}@{k}" for m in SHOWN for k in ks) if name in metrics}


def load_results(runs: Sequence[Run], *, split: str = "test") -> list[Result]:
    """Reads finished and evaluated runs.

    Raises:
        InputError: no runs, a run was not evaluated, or two runs were evaluated under different protocols.
    """
    if not runs:
        raise InputError("a report", expected="at least one run", got="none")
    evaluations = {str(run.folder): run.evaluation(split) for run in runs}
    same_protocol(evaluations)
    titles = [describe(run.record.recipe.model)["title"] for run in runs]
    return [
        Result(
            label=title if titles.count(title) == 1 else f"{title} ({run.folder.name})",
            folder=str(run.folder),
            record=run.record,
            epochs=run.history.epochs,
            evaluation=evaluations[str(run.folder)],
        )
        for title, run in zip(titles, runs, strict=True)
    ]


def best_values(results: Sequence[Result]) -> dict[str, float]:
    """Returns the best value of every shown metric."""
    return {name: max(result.shown[name] for result in results) for name in results[0].shown}
