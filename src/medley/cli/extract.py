"""medley extract"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medley.cli.options import (
    Assignments,
    DatasetFolder,
    Json,
    parameters_as_flags,
    parse_assignments,
    parse_list,
)
from medley.report.terminal import show_json, show_line, show_table

if TYPE_CHECKING:
    from medley.media.extract import Extracted

MEDIA, ENCODERS, WORK = "Which media", "Which encoders", "How the work is done"
MOST_LISTED = 10  # files without an item; --json has them all


def extract(
    dataset: DatasetFolder,
    media: Annotated[
        Path | None,
        typer.Option(
            help="folder whose files are named after item ids, or table with item_id, image, video, audio, text",
            rich_help_panel=MEDIA,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="columns of the items that hold their text", rich_help_panel=MEDIA),
    ] = None,
    id_rule: Annotated[
        str,
        typer.Option(
            help="how names become item ids: auto, exact, strip-zeros, lower, first-dot, file or folder",
            rich_help_panel=MEDIA,
        ),
    ] = "auto",
    visual: Annotated[
        str | None,
        typer.Option(metavar="ENCODER", help="of images and key frames of videos", rich_help_panel=ENCODERS),
    ] = None,
    acoustic: Annotated[
        str | None,
        typer.Option(metavar="ENCODER", help="of sound files and the sound of videos", rich_help_panel=ENCODERS),
    ] = None,
    textual: Annotated[
        str | None,
        typer.Option(
            metavar="ENCODER",
            help="of texts; without any encoder, each kind of medium that is found has its default encoder",
            rich_help_panel=ENCODERS,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="of the modality, with one encoder", rich_help_panel=ENCODERS),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(help="none, l2, standard, pca-whitening or pca-whitening-D", rich_help_panel=ENCODERS),
    ] = "none",
    batch: Annotated[int, typer.Option(help="pieces encoded at a time", rich_help_panel=WORK)] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...", rich_help_panel=WORK)] = "cpu",
    jobs: Annotated[
        int | None, typer.Option(help="processes that decode [default: one per core, up to 8]", rich_help_panel=WORK)
    ] = None,
    limits: Assignments = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace a modality that extract has not made")
    ] = False,
    json: Json = False,
) -> None:
    """Turn images, videos, sounds and texts into modalities. Run again, it goes on, or does only what has changed.

    --set changes limits of one medium: max_bytes, max_pixels, max_seconds, max_frames, seconds, memory, ...
    """
    from medley import api

    done = api.extract(
        api.load(dataset),
        media,
        text=parse_list(text) or (),
        id_rule=id_rule,
        **{"visual": visual, "acoustic": acoustic, "textual": textual, "name": name, "scale": scale},
        **{"batch": batch, "device": device, "jobs": jobs, "limits": parse_assignments(limits), "overwrite": overwrite},
    )
    if json:
        show_json(done.as_dict())
    else:
        _show(done)


def _show(done: "Extracted") -> None:
    rows = [
        (
            name,
            f"{m.dim:,}",
            m.encoder,
            f"{m.num_items:,}",
            f"{m.num_without:,}",
            f"{m.num_no_sound:,}",
            f"{m.num_failed:,}",
            f"{m.num_encoded:,}",
        )
        for name, m in done.modalities.items()
    ]
    columns = ("modality", "dim", "encoder", "items", "without a file", "no sound", "failed", "encoded now")
    show_table(str(done.dataset.folder), columns, rows)
    failed = [
        (name, why, f"{one.count:,}", ", ".join(one.examples))
        for name, m in done.modalities.items()
        for why, one in m.failures.items()
    ]
    if failed:
        show_table("media that could not be used", ("modality", "reason", "media", "such as (item: file)"), failed)
    if done.problems:
        listed = [*done.problems[:MOST_LISTED], *_more(len(done.problems))]
        show_table(f"{len(done.problems):,} files that were not used", ("file", "why"), listed)
    if done.unmatched:
        listed = [(file,) for file in done.unmatched[:MOST_LISTED]] + [row[:1] for row in _more(len(done.unmatched))]
        show_table(f"{len(done.unmatched):,} files without an item", ("file",), listed)
    for note in done.notes:
        show_line(f"Note: {parameters_as_flags(note)}")
    if not done.changed:
        show_line("Nothing has changed: nothing was written.")


def _more(count: int) -> list[tuple[str, str]]:
    return [(f"and {count - MOST_LISTED:,} more: --json", "")] if count > MOST_LISTED else []
