"""medley pictures"""

from typing import Annotated

import typer

from medley.cli.options import Json, MovedDataset, Out, RunFolder, Seed
from medley.report.terminal import show_json, show_line


def pictures(
    run: RunFolder,
    out: Out,
    dataset: MovedDataset = None,
    format: Annotated[
        list[str] | None, typer.Option(help="svg, pdf or png; may be repeated [default: svg and pdf]")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Draw a trained model: maps of users and items before and after training, learned weights, intents."""
    from medley import api
    from medley.report.pictures import draw

    opened = api.Run(run)
    endings = [f".{each.removeprefix('.')}" for each in format or ("svg", "pdf")]
    paths = draw(opened, opened.dataset(dataset), out=out, formats=endings, seed=seed)
    if json:
        show_json({"run": str(run), "files": [str(path) for path in paths]})
        return
    for path in paths:
        show_line(str(path))
