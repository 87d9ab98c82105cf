"""medley recommend"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from medley.cli.options import Json, MovedDataset, RunFolder
from medley.report.terminal import colour_of, shares_bar, show_findings, show_json, show_table

if TYPE_CHECKING:
    from medley.api import Finding, Recommendation


def recommend(
    run: RunFolder,
    user: Annotated[str, typer.Option(help="raw id of the user")],
    k: Annotated[int, typer.Option("-k", help="number of items", min=1)] = 10,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="also each modality's share of every score, and findings about the user and items"
        ),
    ] = False,
    dataset: MovedDataset = None,
    json: Json = False,
) -> None:
    """Recommend items that a user has not seen yet."""
    from medley import api

    opened = api.Run(run)
    data = opened.dataset(dataset)
    model, name = opened.model(data), opened.record.recipe.model
    items = api.recommend(model, data, user=user, k=k, explain=explain)
    about = api.about_user(model, data, user=user) if explain else []
    if json:
        document: dict[str, Any] = {"model": name, "user": user, "items": [asdict(item) for item in items]}
        if explain:
            document["about_user"] = [_document(finding) for finding in about]
            for item in document["items"]:
                findings = api.about_item(model, data, item=item["item"])
                item["about_item"] = [_document(finding) for finding in findings]
        show_json(document)
        return
    _show(f"{name} for user {user}", items, explain)
    if about:
        show_findings(f"What {name} has learned about user {user}", about)
    if explain and items:
        about_first = api.about_item(model, data, item=items[0].item)
        if about_first:
            show_findings(f"What {name} has learned about {items[0].title or items[0].item}", about_first)


def _show(title: str, items: "list[Recommendation]", explain: bool) -> None:
    parts = list(items[0].shares) if items else []
    rows = [
        (
            place,
            Text(item.item),
            Text(item.title or ""),
            item.score,
            *(Text(f"{item.shares[part]:+.0%}", colour_of(at)) for at, part in enumerate(parts)),
            *([shares_bar(item.shares)] if parts else []),
        )
        for place, item in enumerate(items, start=1)
    ]
    columns = ("", "item", "title", "score", *parts, *(["of the score"] if parts else []))
    caption = None
    if explain:
        caption = "Parts of the score, as shares of their sizes" if parts else "The score of this model has no parts"
    show_table(title, columns, rows, caption=caption)


def _document(finding: "Finding") -> dict[str, Any]:
    return {"topic": finding.topic, "kind": finding.kind, "weights": [each._asdict() for each in finding.weights]}
