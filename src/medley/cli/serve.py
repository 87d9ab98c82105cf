"""medley serve"""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medley.errors import InputError

if TYPE_CHECKING:
    from medley.media.uploads import Uploads
    from medley.serving.bundle import Bundle


def serve(
    bundle: Annotated[Path | None, typer.Argument(help="bundle, made by export: a folder or a file")] = None,
    host: Annotated[str, typer.Option(help="address to listen at; without keys this machine only")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free port", min=0, max=65_535)] = 8000,
    store: Annotated[
        Path | None,
        typer.Option(help="file of items, users and feedback since the export [default: beside the bundle]"),
    ] = None,
    index: Annotated[
        Literal["auto", "exact", "hnsw", "ivf", "qdrant"], typer.Option(help="auto: by the size of the catalogue")
    ] = "auto",
    media: Annotated[
        bool | None, typer.Option(help="encode the media of new items [default: where features came from extract]")
    ] = None,
    verify: Annotated[bool, typer.Option(help="compare the hashes of the bundle's files")] = True,
    keys: Annotated[Path | None, typer.Option(help="file of API keys; callers send one as X-API-Key")] = None,
    new_key: Annotated[
        Literal["read", "write", "admin"] | None,
        typer.Option(help="add a key with this role to --keys, print the key, and exit"),
    ] = None,
    watch: Annotated[float, typer.Option(help="seconds between looks for a new bundle; 0: never", min=0)] = 5.0,
    rate: Annotated[float | None, typer.Option(help="requests per second of one key or address")] = None,
    burst: Annotated[
        int | None, typer.Option(help="requests of one caller at once [default: 2 seconds' worth]")
    ] = None,
    max_body: Annotated[int, typer.Option(help="MiB of a question", min=1)] = 1,
    max_upload: Annotated[int, typer.Option(help="MiB of items with their media", min=1)] = 64,
    log: Annotated[Literal["text", "json"], typer.Option(help="form of the log, one line per request")] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="debug shows paths, which hold ids of users")
    ] = "info",
) -> None:
    """Serve a bundle over HTTP: recommendations, reasons, new items, feedback. GET /openapi.json lists the routes."""
    if new_key is not None:
        from medley.serving.http import auth

        if keys is None:
            raise InputError("--new-key", expected="--keys FILE beside it", remedy="say which file holds the keys")
        typer.echo(auth.new_key(keys, new_key))
        typer.echo(f"The key is shown once; {keys} holds its hash.", err=True)
        return
    if bundle is None:
        raise InputError("bundle is missing", remedy="make one with `medley export RUN -o shop.medley`")
    # One thread of BLAS for one question: questions share the cores already, and threads that wait for each other cost
    # five times the CPU time (10,000 items, two busy cores). Read when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from medley.serving.http import server
    from medley.serving.http.app import open_service
    from medley.serving.http.settings import Settings

    chosen = Settings.read(
        bundle=bundle,
        store=store,
        index=None if index == "auto" else index,
        verify=verify,
        host=host,
        port=port,
        keys=keys,
        watch=watch,
        rate=rate,
        burst=burst,
        max_body=max_body << 20,
        max_upload=max_upload << 20,
    )
    server.set_up_log(log, log_level)
    opener = partial(open_service, encoder=None if media is False else partial(_encoder, wanted=bool(media)))
    server.serve(chosen, open=opener, announce=lambda url: typer.echo(f"Serving {bundle} at {url}"))


def _encoder(bundle: "Bundle", *, wanted: bool) -> "Uploads | None":
    """Makes the encoders of a bundle; None if they are not wanted by name and no features came from media.

    Encoders that are wanted by name are loaded before the server answers, others in a thread: if they cannot be loaded,
    the first upload says why.
    """
    made_by = {m: each.made_by or {} for m, each in bundle.manifest.modalities.items()}
    if not wanted and not any(each.get("by") == "medley extract" for each in made_by.values()):
        return None
    from medley.media.uploads import Uploads

    return Uploads(made_by, bundle.fitted, wait=wanted)
