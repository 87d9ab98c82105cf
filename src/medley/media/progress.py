"""Progress of an extraction, as a bar on standard error, or not shown."""

import time

from rich.console import Console
from rich.text import Text

from medley.bars import LINE_SECONDS, bar_of


class ExtractProgress:
    """Shows nothing. Subclasses show the progress of an extraction, one modality after another."""

    def start(self, modality: str, encoder: str, total: int) -> None:
        """Called before the first medium of a modality; `total` media are to be encoded."""

    def medium(self, *, failed: bool) -> None:
        """Called after every medium."""

    def stop(self) -> None:
        """Called once per started modality, whatever ended it."""


class ExtractBar(ExtractProgress):
    """A bar of media with rate, failures and time left. Without a terminal, a line every half minute."""

    def __init__(self, *, console: Console | None = None):
        self.console = console or Console(stderr=True)

    def start(self, modality: str, encoder: str, total: int) -> None:
        """Shows the bar."""
        self.title, self.total, self.done, self.failed = f"{modality} ({encoder})", total, 0, 0
        self.began = self.shown = time.monotonic()
        self.bar = bar_of(self.console)
        self.task = self.bar.add_task("", total=total, title=self.title, state="...")
        self.bar.start()

    def medium(self, *, failed: bool) -> None:
        """Moves the bar."""
        self.done += 1
        self.failed += failed
        self.bar.update(self.task, advance=1, state=self._state())
        if not self.console.is_terminal and time.monotonic() - self.shown > LINE_SECONDS:
            self.shown = time.monotonic()
            left = (self.total - self.done) * (self.shown - self.began) / self.done
            self._line(f"{self.title}: {self.done:,} of {self.total:,}, {self._state()}, {left:.0f} s left")

    def stop(self) -> None:
        """Replaces the bar by one line."""
        self.bar.stop()
        self._line(f"{self.title}: {self.done:,} of {self.total:,} media, {self._state()}")

    def _line(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def _state(self) -> str:
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        return f"{rate:.1f}/s" + (f", {self.failed:,} failed" if self.failed else "")
