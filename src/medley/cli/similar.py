"""medley similar"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from medley.cli.options import Json, MovedDataset
from medley.cli.recommend import RunOrBundle, StoreFile, open_run_or_bundle
from medley.report.terminal import show_json, show_table


def similar(
    run: RunOrBundle,
    item: Annotated[str, typer.Option(help="raw id of an item")],
    by: Annotated[str, typer.Option(help="behaviour (what users do), a modality, or all of these")] = "all",
    k: Annotated[int, typer.Option("-k", help="how many items", min=1)] = 10,
    dataset: MovedDataset = None,
    store: StoreFile = None,
    json: Json = False,
) -> None:
    """List the items that are most similar to an item, by a run or a bundle."""
    asked = open_run_or_bundle(run, dataset, store)
    from medley.serving.recommend import similar as similar_to

    found = similar_to(asked.service, item, by=by, k=k)
    if json:
        items = [
            {key: value for key, value in asdict(each).items() if key not in ("parts", "shares")} for each in found
        ]
        show_json({"model": asked.name, "item": item, "by": by, "items": items})
        return
    rows = [(place, Text(each.item), Text(each.title or ""), each.score) for place, each in enumerate(found, start=1)]
    show_table(f"Items similar to {item} by {by}, {asked.name}", ("", "item", "title", "similarity"), rows)
