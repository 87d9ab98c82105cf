"""medley simulate, medley import, medley inspect: data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medley.cli.options import (
    Assignments,
    DatasetFolder,
    Json,
    Out,
    Overwrite,
    Seed,
    import_command,
    parameters_as_flags,
    parse_assignments,
    parse_header,
    parse_list,
    parse_names,
    parse_separator,
)
from medley.errors import InputError
from medley.report.terminal import show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from medley.data.looks import Look

FILES, COLUMNS, TEXT = "Which file is what", "Which column is what", "How a text table is written"
KEPT, SPLIT = "What is kept", "How the log is divided"


def simulate(
    preset: Annotated[str, typer.Argument(help="demo, tiktok, kwai, movielens, ...")],
    out: Out,
    assignments: Assignments = None,
    seed: Seed = 0,
    media: Annotated[
        bool, typer.Option("--media", help="also render the items as clips, pictures, sounds and captions in OUT/media")
    ] = False,
    features: Annotated[
        bool, typer.Option("--features/--no-features", help="write features, or leave them to medley extract")
    ] = True,
    jobs: Annotated[int | None, typer.Option(help="processes that render [default: one per core]", min=1)] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a catalogue with planted tastes, at any size."""
    from medley import api

    settings = api.preset(preset, **parse_assignments(assignments))
    if jobs is not None and not media:
        raise InputError("jobs of simulate", expected="none without media", got=jobs, remedy="give --media too")
    how: dict[str, Any] = {"settings": settings, "seed": seed, "features": features, "overwrite": overwrite}
    if media:
        from medley.media.progress import ExtractBar
        from medley.media.render import simulate_media

        data = simulate_media(out, **how, jobs=jobs, progress=ExtractBar())
    else:
        data = api.simulate(out, **how)
    _show(data.folder, json)


