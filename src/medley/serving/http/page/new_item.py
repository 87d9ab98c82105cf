"""The form that adds an item."""

import base64
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from medley.errors import InputError, MissingExtraError, NotFoundError, invalid
from medley.serving.http.page.answers import Answers, problem
from medley.serving.http.page.forms import Fields
from medley.serving.requests import MAX_ID, ItemRequest, Media

if TYPE_CHECKING:
    from medley.serving.service import Service

EXAMPLES = 20  # items whose attributes the form offers
ATTRIBUTE = "a."  # prefix of the fields of attributes


def add_new_item(routes: APIRouter, answers: Answers, on_write: Callable[[], None] | None) -> None:
    """Adds the form and what it posts to."""

    def form(request: Request) -> Response:
        return answers.render(request, "new.html", **_form(answers.service_of(), Fields([], {})))

    def add(request: Request, fields: Fields) -> Response:
        service = answers.service_of()
        try:
            item, question = read_item(service, fields)
            service.put_item(item, question)
            if on_write is not None:
                on_write()
            if not _exists(service, item):
                raise InputError(
                    "the item is kept, but this model cannot place it by what it got",
                    expected=f"some of {', '.join(service.model().modalities) or 'no features'}",
                    remedy="send feedback for it, or choose another id and give more",
                )
        except (InputError, MissingExtraError) as error:
            return answers.render(
                request, "new.html", status=422, **_form(service, fields) | {"problem": problem(error)}
            )
        return answers.redirect(request, "/item", id=item, added=1, lands=1)

    routes.add_api_route("/new", answers.get(form, role="write"), response_model=None)
    routes.add_api_route("/new", answers.post(add), methods=["POST"], response_model=None)


def read_item(service: "Service", fields: Fields) -> tuple[str, ItemRequest]:
    """Returns the id and the item that a form describes.

    Raises:
        InputError: the id is taken, the item has neither words nor a file, or a value does not fit.
    """
    id = fields.text("id") or f"new-{secrets.token_hex(4)}"
    if len(id) > MAX_ID:
        raise InputError("id", expected=f"at most {MAX_ID} characters", got=f"{len(id):,}")
    if _exists(service, id):
        raise InputError("id", expected="an id that no item has", got=repr(id), remedy="choose another id")
    attributes = {name: _typed(fields.text(ATTRIBUTE + name), example, name) for name, example in _columns(service)}
    given = {name: value for name, value in attributes.items() if value is not None}
    if fields.text("title"):
        given["title"] = fields.text("title")
    media = {kind: base64.b64encode(file.content).decode() for kind, file in fields.uploads.items()}
    if fields.text("text"):
        media["text"] = fields.text("text")
    if not media and service.model().modalities:
        raise InputError("the item has nothing to be placed by", remedy="give words, a picture or a sound")
    try:
        return id, ItemRequest(attributes=given, media=Media(**media))
    except ValidationError as error:
        raise invalid(error, "field") from None


def _form(service: "Service", fields: Fields) -> dict[str, Any]:
    """Returns the values of the template: what was typed is kept; a browser does not send a file twice."""
    typed = {name: fields.text(name) for name in ("id", "title", "text")}
    columns = {name: (fields.text(ATTRIBUTE + name), example) for name, example in _columns(service)}
    return {"typed": typed, "columns": columns, "prefix": ATTRIBUTE, "problem": None, "model": service.model()}


def _columns(service: "Service") -> list[tuple[str, Any]]:
    """Returns the columns of some items beside the title, each with a value as an example."""
    examples: dict[str, Any] = {}
    for item in service.items(k=EXAMPLES).items:
        examples = item.attributes | examples
    return [(name, value) for name, value in examples.items() if name != "title"]


def _typed(text: str, example: Any, name: str) -> Any:
    """Reads a value in the type of its column; None for an empty field."""
    if not text:
        return None
    if isinstance(example, bool):
        if text.lower() not in ("yes", "no", "true", "false"):
            raise InputError(name, expected="yes or no", got=repr(text))
        return text.lower() in ("yes", "true")
    if isinstance(example, int | float):
        try:
            return type(example)(text)
        except ValueError:
            kind = "a whole number" if isinstance(example, int) else "a number"
            raise InputError(name, expected=kind, got=repr(text)) from None
    if isinstance(example, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _exists(service: "Service", id: str) -> bool:
    try:
        service.item(id)
    except NotFoundError:
        return False
    return True
