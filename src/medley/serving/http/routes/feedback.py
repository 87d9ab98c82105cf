"""Feedback: what users do with what they are shown."""

from typing import Annotated

from fastapi import APIRouter, Body
from starlette.responses import Response

from medley.serving.http import answers
from medley.serving.http.deps import Ex, Guarded, needs
from medley.serving.requests import Event

router = APIRouter(prefix="/v1", tags=["feedback"], route_class=Guarded)

MAX_EVENTS = 10_000
Events = Annotated[list[Event], Body(min_length=1, max_length=MAX_EVENTS)]


@router.post("/feedback", response_model=answers.FeedbackReply, status_code=202, **needs("write"))
async def feedback(exchange: Ex, events: Events) -> Response:
    """Takes events in; they are stored, seen items are hidden and users are folded in again before the answer."""
    return exchange.answer(await exchange.write(lambda service: service.feedback(events)), 202)
