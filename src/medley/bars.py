"""The bar that long acts show on standard error: title, share, state and time left."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 30.0  # least time between two lines of an act that has no terminal for its bar


def bar_of(console: Console) -> Progress:
    """Returns a bar that is shown on terminals alone; its tasks have the fields `title` and `state`."""
    return Progress(
        TextColumn("[bold]{task.fields[title]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
