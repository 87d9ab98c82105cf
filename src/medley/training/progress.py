"""Progress of a training, as a bar on standard error, or not shown."""

from rich.console import Console
from rich.text import Text

from medley.bars import bar_of
from medley.runs.history import Epoch


class Progress:
    """Shows nothing. Subclasses show the progress of a training; the loop calls the methods below."""

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Called once, before the first epoch."""

    def batch(self) -> None:
        """Called after every step."""

    def epoch(self, epoch: Epoch) -> None:
        """Called after every epoch."""

    def stop(self) -> None:
        """Called once, whatever ended the training."""


class ProgressBar(Progress):
    """A bar of epochs with loss, metric, best and time left. Without a terminal, a line every ten epochs."""

    def __init__(self, title: str, metric: str, *, console: Console | None = None):
        self.title, self.metric = title, metric
        self.console = console or Console(stderr=True)
        self.last: Epoch | None = None

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Shows the bar."""
        self.bar = bar_of(self.console)
        self.task = self.bar.add_task("", total=num_epochs, title=self.title, state="...")
        self.num_batches = max(1, num_batches)
        self.bar.start()

    def batch(self) -> None:
        """Moves the bar within the epoch."""
        self.bar.advance(self.task, 1 / self.num_batches)

    def epoch(self, epoch: Epoch) -> None:
        """Shows the figures of the epoch that has ended."""
        self.last = epoch
        self.bar.update(self.task, completed=epoch.epoch, state=self._state(epoch))
        if not self.console.is_terminal and epoch.epoch % 10 == 0:
            self._line(f"{self.title} epoch {epoch.epoch}: {self._state(epoch)}")

    def stop(self) -> None:
        """Replaces the bar by one line."""
        self.bar.stop()
        if self.last:
            self._line(f"{self.title}: {self.last.epoch} epochs, {self._state(self.last)}")

    def _line(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def _state(self, epoch: Epoch) -> str:
        state = f"loss {epoch.loss:.4f}"
        if epoch.metric is not None:
            state += f", {self.metric} {epoch.metric:.4f} (best {epoch.best:.4f} in epoch {epoch.best_epoch})"
        return state
