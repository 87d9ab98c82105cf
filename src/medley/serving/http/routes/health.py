"""Is the server alive, is it ready, and how is it doing."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from medley.serving.http.deps import ERRORS, Ex, Guarded, needs
from medley.serving.http.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])
guarded = APIRouter(tags=["health"], route_class=Guarded)


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """The process can recommend."""

    status: Literal["ready"] = "ready"
    model_version: str
    request_id: str
    took_ms: float


@router.get("/health/live")
async def live() -> Live:
    """Says that the process answers; restart it when it does not."""
    return Live()


@router.get("/health/ready", response_model=Ready, responses=ERRORS)
async def ready(exchange: Ex) -> Response:
    """Says that bundle and index are in memory; 503 before, so that no balancer sends users here."""
    service = exchange.service  # raises 503
    del service
    return exchange.answer(_Status())


@guarded.get("/metrics", response_class=Response, **needs("read"))
async def metrics(exchange: Ex) -> Response:
    """Returns the measures of this server in the format of Prometheus."""
    return Response(exchange.state.metrics.page(), media_type=CONTENT_TYPE)


class _Status(BaseModel):
    status: Literal["ready"] = "ready"
