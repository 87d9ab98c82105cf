"""Operation: another bundle, or the one before."""

import anyio.to_thread
from fastapi import APIRouter
from starlette.responses import Response

from medley.serving.http import answers
from medley.serving.http.deps import Ex, Exchange, Guarded, needs
from medley.serving.http.reload import Swap

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=Guarded)


@router.post("/reload", response_model=answers.SwapReply, **needs("admin"))
async def reload(exchange: Ex) -> Response:
    """Opens the bundle that is at the server's path now, warms it and swaps; a bad bundle is refused."""
    return _answer(exchange, await anyio.to_thread.run_sync(exchange.state.holder.reload))


@router.post("/rollback", response_model=answers.SwapReply, **needs("admin"))
async def rollback(exchange: Ex) -> Response:
    """Swaps back to the bundle before; doing it twice changes nothing."""
    return _answer(exchange, await anyio.to_thread.run_sync(exchange.state.holder.rollback))


def _answer(exchange: Exchange, swap: Swap) -> Response:
    return exchange.answer(answers.SwapAnswer(**swap._asdict()))
