"""medley export"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medley.cli.options import Json, MovedDataset
from medley.errors import InputError
from medley.report.terminal import show_json, show_line, show_pairs, show_table

if TYPE_CHECKING:
    from medley.serving.bundle import Bundle


def export(
    run: Annotated[Path | None, typer.Argument(help="run folder, made by train")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="bundle to write: one file if it ends in .medley or .zip, else a folder"),
    ] = None,
    cold: Annotated[
        str, typer.Option(help="vectors of items without train interactions: of the model, or from features")
    ] = "model",
    exposure: Annotated[
        float, typer.Option(help="how often new items are shown, in relation to an average item of train")
    ] = 1.0,
    media: Annotated[
        Path | None, typer.Option(help="folder or table of media, as for extract: small pictures for the page")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the bundle if it exists")] = False,
    list_models: Annotated[
        bool, typer.Option("--list", help="list which models can be exported, how, and why others cannot")
    ] = False,
    dataset: MovedDataset = None,
    json: Json = False,
) -> None:
    """Export a run as a bundle: all that serving needs, without torch and without the data set."""
    if list_models:
        _show_models(json)
        return
    if run is None or out is None:
        raise InputError("arguments of medley export", expected="RUN -o BUNDLE, or --list", got="less than that")
    from medley import api

    opened = api.Run(run)
    data = opened.dataset(dataset)
    bundle = api.export(opened, data, out=out, cold=cold, exposure=exposure, media=media, overwrite=overwrite)  # type: ignore[arg-type]
    document = _document(bundle, out)
    if json:
        show_json(document)
        return
    show_pairs(f"{bundle.manifest.model} on {bundle.manifest.data.name}", document)


def _document(bundle: "Bundle", out: Path) -> dict[str, Any]:
    manifest = bundle.manifest
    measured = manifest.fold_in["measured"]
    return {
        "bundle": str(out),
        "model_version": manifest.model_version,
        "kind": manifest.kind,
        "num_users": manifest.num_users,
        "num_items": manifest.num_items,
        "parts": ", ".join(manifest.parts) or "none",
        "bytes": sum(record.bytes for record in manifest.files.values()),
        "new_users": manifest.fold_in["rule"],
        **{f"validation recall@20 of {rule}": recall for rule, recall in measured.items()},
        "new_items": manifest.new_items["reason"] or manifest.new_items["rule"],
    }


def _show_models(json: bool) -> None:
    from medley import api
    from medley.serving.export import listed

    rows = [listed(model["name"]) for model in api.models()]
    if json:
        show_json({"models": rows})
        return
    columns = ("model", "kind", "new users", "new items", "why not")
    cells = [tuple(row[key] or "" for key in ("name", "kind", "new_users", "new_items", "reason")) for row in rows]
    show_table("Models that can be exported", columns, cells)
    show_line("A model of yours can be exported if its scorer() returns Embeddings or ItemToItem.")
