"""medley evaluate"""

from typing import Annotated

import typer

from medley.cli.options import Json, MovedDataset, RunFolder, parse_numbers
from medley.report.terminal import show_json, show_table


def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="test or valid")] = "test",
    at: Annotated[str, typer.Option(help="cut-offs K")] = "10,20",
    candidates: Annotated[
        str, typer.Option(help="all, or sampled-1000 (each pair against 1,000 items), sampled-1000-per-user")
    ] = "all",
    groups: Annotated[bool, typer.Option(help="also the recall of cold items and of warm items")] = False,
    seed: Annotated[int, typer.Option(help="seed of the sampled candidates", min=0)] = 0,
    dataset: MovedDataset = None,
    json: Json = False,
) -> None:
    """Evaluate a run on held-out items; the result is also written into the run folder."""
    from medley import api

    ks = parse_numbers(at, option="--at")
    opened = api.Run(run)
    data = opened.dataset(dataset)
    evaluation = api.evaluate(opened, data, split=split, at=ks, candidates=candidates, groups=groups, seed=seed)
    model = opened.record.recipe.model
    if json:
        show_json({"model": model, "run": str(run), **evaluation.document()})
        return
    names = dict.fromkeys(name.partition("@")[0] for name in evaluation.metrics)
    rows = [(name, *(evaluation.metrics[f"{name}@{k}"] for k in ks)) for name in names]
    lists = evaluation.lists
    rows.append(("coverage", *(lists[f"coverage@{k}"] for k in ks)))
    lists_of_users = f"{evaluation.num_users:,} users, {lists['distinct_lists']:,} different lists"
    caption = f"{lists_of_users}; candidates: {candidates}; protocol {evaluation.fingerprint[:12]}"
    show_table(f"{model} on {data.manifest.name}, {split}", ("", *(f"@{k}" for k in ks)), rows, caption=caption)
