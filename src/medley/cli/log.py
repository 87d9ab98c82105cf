"""medley log"""

from pathlib import Path
from typing import Annotated

import typer

from medley.cli.options import Json
from medley.errors import InputError
from medley.files import refuse_existing
from medley.report.terminal import show_json

app = typer.Typer(help="The feedback that a server has taken in.", no_args_is_help=True)


@app.callback()
def _log() -> None:
    """Keeps `export` a word of the command line while it is the only command."""


@app.command("export")
def export(
    source: Annotated[Path, typer.Argument(help="bundle that is or was served, or the file given as --store")],
    out: Annotated[Path, typer.Option("--out", "-o", help="table to write: .parquet or .csv")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file if it exists")] = False,
    json: Json = False,
) -> None:
    """Write feedback as a table (user, item, type, timestamp) for `medley import`; a server may go on running."""
    from medley.serving.changes import NEGATIVE
    from medley.serving.http.settings import store_beside
    from medley.serving.store import Store

    beside = store_beside(source)
    path = beside if beside.exists() else source
    if path.is_dir() or not path.exists():
        raise InputError("no feedback", file=beside, expected="the store of a server", remedy="serve the bundle first")
    refuse_existing(out, overwrite=overwrite)
    with Store(path, create=False) as store:
        num_events = store.export_log(out)
        dislikes = sorted(NEGATIVE & store.event_types())
    kind = out.suffix.lower().removeprefix(".")
    command = f"medley import {kind} {out} --event-column type"
    command += f" --negative {','.join(dislikes)}" if dislikes else ""
    if json:
        show_json({"file": str(out), "num_events": num_events, "negative": dislikes, "import": command})
    else:
        typer.echo(f"{num_events:,} events in {out}. Import them with: {command} --out DIR")
