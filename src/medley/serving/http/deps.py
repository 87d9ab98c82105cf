"""What routes share: the exchange of one request and its answer, roles, and ids in paths."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import unquote

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Depends, Path, Request
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, BeforeValidator
from pydantic_core import from_json
from starlette.responses import Response

from medley.serving.http.auth import Caller, Role, may
from medley.serving.http.errors import ApiError, ErrorBody
from medley.serving.requests import MAX_ID

if TYPE_CHECKING:
    from medley.serving.http.metrics import Metrics
    from medley.serving.http.reload import Holder, Lease
    from medley.serving.http.settings import Settings
    from medley.serving.service import Service

T = TypeVar("T")
LEASE: ContextVar["Lease | None"] = ContextVar("medley_lease", default=None)
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is wrong or refused"},
    "5XX": {"model": ErrorBody, "description": "The server cannot answer"},
}


class State:
    """What lives as long as the server."""

    def __init__(self, settings: "Settings", holder: "Holder", metrics: "Metrics"):
        self.settings, self.holder, self.metrics = settings, holder, metrics
        self.readers, self.writers = CapacityLimiter(settings.readers), CapacityLimiter(settings.writers)


class Exchange:
    """One request and its answer."""

    __slots__ = ("began", "caller", "lease", "request_id", "state")

    def __init__(self, request_id: str, state: State, lease: "Lease | None"):
        self.began = perf_counter()
        self.request_id, self.state, self.lease = request_id, state, lease
        self.caller: Caller | None = None  # until the key is checked

    @property
    def service(self) -> "Service":
        """The service that was live when the request arrived.

        Raises:
            ApiError: 503 before the first bundle is loaded.
        """
        if self.lease is None:
            raise not_ready()
        return self.lease.service

    async def read(self, ask: Callable[["Service"], T]) -> T:
        """Asks the service in a thread."""
        return await anyio.to_thread.run_sync(ask, self.service, limiter=self.state.readers)

    async def write(self, ask: Callable[["Service"], T]) -> T:
        """Changes something through the service in a thread; what is written is seen by every request afterwards."""
        return await anyio.to_thread.run_sync(partial(self._write, ask, self.service), limiter=self.state.writers)

    def _write(self, ask: Callable[["Service"], T], service: "Service") -> T:
        done = ask(service)
        if self.lease is not None:
            self.state.holder.catch_up(self.lease)
        return done

    def answer(self, form: BaseModel, status: int = 200) -> Response:
        """Returns a form as JSON, stamped with model version, request id and milliseconds.

        The stamp is put into the text: a second model for validation and output would cost more than the answer.
        """
        text = form.model_dump_json()
        stamp = f'"request_id":"{self.request_id}","took_ms":{(perf_counter() - self.began) * 1e3:.3f}}}'
        if "model_version" not in type(form).model_fields:
            stamp = f'"model_version":"{self.service.model_version}",{stamp}'
        body = f"{text[:-1]}{',' if len(text) > 2 else ''}{stamp}"
        return Response(body, status, media_type="application/json")


def not_ready() -> ApiError:
    """Returns the error before the first bundle is loaded."""
    return ApiError(
        503, "not_ready", "the bundle is still loading", remedy="ask again soon", headers={"Retry-After": "1"}
    )


def exchange_of(request: Request) -> Exchange:
    """Returns the exchange that the middleware opened for a request."""
    return request.scope["medley.exchange"]


def current_service() -> "Service":
    """Returns the service of the request that is being answered; for code that has no Exchange at hand.

    Raises:
        ApiError: 503 before the first bundle is loaded.
    """
    lease = LEASE.get()
    if lease is None:
        raise not_ready()
    return lease.service


def catch_up(holder: "Holder") -> None:
    """Brings the live service up to date after a write through a service that may have been replaced meanwhile."""
    lease = LEASE.get()
    if lease is not None:
        holder.catch_up(lease)


def require(exchange: Exchange, role: Role) -> None:
    """Refuses a caller without a role: 401 without a valid key, 403 with a key of a lower role."""
    if exchange.caller is None:
        raise ApiError(
            401,
            "no_key",
            "this server needs a key",
            expected="a valid key in the header X-API-Key",
            remedy="ask the operator for a key",
            headers={"WWW-Authenticate": 'ApiKey realm="medley"'},
        )
    if not may(exchange.caller.role, role):
        raise ApiError(
            403,
            "role",
            "the key may not do this",
            expected=f"a key with the role {role}",
            got=exchange.caller.role,
            remedy="ask the operator for a key with this role",
        )


class Guarded(APIRoute):
    """A route that says in `openapi_extra` which role it needs. The role is checked before the body is read."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        role: Role = (self.openapi_extra or {})["x-role"]
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            require(exchange_of(request), role)
            return await handle(_StrictRequest(request.scope, request.receive))

        return guarded


class _StrictRequest(Request):
    """Reads JSON that any JSON parser reads alike: no NaN, no halves of characters, bounded depth."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                self._json = from_json(await self.body(), allow_inf_nan=False)
            except ValueError as error:
                raise ApiError(
                    422, "invalid_json", "the body is not JSON", expected="a JSON document", got=str(error)
                ) from None
        return self._json


def needs(role: Role, **more: Any) -> dict[str, Any]:
    """Returns the arguments of a route that needs a role."""
    return {"openapi_extra": {"x-role": role, **more}, "responses": ERRORS}


def whole_path_id(text: Any) -> Any:
    """Decodes an id in a path, in which the middleware left `%2F` and `%25` encoded."""
    return unquote(text) if isinstance(text, str) else text


PathId = Annotated[str, BeforeValidator(whole_path_id), Path(min_length=1, max_length=MAX_ID)]
Ex = Annotated[Exchange, Depends(exchange_of)]
documented_key = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key made by `medley serve --new-key`")
