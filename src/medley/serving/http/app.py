"""The application: what routes, errors and the gate are put together from."""

import asyncio
import importlib.util
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from medley.serving.http import errors
from medley.serving.http.auth import Keys
from medley.serving.http.deps import State, catch_up, current_service, documented_key, exchange_of
from medley.serving.http.metrics import Metrics
from medley.serving.http.middleware import Gate
from medley.serving.http.reload import Holder
from medley.serving.http.routes import admin, feedback, health, items, recommend, users
from medley.serving.http.settings import Settings
from medley.version import __version__

if TYPE_CHECKING:
    from medley.serving.bundle import Bundle
    from medley.serving.changes import MediaEncoder
    from medley.serving.service import Service

PAGE = "medley.serving.http.page"
DESCRIPTION = (
    "Recommendations with reasons from a Medley bundle. Ids are raw ids as in the data; in a path they are "
    "percent-encoded, slashes included. Every answer has `model_version`, `request_id` and `took_ms`."
)


def open_service(
    settings: Settings, *, encoder: Callable[["Bundle"], "MediaEncoder | None"] | None = None
) -> "Service":
    """Opens the bundle at the path of the settings; `encoder` makes what encodes the media of its new items."""
    from medley.serving.service import Service

    return Service.open(
        settings.bundle,
        store=settings.store_path,
        index=settings.index,
        verify=settings.verify,
        encoder=encoder,
    )


def create_app(
    settings: Settings,
    *,
    open: Callable[[Settings], "Service"] = open_service,
    on_failure: Callable[[Exception], None] | None = None,
) -> FastAPI:
    """Builds the application. The bundle is loaded in a thread when the server starts.

    Args:
        settings: of the server.
        open: opens the service of the settings.
        on_failure: is told, in another thread, if the first bundle cannot be served.

    Raises:
        InputError: the file of keys is bad.
    """
    keys = None if settings.keys is None else Keys(settings.keys)
    holder = Holder(settings.bundle, lambda: open(settings))
    metrics = Metrics(holder)
    state = State(settings, holder, metrics)

    def load() -> None:
        try:
            holder.load()
        except Exception as error:  # whatever is wrong with the bundle, the process must end and say so
            errors.log.error("the bundle cannot be served: %s", error)
            if on_failure is not None:
                on_failure(error)
            return
        if settings.watch:
            holder.watch(settings.watch)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = threading.Thread(target=load, name="medley-load", daemon=True)
        loading.start()
        yield
        await asyncio.to_thread(holder.close)

    app = FastAPI(
        title="Medley",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # both pages load scripts from another site
        redoc_url=None,
    )
    app.state.medley = state
    app.add_middleware(Gate, state=state, keys=keys)
    errors.install(app)
    app.include_router(health.router)
    for router in (health.guarded, recommend.router, items.router, users.router, feedback.router, admin.router):
        app.include_router(router, dependencies=[Depends(documented_key)])
    if importlib.util.find_spec(PAGE) is not None:
        page = import_module(PAGE).router(current_service, keys=keys, on_write=lambda: catch_up(holder))
        app.include_router(page)
    app.add_exception_handler(405, _method_not_allowed)
    return app


async def _method_not_allowed(request: Request, error: Any) -> Response:
    """Names all methods of a path: the framework names those of the first route only."""
    methods: set[str] = set()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            methods.add(method)
    allowed = HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
    return errors.error_response(allowed, exchange_of(request).request_id)
