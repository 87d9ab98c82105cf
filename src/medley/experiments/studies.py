"""A study: every model gets the same protocol. Settings are chosen on validation with one seed, then the chosen ones
are trained again with several seeds and scored on test once per seed. All runs are kept, so a study that was stopped
goes on where it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from medley import models
from medley.data.dataset import Dataset
from medley.evaluation.protocol import Evaluation, evaluate
from medley.evaluation.statistics import Spread, spread
from medley.files import sha256_of_json
from medley.training.fit import History, Progress, fit
from medley.training.settings import TrainSettings, check_settings

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A model and the values to be tried: every combination of the lists in `grid`, over the fixed `options`."""

    model: str
    label: str
    options: Options
    grid: Mapping[str, Sequence[Any]]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Each point of the grid with the fixed options."""
        for values in product(*self.grid.values()):
            yield {**self.options, **dict(zip(self.grid, values, strict=True))}


@dataclass(frozen=True)
class Trained:
    """One finished training."""

    options: Options
    history: History
    num_parameters: int


@dataclass(frozen=True)
class Result:
    """A candidate at its best: chosen settings, and how they did over the seeds."""

    candidate: Candidate
    chosen: Options
    num_tried: int
    valid: Spread
    metrics: dict[str, Spread]  # on test
    seconds: Spread  # of training to the early stop, validation included
    seconds_per_epoch: float
    best_epochs: tuple[int, ...]
    num_parameters: int
    fingerprint: str


class Study:
    """Trains and scores candidates on one data set."""

    def __init__(
        self,
        data: Dataset,
        folder: Path,
        *,
        seeds: Sequence[int] = (0, 1, 2),
        at: Sequence[int] = (10, 20),
        progress: Callable[[str], Progress] | None = None,
    ):
        """Args:
        data: the data set.
        folder: where the runs are kept.
        seeds: the first one also chooses the settings.
        at: cut-offs of the test metrics.
        progress: label -> who watches that training.
        """
        self.data, self.folder, self.seeds, self.at, self.progress = data, folder, tuple(seeds), tuple(at), progress

    def run(self, candidate: Candidate) -> Result:
        """Chooses on validation, repeats over the seeds, scores test once per seed."""
        tried = [self._train(candidate, options, self.seeds[0])[1] for options in candidate.combinations()]
        chosen = max(tried, key=lambda trained: trained.history.best or 0.0).options
        evaluations: list[Evaluation] = []
        trained: list[Trained] = []
        for seed in self.seeds:
            model, one = self._train(candidate, chosen, seed)
            trained.append(one)
            evaluations.append(evaluate(model.scorer(), self.data, split="test", at=self.at, groups=True))
        names = evaluations[0].metrics
        num_epochs = sum(len(one.history.epochs) for one in trained)
        return Result(
            candidate=candidate,
            chosen=chosen,
            num_tried=len(tried),
            valid=spread([one.history.best or 0.0 for one in trained]),
            metrics={name: spread([evaluation.metrics[name] for evaluation in evaluations]) for name in names},
            seconds=spread([one.history.seconds for one in trained]),
            seconds_per_epoch=sum(one.history.seconds for one in trained) / max(1, num_epochs),
            best_epochs=tuple(one.history.best_epoch for one in trained),
            num_parameters=trained[0].num_parameters,
            fingerprint=evaluations[0].fingerprint,
        )

    def _train(self, candidate: Candidate, options: Options, seed: int) -> tuple[models.Recommender, Trained]:
        settings = check_settings(
            {"seed": seed} | {k: v for k, v in options.items() if k in TrainSettings.model_fields}
        )
        of_model = {key: value for key, value in options.items() if key not in TrainSettings.model_fields}
        model = models.build(candidate.model, self.data.inputs(), seed=seed, **of_model)
        identity = {**model.spec.options, **settings.model_dump(), "data": self.data.manifest.content_hash}
        out = self.folder / candidate.model / sha256_of_json(identity)[:16]
        label = f"{candidate.label} {_short(options, candidate.grid)} seed {seed}"
        progress = None if self.progress is None else self.progress(label)
        history = fit(model, self.data, settings, out=out, resume=True, progress=progress)
        return model, Trained(options, history, sum(parameter.numel() for parameter in model.parameters()))


def _short(options: Options, grid: Mapping[str, Sequence[Any]]) -> str:
    return " ".join(f"{key}={options[key]}" for key in grid if len(grid[key]) > 1)
