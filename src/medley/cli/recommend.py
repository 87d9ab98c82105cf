"""medley recommend"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.text import Text

from medley.cli.options import Json, MovedDataset
from medley.errors import InputError
from medley.report.terminal import colour_of, shares_bar, show_findings, show_json, show_line, show_table

if TYPE_CHECKING:
    from medley.api import Dataset, Finding, Recommendation, Recommender
    from medley.serving.service import Service

RunOrBundle = Annotated[Path, typer.Argument(help="run folder, made by train, or bundle, made by export")]
StoreFile = Annotated[
    Path | None,
    typer.Option(
        "--store", help="of a bundle: what happened since the export [default: beside the bundle, if a server ran]"
    ),
]


class Asked(NamedTuple):
    """Who answers: a service, and the model with its data if these are here."""

    service: "Service"
    name: str
    model: "Recommender | None" = None
    data: "Dataset | None" = None


def open_run_or_bundle(path: Path, dataset: Path | None, store: Path | None) -> Asked:
    """Opens a bundle, which needs no torch, or a run, which is exported in memory."""
    from medley.serving.recommend import is_bundle, open_bundle

    if is_bundle(path):
        if dataset is not None:
            raise InputError("--dataset", expected="a run; a bundle needs no data set", got="a bundle")
        from medley.serving.http.settings import store_beside

        beside = store_beside(path)
        service = open_bundle(path, store=beside if store is None and beside.exists() else store)
        return Asked(service, service.bundle.manifest.model)
    if not (path / "run.json").exists():
        got = "a folder without run.json and manifest.json" if path.is_dir() else "no such file or folder"
        raise InputError(
            "not a run and not a bundle", file=path, got=got, remedy="medley train and medley export make them"
        )
    if store is not None:
        raise InputError("--store", expected="a bundle, which can be served", got="a run", remedy="medley export RUN")
    from medley import api
    from medley.api.arguments import model_and_data

    run = api.Run(path)
    model, data = model_and_data(run, run.dataset(dataset))
    return Asked(api.open_service(model, data), run.record.recipe.model, model, data)


def recommend(
    run: RunOrBundle,
    user: Annotated[list[str] | None, typer.Option(help="raw id of a user; may be repeated")] = None,
    users: Annotated[Path | None, typer.Option(help="file with one raw id per line")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="all users")] = False,
    k: Annotated[int, typer.Option("-k", help="how many items for each user", min=1)] = 10,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="also each modality's share of every score, and, of a run, findings about the user and items",
        ),
    ] = False,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="only items with this value; may be repeated")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="raw id of an item to leave out; may be repeated")] = None,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="also items that the user has seen")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="write to a .csv, .parquet or .jsonl file, in blocks of users")
    ] = None,
    dataset: MovedDataset = None,
    store: StoreFile = None,
    json: Json = False,
) -> None:
    """Recommend items that users have not seen yet, by a run or a bundle."""
    from medley.serving.batch import BatchBar, check_suffix, write_lists
    from medley.serving.lists import Lists
    from medley.serving.recommend import answers

    given = _users(user or [], users, everybody)
    conditions = _where(where or [])
    if out is not None:
        check_suffix(out)
    asked = open_run_or_bundle(run, dataset, store)
    question: dict[str, Any] = {"k": k, "explain": explain, "where": conditions, "exclude": exclude or []}
    question |= {"seen": ()} if include_seen else {}
    lists = Lists(asked.service, given, **question)
    if out is not None:
        num_rows = write_lists(out, lists, BatchBar())
        show_line(f"{num_rows:,} items for {len(lists):,} users: {out}")
        return
    found = dict(zip(lists.users, answers(lists), strict=True))
    about = _about_users(asked, lists.users) if explain else {}
    if json:
        documents = [_document(asked, one, items, about.get(one), explain) for one, items in found.items()]
        show_json(documents[0] if len(documents) == 1 else documents)
        return
    for one, items in found.items():
        _show(f"{asked.name} for user {one}", items, explain)
        if about.get(one):
            show_findings(f"What {asked.name} has learned about user {one}", about[one])
        about_first = _about_item(asked, items[0].item) if explain and items else []
        if about_first:
            show_findings(f"What {asked.name} has learned about {items[0].title or items[0].item}", about_first)


def _users(given: list[str], file: Path | None, everybody: bool) -> list[str] | None:
    """Raw ids, each once, in the order in which they were asked for; None for everybody."""
    if sum((bool(given), file is not None, everybody)) != 1:
        raise InputError("users", expected="one of --user, --users FILE and --all", got="none or several of them")
    if everybody:
        return None
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


def _about_users(asked: Asked, users: list[str]) -> "dict[str, list[Finding]]":
    """Findings need the model itself, which a bundle does not hold."""
    if asked.model is None:
        return {}
    from medley import api

    return {user: api.about_user(asked.model, asked.data, user=user) for user in users}


def _about_item(asked: Asked, item: str) -> "list[Finding]":
    if asked.model is None:
        return []
    from medley import api

    return api.about_item(asked.model, asked.data, item=item)


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
    asked: Asked, user: str, items: "list[Recommendation]", about: "list[Finding] | None", explain: bool
) -> dict[str, Any]:
    document: dict[str, Any] = {"model": asked.name, "user": user, "items": [asdict(item) for item in items]}
    if explain and asked.model is not None:
        document["about_user"] = [_finding(finding) for finding in about or []]
        for item in document["items"]:
            item["about_item"] = [_finding(finding) for finding in _about_item(asked, item["item"])]
    return document


def _finding(finding: "Finding") -> dict[str, Any]:
    return {"topic": finding.topic, "kind": finding.kind, "weights": [each._asdict() for each in finding.weights]}
