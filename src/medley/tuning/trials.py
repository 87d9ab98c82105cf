"""One trial: a training that reports its validation metric after every epoch, and may be stopped at an epoch's end."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from medley import api
from medley.data.dataset import Dataset
from medley.errors import TrainingError
from medley.runs import Recipe
from medley.runs.history import Epoch
from medley.training.progress import Progress
from medley.tuning.journal import pruner_of

State = Literal["complete", "pruned", "diverged", "failed", "stopped"]


@dataclass(frozen=True)
class Trial:
    """One point of the search space and what became of it."""

    number: int
    params: Mapping[str, Any]  # options and settings that the search has chosen
    state: State  # stopped: by the time or by Ctrl-C, goes on at the next call
    value: float | None = None  # best validation metric
    best_epoch: int = 0
    num_epochs: int = 0
    seconds: float = 0.0
    message: str = ""  # why the trial diverged, failed or stopped
    is_default: bool = False  # the settings that tuning started from


class Task(NamedTuple):
    """A training to do."""

    recipe: Recipe
    folder: Path  # of the run; a training that was cut off goes on there
    deadline: float  # time.time() after which the training stops at the end of an epoch
    journal: Path | None = None  # where the epochs of a trial are reported; None: nothing is reported or pruned
    number: int = -1  # of the trial in the journal


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    state: State
    value: float | None = None
    best_epoch: int = 0
    num_epochs: int = 0
    seconds: float = 0.0
    message: str = ""


class Stop(KeyboardInterrupt):
    """Ends a training as Ctrl-C does: the loop keeps the best parameters so far, and its folder can be resumed."""


class Watch(Progress):
    """Reports every epoch, and ends the training where pruning, the time or Ctrl-C asks for it.

    The training is ended before the second step of the next epoch: by then the loop has recorded the last one.
    """

    def __init__(
        self,
        deadline: float,
        *,
        prune: Callable[[Epoch], bool] = lambda epoch: False,
        tick: Callable[[], None] = lambda: None,
        stop: Event | None = None,
        shown: Progress | None = None,
    ):
        self.deadline, self.prune, self.tick, self.stopping = deadline, prune, tick, stop
        self.shown = shown or Progress()
        self.reason: Literal["", "pruned", "time", "interrupted"] = ""

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Shows the training."""
        self.shown.start(num_epochs, num_batches)

    def batch(self) -> None:
        """Ends the training if the last epoch gave a reason."""
        if self.reason:
            raise Stop
        self.shown.batch()

    def epoch(self, epoch: Epoch) -> None:
        """Reports the epoch and looks for a reason to stop."""
        self.shown.epoch(epoch)
        self.tick()
        if self.prune(epoch):
            self.reason = "pruned"
        elif self.stopping is not None and self.stopping.is_set():
            self.reason = "interrupted"
        elif time.time() >= self.deadline:
            self.reason = "time"

    def stop(self) -> None:
        """Hides the training."""
        self.shown.stop()


def run(task: Task, data: Dataset, *, tick: Callable[[], None], stop: Event | None, shown: Progress | None) -> Outcome:
    """Trains, or goes on with a training that was cut off.

    Raises:
        InputError: the settings fit neither model nor data.
    """
    begin = time.perf_counter()
    prune = pruner_of(task.journal, task.number) if task.journal is not None else lambda epoch: False
    watch = Watch(task.deadline, prune=prune, tick=tick, stop=stop, shown=shown)
    try:
        trained = api.train(task.recipe, data, out=task.folder, resume=True, progress=watch)
    except TrainingError as error:
        return Outcome("diverged", seconds=time.perf_counter() - begin, message=str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        message = f"out of memory: {error}"
        return Outcome("failed", seconds=time.perf_counter() - begin, message=message)
    history = trained.history
    value, best_epoch, num_epochs = history.best, history.best_epoch, len(history.epochs)
    seconds = max(history.seconds, time.perf_counter() - begin)
    if history.ending != "interrupted":
        return Outcome("complete" if value is not None else "failed", value, best_epoch, num_epochs, seconds)
    if watch.reason == "pruned":
        return Outcome("pruned", value, best_epoch, num_epochs, seconds)
    return Outcome("stopped", value, best_epoch, num_epochs, seconds, message=watch.reason or "interrupted")
