"""The catalogue: search, similar items, and changes that are ranked at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field, ValidationError
from pydantic_core import from_json
from starlette.responses import Response

from medley.errors import NotFoundError
from medley.serving.http import answers
from medley.serving.http.answers import BulkElement, BulkItem
from medley.serving.http.deps import Ex, Guarded, PathId, needs
from medley.serving.http.errors import ApiError, ErrorDetail, detail_of, from_problem
from medley.serving.requests import Form, ItemPatch, ItemRequest, K

router = APIRouter(prefix="/v1", tags=["items"], route_class=Guarded)

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
MAX_LINES = 10_000


class ItemsQuery(Form):
    """A search."""

    q: str = Field("", max_length=1_000, description="words of the title or the beginning of an id; empty: all items")
    cursor: str | None = Field(None, max_length=1_000, description="of the page before")
    k: K = 50


class SimilarQuery(Form):
    """Which similarity, and how many items."""

    by: str = Field("all", max_length=200, description="behaviour, a modality, or all")
    k: K = 10


class NoQuery(Form):
    """No parameters."""


Nothing = Annotated[NoQuery, Query()]


@router.get("/items", response_model=answers.ItemsReply, **needs("read"))
async def items(exchange: Ex, query: Annotated[ItemsQuery, Query()]) -> Response:
    """Searches the catalogue, a page at a time."""
    found = await exchange.read(lambda service: service.items(query.q, cursor=query.cursor, k=query.k))
    return exchange.answer(found)


@router.get("/items/{item}", response_model=answers.ItemReply, **needs("read"))
async def item(exchange: Ex, item: PathId, _: Nothing) -> Response:
    """Returns what is known about an item."""
    return exchange.answer(await exchange.read(lambda service: service.item(item)))


@router.get("/items/{item}/similar", response_model=answers.SimilarReply, **needs("read"))
async def similar(exchange: Ex, item: PathId, query: Annotated[SimilarQuery, Query()]) -> Response:
    """Returns the items most similar to an item, by behaviour, by one modality, or by all."""
    return exchange.answer(await exchange.read(lambda service: service.similar(item, by=query.by, k=query.k)))


IMAGE: dict[str, Any] = {"200": {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("/items/{item}/image", response_class=Response, **needs("read", responses=IMAGE))
async def image(exchange: Ex, item: PathId, _: Nothing) -> Response:
    """Returns the picture of an item."""
    found = await exchange.read(lambda service: service.thumbnail(item))
    if found is None:
        raise NotFoundError("the item has no picture", got=item)
    content, media_type = found
    return Response(content, media_type=media_type)


@router.put("/items/{item}", response_model=answers.ItemReply, **needs("write"))
async def put_item(exchange: Ex, item: PathId, request: ItemRequest) -> Response:
    """Adds an item with its attributes and its features or media, or replaces one; it is ranked from now on."""
    return exchange.answer(await exchange.write(lambda service: service.put_item(item, request)))


@router.patch("/items/{item}", response_model=answers.ItemReply, **needs("write"))
async def patch_item(exchange: Ex, item: PathId, request: ItemPatch) -> Response:
    """Changes some attributes, features or media of an item."""
    return exchange.answer(await exchange.write(lambda service: service.patch_item(item, request)))


@router.delete("/items/{item}", response_model=answers.DeletedReply, **needs("write"))
async def delete_item(exchange: Ex, item: PathId) -> Response:
    """Takes an item out of all lists."""
    await exchange.write(lambda service: service.delete_item(item))
    return exchange.answer(answers.DeletedAnswer(deleted=item))


LINES: dict[str, Any] = {
    "required": True,
    "description": f"One item with its id per line, at most {MAX_LINES:,}",
    "content": {NDJSON[0]: {"schema": {"type": "string"}}},
}


@router.post("/items:bulk", response_model=answers.BulkReply, **needs("write", requestBody=LINES))
async def put_items(exchange: Ex, request: Request) -> Response:
    """Adds or replaces many items, one JSON object a line; a bad line is answered with its error and skipped."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in NDJSON:
        raise ApiError(415, "unsupported_media_type", "the type of the body", expected=NDJSON[0], got=sent)
    lines = (await request.body()).split(b"\n")
    texts = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if len(texts) > MAX_LINES:
        raise ApiError(422, "invalid", "lines", expected=f"at most {MAX_LINES:,}", got=len(texts))
    parsed = {number: _line(text) for number, text in texts}
    good = {number: each for number, each in parsed.items() if isinstance(each, BulkItem)}
    questions = [
        (each.id, ItemRequest(attributes=each.attributes, features=each.features, media=each.media))
        for each in good.values()
    ]
    done = await exchange.write(lambda service: service.put_items(questions)) if questions else []
    stored = dict(zip(good, done, strict=True))
    results = []
    for number, each in parsed.items():
        found = stored.get(number, each)
        raw_id = each.id if isinstance(each, BulkItem) else None
        if isinstance(found, ErrorDetail):
            results.append(BulkElement(line=number, error=found))
        elif isinstance(found, Exception):
            results.append(BulkElement(line=number, id=raw_id, error=detail_of(found)[1]))
        else:
            results.append(BulkElement(line=number, id=raw_id, item=found))
    accepted = sum(each.item is not None for each in results)
    return exchange.answer(answers.BulkAnswer(accepted=accepted, results=results))


def _line(text: bytes) -> BulkItem | ErrorDetail:
    try:
        return BulkItem.model_validate(from_json(text, allow_inf_nan=False))
    except ValidationError as error:
        return detail_of(from_problem(error))[1]
    except ValueError:
        return ErrorDetail(code="invalid_json", message="the line is not JSON", expected="a JSON object")