def import_(
    format: Annotated[
        str,
        typer.Argument(
            help="csv, parquet, json, recbole, mmrec, lists, sequences, pairs or mmssl; auto looks at SOURCE and says "
            "which one it is"
        ),
    ],
    source: Annotated[Path, typer.Argument(help="folder or file to read")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder to write; auto without it only looks")] = None,
    name: Annotated[str | None, typer.Option(help="of the data set; by default that of the source")] = None,
    interactions: Annotated[
        str | None, typer.Option(help="file of the interactions in SOURCE", rich_help_panel=FILES)
    ] = None,
    items: Annotated[str | None, typer.Option(help="file of the items", rich_help_panel=FILES)] = None,
    users: Annotated[str | None, typer.Option(help="file of the users", rich_help_panel=FILES)] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="modality and its file; may be repeated", rich_help_panel=FILES),
    ] = None,
    user_column: Annotated[str | None, typer.Option(help="name of the user column", rich_help_panel=COLUMNS)] = None,
    item_column: Annotated[str | None, typer.Option(help="name of the item column", rich_help_panel=COLUMNS)] = None,
    timestamp_column: Annotated[
        str | None, typer.Option(help="name of the time column", rich_help_panel=COLUMNS)
    ] = None,
    rating_column: Annotated[
        str | None, typer.Option(help="name of the rating, or of another weight", rich_help_panel=COLUMNS)
    ] = None,
    event_column: Annotated[str | None, typer.Option(help="name of the event column", rich_help_panel=COLUMNS)] = None,
    title_column: Annotated[str | None, typer.Option(help="title in the items", rich_help_panel=COLUMNS)] = None,
    items_id_column: Annotated[str | None, typer.Option(help="id in the items", rich_help_panel=COLUMNS)] = None,
    users_id_column: Annotated[str | None, typer.Option(help="id in the users", rich_help_panel=COLUMNS)] = None,
    separator: Annotated[
        str | None, typer.Option(help="of columns, any text; tab for a tab", rich_help_panel=TEXT)
    ] = None,
    header: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="columns of a file that has no header; none calls them 1, 2, ...",
            rich_help_panel=TEXT,
        ),
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="[default: utf-8]", rich_help_panel=TEXT)] = None,
    quote: Annotated[str | None, typer.Option(help="quotation mark; '' for none", rich_help_panel=TEXT)] = None,
    decimal: Annotated[str | None, typer.Option(help="'.' or ','", rich_help_panel=TEXT)] = None,
    date_format: Annotated[str | None, typer.Option(help="such as %d.%m.%Y", rich_help_panel=TEXT)] = None,
    on_error: Annotated[
        str | None, typer.Option(help="skip rows that cannot be read, or refuse the file", rich_help_panel=TEXT)
    ] = None,
    rating_threshold: Annotated[
        float | None, typer.Option(help="keep interactions with this rating or better", rich_help_panel=KEPT)
    ] = None,
    positive: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="events that count", rich_help_panel=KEPT)
    ] = None,
    negative: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="events that are dislikes", rich_help_panel=KEPT)
    ] = None,
    unknown_items: Annotated[
        str | None, typer.Option(help="items that the tables lack: refuse, drop or keep", rich_help_panel=KEPT)
    ] = None,
    unknown_users: Annotated[
        str | None, typer.Option(help="users that the table lacks: refuse, drop or keep", rich_help_panel=KEPT)
    ] = None,
    kcore: Annotated[
        int, typer.Option(help="keep users and items with at least so many interactions", min=0, rich_help_panel=KEPT)
    ] = 0,
    split: Annotated[
        str | None,
        typer.Option(
            help="given, random, random-user, leave-one-out, time, time-user or cold-item", rich_help_panel=SPLIT
        ),
    ] = None,
    ratios: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="train, validation, test; 0.8 0.1 0.1 by default", rich_help_panel=SPLIT),
    ] = None,
    seed: Annotated[int, typer.Option(help="of the split", min=0, rich_help_panel=SPLIT)] = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Read a log and item features in a public format."""
    from medley import api
    from medley.data.looks import look

    given = {
        **{"name": name, "interactions": interactions, "items": items, "users": users},
        **{"features": parse_names(features, option="--features")},
        **{"user_column": user_column, "item_column": item_column, "timestamp_column": timestamp_column},
        **{"rating_column": rating_column, "event_column": event_column, "title_column": title_column},
        **{"items_id_column": items_id_column, "users_id_column": users_id_column},
        **{"separator": parse_separator(separator), "header": parse_header(header), "encoding": encoding},
        **{"quote": quote, "decimal": decimal, "date_format": date_format, "on_error": on_error},
        **{"rating_threshold": rating_threshold, "positive": parse_list(positive), "negative": parse_list(negative)},
        **{"unknown_items": unknown_items, "unknown_users": unknown_users, "kcore": kcore},
        **{"split": split, "ratios": ratios, "seed": seed},
    }
    options = {key: value for key, value in given.items() if value is not None and value != {}}
    if format == "auto":
        looked = look(source)
        format, options = looked.format, {**looked.options, **options}
        command = import_command(format, source, options, out)
        if out is None:
            _show_look(looked, command, json)
            return
        if not json:
            show_line(f"This is: {command}")
    if out is None:
        raise InputError("no folder to write", remedy="name it: out=...")
    data = api.import_dataset(format, source, out, overwrite=overwrite, **options)
    _show(data.folder, json)


def inspect(
    dataset: DatasetFolder,
    verify: Annotated[bool, typer.Option(help="also compare every file with its hash")] = False,
    json: Json = False,
) -> None:
    """Print the statistics of a data set, and all oddities."""
    _show(dataset, json, verify=verify)


def _show(folder: Path, json: bool, *, verify: bool = False) -> None:
    from medley.auditing import quick_flags
    from medley.data.dataset import Dataset
    from medley.data.inspect import inspect_dataset

    data = Dataset(folder, verify=verify)
    inspection, flags = inspect_dataset(data), quick_flags(data)
    if json:
        show_json({"dataset": str(folder), **inspection.as_dict(), "flags": flags})
        return
    for title, (columns, *rows) in inspection.tables(say=parameters_as_flags).items():
        show_table(title, columns, rows)
    show_line(f"{len(flags)} flags{': ' * bool(flags)}{', '.join(flags)}; medley audit {folder} says more")


def _show_look(looked: "Look", command: str, json: bool) -> None:
    if json:
        seen = {what: str(value) for what, value in looked.seen.items()}
        show_json({"source": str(looked.source), "format": looked.format, "seen": seen, "command": command})
        return
    show_pairs(str(looked.source), {what: parameters_as_flags(value) for what, value in looked.seen.items()})
    show_line(command)
