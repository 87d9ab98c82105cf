"""medley recommend"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from medley.cli.options import Json, MovedDataset, RunFolder
from medley.errors import InputError
from medley.report.terminal import colour_of, shares_bar, show_findings, show_json, show_line, show_table

if TYPE_CHECKING:
    from medley.api import Dataset, Finding, Recommendation


def recommend(
    run: RunFolder,
    user: Annotated[list[str] | None, typer.Option(help="raw id of a user; may be repeated")] = None,
    users: Annotated[Path | None, typer.Option(help="file with one raw id per line")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="all users of the data set")] = False,
    k: Annotated[int, typer.Option("-k", help="how many items for each user", min=1)] = 10,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="also each modality's share of every score, and findings about the user and items"
        ),
    ] = False,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="only items with this value; may be repeated")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="raw id of an item to leave out; may be repeated")] = None,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="also items that the user has seen")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="write to a .csv, .parquet or .jsonl file")] = None,
    dataset: MovedDataset = None,
    json: Json = False,
) -> None:
    """Recommend items that users have not seen yet."""
    from medley import api

    opened = api.Run(run)
    data = opened.dataset(dataset)
    asked = _users(user or [], users, everybody, data)
    model, name = opened.model(data), opened.record.recipe.model
    filters = {"where": _where(where or []), "exclude": exclude or [], "include_seen": include_seen}
    found = api.recommend(model, data, user=asked, k=k, explain=explain, **filters)
    lists = dict(zip(asked, found, strict=True))
    if out is not None:
        api.write_recommendations(out, lists)
        show_line(f"{sum(map(len, lists.values())):,} items for {len(lists):,} users: {out}")
        return
    about = {one: api.about_user(model, data, user=one) for one in asked} if explain else {}
    if json:
        documents = [_document(model, data, name, one, items, about.get(one)) for one, items in lists.items()]
        show_json(documents[0] if len(documents) == 1 else documents)
        return
    for one, items in lists.items():
        _show(f"{name} for user {one}", items, explain)
        if about.get(one):
            show_findings(f"What {name} has learned about user {one}", about[one])
        about_first = api.about_item(model, data, item=items[0].item) if explain and items else []
        if about_first:
            show_findings(f"What {name} has learned about {items[0].title or items[0].item}", about_first)


def _users(given: list[str], file: Path | None, everybody: bool, data: "Dataset") -> list[str]:
    """Raw ids, each once, in the order in which they were asked for."""
    if sum((bool(given), file is not None, everybody)) != 1:
        raise InputError("users", expected="one of --user, --users FILE and --all", got="none or several of them")
    if everybody:
        return data.users.raw.to_list()
    if file is not None:
        try:
            given = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("the file of users", file=file, got=str(error), remedy="one raw id per line") from None
    return list(dict.fromkeys(given))


def _where(conditions: list[str]) -> dict[str, str]:
    pairs = [condition.partition("=") for condition in conditions]
    for condition, (column, equals, _) in zip(conditions, pairs, strict=True):
        if not column or not equals:
            raise InputError("--where", expected="COLUMN=VALUE", got=repr(condition))
    return {column.strip(): value.strip() for column, _, value in pairs}


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


def _document(
    model: Any, data: "Dataset", name: str, user: str, items: "list[Recommendation]", about: "list[Finding] | None"
) -> dict[str, Any]:
    from medley import api

    document: dict[str, Any] = {"model": name, "user": user, "items": [asdict(item) for item in items]}
    if about is not None:
        document["about_user"] = [_finding(finding) for finding in about]
        for item in document["items"]:
            findings = api.about_item(model, data, item=item["item"])
            item["about_item"] = [_finding(finding) for finding in findings]
    return document


def _finding(finding: "Finding") -> dict[str, Any]:
    return {"topic": finding.topic, "kind": finding.kind, "weights": [each._asdict() for each in finding.weights]}
