"""What a person sees while a model is trained: bars on the terminal, on standard error."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medley.training.fit import Epoch


class ProgressBar:
    """A bar of epochs with loss, metric, best and time left. Where there is no terminal, a line now and then."""

    def __init__(self, title: str, metric: str, *, console: Console | None = None):
        self.title, self.metric = title, metric
        self.console = console or Console(stderr=True)

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Shows the bar."""
        self.bar = Progress(
            TextColumn("[bold]{task.fields[title]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("", total=num_epochs, title=self.title, state="...")
        self.num_batches = max(1, num_batches)
        self.last: Epoch | None = None
        self.bar.start()

    def batch(self) -> None:
        """A step forward within the epoch."""
        self.bar.advance(self.task, 1 / self.num_batches)

    def epoch(self, epoch: Epoch) -> None:
        """The figures of the epoch that has ended."""
        self.last = epoch
        self.bar.update(self.task, completed=epoch.epoch, state=self._state(epoch))
        if not self.console.is_terminal and epoch.epoch % 10 == 0:
            self.console.print(f"{self.title} epoch {epoch.epoch}: {self._state(epoch)}")

    def stop(self) -> None:
        """Replaces the bar by one line."""
        self.bar.stop()
        if self.last:
            self.console.print(f"{self.title}: {self.last.epoch} epochs, {self._state(self.last)}")

    def _state(self, epoch: Epoch) -> str:
        state = f"loss {epoch.loss:.4f}"
        if epoch.metric is not None:
            state += f", {self.metric} {epoch.metric:.4f} (best {epoch.best:.4f} in epoch {epoch.best_epoch})"
        return state
