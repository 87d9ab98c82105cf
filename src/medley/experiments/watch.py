"""Shows a study while it runs: a live table on a terminal, one line per finished run elsewhere."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from medley.errors import InputError
from medley.experiments.store import Diverged, Task, Trained
from medley.runs import Epoch, Recipe

if TYPE_CHECKING:
    from medley.experiments.scheduler import Outcome

NUM_BEST = 10  # entries in the live table


class Watch:
    """Counts what a study does, and shows nothing. Subclasses show it."""

    def __init__(self) -> None:
        self.stage = ""
        self.num_planned = self.num_found = self.num_trained = self.num_evaluated = 0
        self.running: dict[Task, Epoch | None] = {}
        self.best: dict[str, tuple[str, float]] = {}  # label -> metric, best value on validation
        self.seconds: dict[str, list[float]] = {}  # model -> seconds of its runs
        self.jobs = 1

    @property
    def num_done(self) -> int:
        """Number of results so far: found in the store, trained now, or a finished run that only was evaluated."""
        return self.num_found + self.num_trained + self.num_evaluated

    @property
    def num_left(self) -> int:
        """Number of results that are neither there nor being made."""
        return max(0, self.num_planned - self.num_done - len(self.running))

    def begin(self, stage: str, num_tasks: int, *, jobs: int) -> None:
        """Called before the tasks of a stage run."""
        self.stage, self.jobs = stage, max(1, jobs)
        self.num_planned = self.num_done + num_tasks

    def found(self, task: Task, outcome: "Outcome") -> None:
        """Called for a result that is in the store already."""
        self.num_found += 1
        self._learn(task, outcome)

    def started(self, task: Task) -> None:
        """Called when a process begins with a task."""
        self.running[task] = None

    def epoch(self, task: Task, epoch: Epoch) -> None:
        """Called after epochs of a task, not necessarily after each."""
        self.running[task] = epoch

    def finished(self, task: Task, outcome: "Outcome", *, is_new: bool) -> None:
        """Called when the result of a task is in the store, or when the task is refused; `is_new`: it was trained."""
        self.running.pop(task, None)
        self.num_trained += is_new
        self.num_evaluated += not is_new
        self._learn(task, outcome)

    def stopped(self, task: Task) -> None:
        """Called when the process of a task was killed; the task will begin again."""
        self.running.pop(task, None)

    def note(self, line: str) -> None:
        """Called with a sentence about the study."""

    def tick(self) -> None:
        """Called about once a second."""

    def close(self) -> None:
        """Called once, whatever ended the study."""

    def seconds_left(self) -> float | None:
        """Estimates the seconds that this stage still takes, by the mean time of its finished runs; None: none yet."""
        seconds = [each for times in self.seconds.values() for each in times]
        if not seconds:
            return None
        mean = sum(seconds) / len(seconds)
        running = 0.0
        for task in self.running:
            times = self.seconds.get(task.recipe.model)
            running += (sum(times) / len(times) if times else mean) / 2  # on average half is done
        return (self.num_left * mean + running) / self.jobs

    def _learn(self, task: Task, outcome: "Outcome") -> None:
        if not isinstance(outcome, Trained):
            return
        history = outcome.history
        self.seconds.setdefault(task.recipe.model, []).append(history.seconds)
        if history.best is not None and history.best > self.best.get(task.label, ("", -1.0))[1]:
            self.best[task.label] = history.metric, history.best


class Lines(Watch):
    """One line per result, for logs and pipes."""

    def __init__(self, console: Console | None = None):
        super().__init__()
        self.console = console or Console(stderr=True, markup=False, highlight=False, emoji=False)

    def begin(self, stage: str, num_tasks: int, *, jobs: int) -> None:
        """Names the stage."""
        super().begin(stage, num_tasks, jobs=jobs)
        self.note(f"{stage}: {num_tasks:,} runs")

    def found(self, task: Task, outcome: "Outcome") -> None:
        """Says that nothing was trained."""
        super().found(task, outcome)
        self.note(f"{self._place()} {describe(task, outcome)} (already there)")

    def finished(self, task: Task, outcome: "Outcome", *, is_new: bool) -> None:
        """Says how good and how expensive the run was."""
        super().finished(task, outcome, is_new=is_new)
        evaluated = "" if is_new or not isinstance(outcome, Trained) else " (evaluated)"
        self.note(f"{self._place()} {describe(task, outcome)}{evaluated}{self._end()}")

    def stopped(self, task: Task) -> None:
        """Says that the task begins again."""
        super().stopped(task)
        self.note(f"{task.label}: its process was killed, probably out of memory; it will begin again, alone")

    def note(self, line: str) -> None:
        """Prints a line."""
        self.console.print(Text(line), soft_wrap=True)

    def _place(self) -> str:
        return f"[{self.num_done}/{self.num_planned}]"

    def _end(self) -> str:
        left = self.seconds_left()
        return f"; {self.num_left} left, until about {_clock(left)}" if left is not None and self.num_left else ""


class LiveTable(Watch):
    """A table that is redrawn while the study runs: done, running, left, expected end, best so far."""

    def __init__(self, title: str, console: Console | None = None):
        super().__init__()
        self.title = title
        self.console = console or Console(stderr=True, markup=False, highlight=False, emoji=False)
        self.live = Live(console=self.console, refresh_per_second=4, transient=True, get_renderable=self.table)
        self.live.start()

    def note(self, line: str) -> None:
        """Prints a line above the table."""
        self.console.print(Text(line), soft_wrap=True)

    def stopped(self, task: Task) -> None:
        """Says that the task begins again."""
        super().stopped(task)
        self.note(f"{task.label}: its process was killed, probably out of memory; it will begin again, alone")

    def close(self) -> None:
        """Removes the table."""
        self.live.stop()

    def table(self) -> Group:
        """Returns the counts and the table as of now."""
        left = self.seconds_left()
        end = f", until about {_clock(left)}" if left is not None else ""
        counts = (
            f"{self.num_done} done ({self.num_found} were there), {len(self.running)} running, {self.num_left} left"
        )
        table = Table(box=None, pad_edge=False)
        for column in ("", "state", "best on validation"):
            table.add_column(column, justify="left", no_wrap=True)
        for task, epoch in list(self.running.items()):
            state = "starts" if epoch is None else f"epoch {epoch.epoch}, loss {epoch.loss:.4f}"
            best = "" if epoch is None or epoch.best is None else f"{epoch.best:.4f} in epoch {epoch.best_epoch}"
            table.add_row(Text(task.label), state, best)
        table.add_section()
        order = sorted(self.best.items(), key=lambda pair: -pair[1][1])
        for label, (metric, value) in order[:NUM_BEST]:
            table.add_row(Text(label, style="dim"), Text("best so far", style="dim"), f"{metric} {value:.4f}")
        return Group(Text(f"{self.title}: {self.stage}", style="bold"), Text(f"{counts}{end}"), table)


def describe(task: Task, outcome: "Outcome") -> str:
    """Returns one line about a result: its settings, its best validation metric, its cost."""
    title = f"{task.label} ({short(task.recipe)})"
    if isinstance(outcome, InputError):
        return f"{title}: does not apply: {outcome}"
    if isinstance(outcome, Diverged):
        return f"{title}: diverged"
    history = outcome.history
    best = "without validation" if history.best is None else f"{history.metric} {history.best:.4f}"
    return f"{title}: {best} in epoch {history.best_epoch}, {history.seconds:.0f} s, {outcome.peak_gb:.2f} GB"


def short(recipe: Recipe) -> str:
    """Returns the options and settings of a recipe that differ from the defaults."""
    defaults: Mapping[str, object] = Recipe.of({"model": recipe.model}).flat()
    changed = [f"{key}={value}" for key, value in recipe.flat().items() if value != defaults.get(key)]
    return " ".join(changed) or "defaults"


def _clock(seconds: float) -> str:
    now = datetime.now().astimezone()
    end = now + timedelta(seconds=seconds)
    return f"{end:%H:%M}" if end.date() == now.date() else f"{end:%d %b %H:%M}"
