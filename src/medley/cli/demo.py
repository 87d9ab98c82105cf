"""medley demo, medley demo-media"""

from pathlib import Path
from typing import Annotated

import typer

from medley.cli.options import Seed


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write")] = Path("demo"),
    seed: Seed = 0,
    svg: Annotated[Path | None, typer.Option(help="also write the output as an SVG picture")] = None,
) -> None:
    """Simulate a catalogue, train six models, compare them, recommend, explain, write one page."""
    from medley.experiments.demo import run_demo
    from medley.report.terminal import recorded, show_line

    try:
        with recorded(svg) as console:
            run_demo(out, seed=seed, console=console)
    except KeyboardInterrupt:
        show_line("Stopped.")
        raise typer.Exit(130) from None


def demo_media(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write")] = Path("demo-media"),
    seed: Seed = 0,
) -> None:
    """Render a catalogue as media, extract three modalities, train, compare with random features, recommend."""
    from medley.experiments.demo_media import run_demo_media
    from medley.report.terminal import show_line

    try:
        run_demo_media(out, seed=seed)
    except KeyboardInterrupt:
        show_line("Stopped.")
        raise typer.Exit(130) from None
