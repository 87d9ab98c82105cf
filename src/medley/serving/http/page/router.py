"""The pages: search, a user, a history, an item, the map, the model."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from medley.errors import InputError, NotFoundError
from medley.serving.http.auth import Keys
from medley.serving.http.page.answers import HEADERS, SHOWN_IMAGES, Answers
from medley.serving.http.page.drawing import MAP_HEIGHT, MAP_WIDTH, points
from medley.serving.http.page.new_item import add_new_item
from medley.serving.http.page.ranking import LISTED, lands, ranked, read_sliders
from medley.serving.http.page.signing_in import add_signing_in
from medley.serving.requests import MAX_HISTORY, ItemAnswer, RankedItem, RecommendRequest

if TYPE_CHECKING:
    from medley.serving.service import Service

FOUND_USERS, FOUND_ITEMS = 12, 24
HISTORY = 24  # items of a history that are shown
NAMED = 40  # items of the list beside the map
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def router(
    service_of: Callable[[], "Service"], *, keys: Keys | None, on_write: Callable[[], None] | None = None
) -> APIRouter:
    """Returns the routes of the page.

    Args:
        service_of: returns the service of this moment; each request asks once.
        keys: keys with roles; None where everybody may do everything.
        on_write: is called after each change, in the thread that changed something.
    """
    answers = Answers(service_of, keys)
    pages = Pages(answers)
    routes = APIRouter(include_in_schema=False)
    for path, page in (
        ("/", pages.home),
        ("/user", pages.user),
        ("/history", pages.history),
        ("/item", pages.item),
        ("/map", pages.map),
        ("/model", pages.model),
        ("/thumbnail", pages.thumbnail),
    ):
        routes.add_api_route(path, answers.get(page), response_model=None)
    for name in answers.assets:
        routes.add_api_route(f"/static/{name}", _asset(name, answers.assets[name]), response_model=None)
    add_new_item(routes, answers, on_write)
    add_signing_in(routes, answers)
    return routes


class Pages:
    """One method per page. Ids are in the query and not in the path: a browser shortens paths such as /item/.."""

    def __init__(self, answers: Answers):
        self.answers = answers

    def home(self, request: Request) -> Response:
        """Searches users and items."""
        service, query = self.answers.service_of(), request.query_params.get("q", "").strip()
        items = service.items(query, cursor=request.query_params.get("cursor") or None, k=FOUND_ITEMS)
        return self.answers.render(
            request,
            "home.html",
            q=query,
            users=service.users(query, k=FOUND_USERS),
            items=items,
            pictures=_pictures(service, items.items),
            model=service.model(),
        )

    def user(self, request: Request) -> Response:
        """Shows what a user saw and gets, and why."""
        service, user = self.answers.service_of(), _asked(request, "id")
        about, model = service.user(user), service.model()
        sliders = read_sliders(request.query_params, model.parts)
        found = ranked(service, sliders, user=user)
        seen = about.history[:HISTORY]
        return self.answers.render(
            request,
            "user.html",
            user=about,
            seen=seen,
            model=model,
            sliders=sliders,
            ranked=found,
            pictures=_pictures(service, [*seen, *found.answer.items]),
        )

    def history(self, request: Request) -> Response:
        """Makes a history from items that are chosen one by one, and shows its list."""
        service = self.answers.service_of()
        model = service.model()
        chosen = list(dict.fromkeys(request.query_params.getlist("item")))[:MAX_HISTORY]
        chosen = [item for item in chosen if item and item != request.query_params.get("without")]
        query = request.query_params.get("q", "").strip()
        hits = [hit for hit in service.items(query, k=LISTED).items if hit.id not in chosen] if query else []
        history, unknown = [], []
        for item in chosen:
            try:
                history.append(service.item(item))
            except NotFoundError:
                unknown.append(item)
        sliders = read_sliders(request.query_params, model.parts)
        found = ranked(service, sliders, history=[item.id for item in history]) if history else None
        shown = [*hits, *history, *(found.answer.items if found else ())]
        return self.answers.render(
            request,
            "history.html",
            q=query,
            hits=hits,
            history=history,
            unknown=unknown,
            model=model,
            sliders=sliders,
            ranked=found,
            pictures=_pictures(service, shown),
        )

    def item(self, request: Request) -> Response:
        """Shows an item, similar items of each kind, and its rank for users."""
        service, item = self.answers.service_of(), _asked(request, "id")
        about, model, user = service.item(item), service.model(), request.query_params.get("user", "").strip()
        similar = {by: about.similar.get(by) for by in ("all", "behaviour", *model.modalities)}
        fit, unknown = None, None
        if user:
            try:
                fit = service.explain(user, item)
            except NotFoundError:
                unknown = user
        listed = [each for items in similar.values() for each in items or ()]
        return self.answers.render(
            request,
            "item.html",
            item=about,
            similar=similar,
            fit=fit,
            user=user,
            unknown=unknown,
            added="added" in request.query_params,
            places=lands(service, item) if "lands" in request.query_params else None,
            listed=LISTED,
            model=model,
            pictures=_pictures(service, [about, *listed]),
        )

    def map(self, request: Request) -> Response:
        """Draws the catalogue, and a user's items in it."""
        service, user = self.answers.service_of(), request.query_params.get("user", "").strip()
        roles, unknown = None, None
        if user:
            try:
                seen = {item.id: "seen" for item in service.user(user).history}
                answer = service.recommend(RecommendRequest(user=user, k=LISTED))
                roles = seen | {item.id: "recommended" for item in answer.items}
            except NotFoundError:
                unknown = user
        drawn = points(service.places(), roles)
        named = [point for point in drawn if point.role != "other"] if roles else drawn
        return self.answers.render(
            request,
            "map.html",
            points=drawn,
            named=named[::-1][:NAMED],
            user=user,
            unknown=unknown,
            roles=roles,
            size=(MAP_WIDTH, MAP_HEIGHT),
            model=service.model(),
        )

    def model(self, request: Request) -> Response:
        """Shows facts about the model and its data."""
        return self.answers.render(request, "model.html", model=self.answers.service_of().model())

    def thumbnail(self, request: Request) -> Response:
        """Returns the picture of an item."""
        found = self.answers.service_of().thumbnail(_asked(request, "id"))
        if found is None or found[1] not in SHOWN_IMAGES:
            raise NotFoundError(f"item {request.query_params['id']!r} has no picture")
        content, kind = found
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = HEADERS | {"Cache-Control": "private, max-age=300", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)


def _asked(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise InputError(f"{name!r} is missing from the address", remedy="search on the first page")
    return value


def _pictures(service: "Service", items: Iterable[RankedItem | ItemAnswer]) -> set[str]:
    """Returns the ids of the items that have a picture."""
    return {item.id for item in items if _picture(service, item.id) is not None}


def _picture(service: "Service", item: str) -> tuple[bytes, str] | None:
    try:
        return service.thumbnail(item)
    except NotFoundError:  # deleted in the meantime
        return None


def _asset(name: str, content: bytes) -> Callable[[], Response]:
    kind = TYPES[name[name.rindex(".") :]]
    headers = HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}  # the address holds a hash

    def asset() -> Response:
        return Response(content, media_type=kind, headers=headers)

    return asset
