"""medley demo"""

from pathlib import Path
from typing import Annotated

import typer

from medley.cli.options import Seed


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write")] = Path("demo"),
    seed: Seed = 0,
    svg: Annotated[Path | None, typer.Option(help="also write the output as an SVG picture")] = None,
) -> None:
    """Simulate a catalogue, train five models, compare them, recommend, explain, write one page."""
    from medley.experiments.demo import run_demo
    from medley.report.terminal import recorded, show_line

    try:
        with recorded(svg) as console:
            run_demo(out, seed=seed, console=console)
    except KeyboardInterrupt:
        show_line("Stopped.")
        raise typer.Exit(130) from None
