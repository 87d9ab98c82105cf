"""Turns results and errors into HTML answers with strict headers, and checks keys."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import jinja2
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from medley.errors import InputError, MissingExtraError, NotFoundError
from medley.serving.http.auth import COOKIE, HEADER, Keys, Role, is_same_origin, may
from medley.serving.http.page.drawing import pattern, stacked
from medley.serving.http.page.forms import Fields, TooLargeError, read_form

if TYPE_CHECKING:
    from medley.serving.service import Service

FOLDER = Path(__file__).parent
LABELS = {"visual": "look", "acoustic": "sound", "textual": "words", "id": "behaviour", "all": "everything"}
SHOWN_IMAGES = {"image/jpeg", "image/png", "image/webp", "image/gif"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # addresses hold ids of users; no-referrer would take Origin from posts
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SignInError(Exception):
    """The page needs a key, and the request has none or an unknown one."""


class ForbiddenError(Exception):
    """The key, or where the post comes from, does not allow the act."""

    def __init__(self, message: str, remedy: str):
        super().__init__(message)
        self.message, self.remedy = message, remedy


SHOWN = (SignInError, ForbiddenError, InputError, MissingExtraError, HTTPException)  # other errors are the server's
Get = Callable[[Request], Response]
Post = Callable[[Request, Fields], Response]


class Answers:
    """Makes the answers of all pages.

    Args:
        service_of: returns the service of this moment; each request asks once.
        keys: keys with roles; None where everybody may do everything.
    """

    def __init__(self, service_of: Callable[[], "Service"], keys: Keys | None):
        self.service_of, self.keys = service_of, keys
        self.assets = {path.name: path.read_bytes() for path in (FOLDER / "static").iterdir()}
        versions = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self.assets.items()}
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        named: dict[str, Any] = {"versions": versions, "labels": LABELS, "stacked": stacked, "pattern": pattern}
        self.environment.globals.update(named)
        filters: dict[str, Any] = {"label": lambda name: LABELS.get(name, name), "shown": _shown}
        self.environment.filters.update(filters)

    def render(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Renders a template to an answer."""
        base = request.scope.get("root_path", "")

        def link(path: str, **query: Any) -> str:
            return base + path + (f"?{urlencode(query, doseq=True)}" if query else "")

        html = self.environment.get_template(template).render(
            link=link,
            path=request.url.path.removeprefix(base),
            signed_in=self.keys is not None and COOKIE in request.cookies,
            **values,
        )
        return HTMLResponse(html, status, headers=HEADERS | {"Cache-Control": "private, no-cache"})

    def redirect(self, request: Request, path: str, **query: Any) -> RedirectResponse:
        """Sends the browser to another page, which it then gets."""
        address = request.scope.get("root_path", "") + path + (f"?{urlencode(query)}" if query else "")
        return RedirectResponse(address, 303, headers=HEADERS)

    def get(self, page: Get, *, role: Role | None = "read") -> Callable[[Request], Awaitable[Response]]:
        """Returns the endpoint of a page: checks the key and turns errors into pages."""

        def answer(request: Request) -> Response:
            try:
                self.check(request, role)
                return page(request)
            except SHOWN as error:
                return self.error(request, error)

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(answer, request)

        return endpoint

    def post(self, page: Post, *, role: Role | None = "write") -> Callable[[Request], Awaitable[Response]]:
        """Returns the endpoint of a form: checks its origin and the key before it reads the body."""

        async def endpoint(request: Request) -> Response:
            try:
                if not is_same_origin(request.headers):
                    raise ForbiddenError("The form was sent from another site.", "open the page of this service")
                await run_in_threadpool(self.check, request, role)
                return await run_in_threadpool(page, request, await read_form(request))
            except SHOWN as error:
                return self.error(request, error)

        return endpoint

    def check(self, request: Request, role: Role | None) -> None:
        """Checks that the key in the cookie, or in X-API-Key, has a role.

        Raises:
            SignInError: no key, or an unknown one.
            ForbiddenError: the role of the key is too low.
        """
        if self.keys is None or role is None:
            return
        key = request.headers.get(HEADER) or request.cookies.get(COOKIE)
        caller = self.keys.caller(key)
        if caller is None:
            raise SignInError
        if not may(caller.role, role):
            raise ForbiddenError(
                f"This needs a key with the role {role}, and yours has the role {caller.role}.",
                "sign out, and sign in with another key",
            )

    def error(self, request: Request, error: Exception) -> Response:
        """Turns an error into a page, and a missing key into the page that asks for one."""
        if isinstance(error, SignInError):
            here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return self.redirect(request, "/sign-in", next=here if request.method == "GET" else "/")
        status, title = 422, "That does not fit"
        if isinstance(error, NotFoundError):
            status, title = 404, "Not found"
        elif isinstance(error, TooLargeError):
            status, title = 413, "Too large"
        elif isinstance(error, ForbiddenError):
            status, title = 403, "Not allowed"
        elif isinstance(error, MissingExtraError):
            status, title = 501, "Not installed"
        elif isinstance(error, HTTPException):  # not ready yet, a body that came too slowly
            status, title = error.status_code, "Not now" if error.status_code == 503 else "Not possible"
        response = self.render(request, "error.html", status=status, title=title, problem=problem(error))
        response.headers.update(getattr(error, "headers", None) or {})
        return response


def problem(error: Exception) -> dict[str, str | None]:
    """Returns the sentences about an error: what, expected, got, remedy."""
    if isinstance(error, InputError):
        parts = {"expected": error.expected, "got": error.got}
        return {"what": error.what, "remedy": error.remedy} | {
            name: None if value is None else str(value) for name, value in parts.items()
        }
    if isinstance(error, ForbiddenError):
        return {"what": error.message, "remedy": error.remedy, "expected": None, "got": None}
    what, _, remedy = (error.detail if isinstance(error, HTTPException) else str(error)).partition(" Remedy: ")
    return {"what": what, "remedy": remedy or None, "expected": None, "got": None}


def local(address: str) -> str:
    """Returns an address if it is a page of this service, else the first page."""
    parts = urlsplit(address.replace("\\", "/"))
    return address if address.startswith("/") and not parts.netloc and not address.startswith("//") else "/"


def _shown(value: Any) -> str:
    """Writes an attribute for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return "none" if value is None else str(value)
