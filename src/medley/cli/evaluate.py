"""medley evaluate"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from medley.cli.options import Json, MovedDataset, RunFolder, flags_line, parse_numbers, parse_separator
from medley.report.terminal import show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from medley.api import Evaluation


def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="test or valid")] = "test",
    history: Annotated[
        str,
        typer.Option(help="of the users: train; or, at test, fresh: train and validation, without training on these"),
    ] = "train",
    at: Annotated[str, typer.Option(help="cut-offs K")] = "10,20",
    candidates: Annotated[
        str,
        typer.Option(
            help="all; cold: items without train interactions alone; or sampled-1000 (each pair against 1,000 items), "
            "sampled-1000-per-user"
        ),
    ] = "all",
    groups: Annotated[
        bool,
        typer.Option(help="also the recall of cold and warm items, of sparse and dense users, of users by modality"),
    ] = False,
    beyond: Annotated[
        bool, typer.Option(help="also coverage, novelty, diversity, calibration, ..., beside popular and random lists")
    ] = False,
    genres: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="with --beyond: column of the items with genres or the like")
    ] = None,
    genre_separator: Annotated[
        str | None, typer.Option(help="between several genres of an item; a word for a blank: space, tab")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the sampled candidates", min=0)] = 0,
    dataset: MovedDataset = None,
    json: Json = False,
) -> None:
    """Evaluate a run on held-out items; the result is also written into the run folder."""
    from medley import api

    ks = parse_numbers(at, option="--at")
    opened = api.Run(run)
    data = opened.dataset(dataset)
    evaluation = api.evaluate(
        opened,
        data,
        split=split,
        history=history,
        at=ks,
        candidates=candidates,
        groups=groups,
        seed=seed,
        beyond=beyond,
        genres=genres,
        genre_separator=parse_separator(genre_separator),
    )
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
    title = f"{model} on {data.manifest.name}, {split}{', fresh histories' if history == 'fresh' else ''}"
    show_table(title, ("", *(f"@{k}" for k in ks)), rows, caption=caption)
    if evaluation.flags:
        show_line(flags_line(evaluation.flags, data.folder))
    if beyond:
        _show_beyond(
            evaluation, ks, columns=[name for name in data.item_table.columns if name not in ("item_id", "title")]
        )


def _show_beyond(evaluation: "Evaluation", ks: Sequence[int], *, columns: Sequence[str]) -> None:
    """Prints the figures beyond accuracy beside those of popular and of random lists, and what is good."""
    from medley.evaluation.beyond import MEASURES, measure_of

    k, references = max(ks), evaluation.references
    names = list(dict.fromkeys(name.partition("@")[0] for name in evaluation.beyond))
    rows = []
    for name in names:
        figures = (evaluation.beyond.get(f"{name}@{each}") for each in ks)
        compared = (figures_of.get(f"{name}@{k}") for figures_of in references.values())
        rows.append((name.replace("_", " "), *figures, *compared, MEASURES[measure_of(name)].good))
    heads = ("", *(f"@{each}" for each in ks), *references, "good")
    caption = f"popular, random: the same figures @{k} of the most popular and of random unseen items"
    show_table("beyond accuracy", heads, rows, caption=caption)
    measures = dict.fromkeys(measure_of(name) for name in names)
    show_pairs("what the figures say", {name.replace("_", " "): MEASURES[name].meaning for name in measures})
    if "genre_miscalibration" not in measures and columns:
        show_line(f"--genres COLUMN measures the mix of genres or the like; columns: {', '.join(columns)}", style="dim")
