"""medley simulate, medley import, medley inspect: data sets."""

from pathlib import Path
from typing import Annotated

import typer

from medley.cli.options import Assignments, DatasetFolder, Json, Out, Overwrite, Seed, parse_assignments
from medley.report.terminal import show_json, show_table


def simulate(
    preset: Annotated[str, typer.Argument(help="demo, tiktok, kwai, movielens, ...")],
    out: Out,
    assignments: Assignments = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a catalogue with planted tastes, at any size."""
    from medley import api

    settings = api.preset(preset, **parse_assignments(assignments))
    _show(api.simulate(out, settings=settings, seed=seed, overwrite=overwrite).folder, json)


def import_(
    format: Annotated[str, typer.Argument(help="csv, parquet, recbole, mmrec, lists or mmssl")],
    source: Annotated[Path, typer.Argument(help="folder or file to read")],
    out: Out,
    name: Annotated[str | None, typer.Option(help="name of the data set; by default that of the source")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="given, random, random-user, leave-one-out, time, time-user or cold-item"),
    ] = None,
    ratios: Annotated[
        tuple[float, float, float] | None, typer.Option(help="train, validation, test; 0.8 0.1 0.1 by default")
    ] = None,
    kcore: Annotated[int, typer.Option(help="keep users and items with at least so many interactions", min=0)] = 0,
    rating_threshold: Annotated[float | None, typer.Option(help="keep interactions with this rating or better")] = None,
    user_column: Annotated[str | None, typer.Option(help="name of the user column")] = None,
    item_column: Annotated[str | None, typer.Option(help="name of the item column")] = None,
    timestamp_column: Annotated[str | None, typer.Option(help="name of the time column")] = None,
    rating_column: Annotated[str | None, typer.Option(help="name of the rating column")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Read a log and item features in a public format."""
    from medley import api

    data = api.import_dataset(
        format,
        source,
        out,
        name=name,
        split=split,
        ratios=ratios,
        kcore=kcore,
        seed=seed,
        rating_threshold=rating_threshold,
        user_column=user_column,
        item_column=item_column,
        timestamp_column=timestamp_column,
        rating_column=rating_column,
        overwrite=overwrite,
    )
    _show(data.folder, json)


def inspect(
    dataset: DatasetFolder,
    verify: Annotated[bool, typer.Option(help="also compare every file with its hash")] = False,
    json: Json = False,
) -> None:
    """Print the statistics of a data set, and all oddities."""
    _show(dataset, json, verify=verify)


def _show(folder: Path, json: bool, *, verify: bool = False) -> None:
    from medley.data.dataset import Dataset
    from medley.data.inspect import inspect_dataset

    inspection = inspect_dataset(Dataset(folder, verify=verify))
    if json:
        show_json({"dataset": str(folder), **inspection.as_dict()})
        return
    for title, (columns, *rows) in inspection.tables().items():
        show_table(title, columns, rows)
