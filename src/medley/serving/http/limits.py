"""Limits: requests per second of one caller, and the size and the duration of a body."""

import asyncio
import math
import time
from collections import OrderedDict

from starlette.types import Message, Receive

from medley.serving.http.errors import ApiError

MAX_CALLERS = 10_000  # whose buckets are remembered; the longest unseen is forgotten, as if its bucket were full again


class Buckets:
    """One token bucket per caller. Used by the event loop only, so it needs no lock."""

    def __init__(self, rate: float, burst: int):
        self.rate, self.burst = rate, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller -> tokens, when

    def take(self, caller: str, now: float | None = None) -> float:
        """Takes one token; returns 0, or the seconds until there is one."""
        now = time.monotonic() if now is None else now
        tokens, then = self._buckets.pop(caller, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - then) * self.rate)
        missing = max(0.0, 1.0 - tokens)
        self._buckets[caller] = (tokens if missing else tokens - 1.0, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return missing / self.rate

    def check(self, caller: str) -> None:
        """Takes one token.

        Raises:
            ApiError: 429, with the seconds to wait.
        """
        wait = self.take(caller)
        if wait > 0:
            raise ApiError(
                429,
                "too_many_requests",
                "too many requests",
                expected=f"at most {self.rate:g} a second, {self.burst:,} at once",
                remedy="wait as long as the header Retry-After says",
                headers={"Retry-After": str(math.ceil(wait))},
            )


def too_large(limit: int, got: object = None) -> ApiError:
    """Returns the error of a body that is too large; the connection ends, so the rest of the body is not read."""
    return ApiError(
        413,
        "too_large",
        "the body is too large",
        expected=f"at most {limit:,} bytes",
        got=got,
        remedy="send less at once",
        headers={"Connection": "close"},
    )


def bounded(receive: Receive, limit: int, seconds: float) -> Receive:
    """Wraps what delivers a body: an ApiError is raised as soon as too many bytes came (413) or too late (408)."""
    size, is_complete = 0, False
    deadline = time.monotonic() + seconds

    async def limited() -> Message:
        nonlocal size, is_complete
        if is_complete:  # what comes now says that the client has gone
            return await receive()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError:
            raise ApiError(
                408,
                "too_slow",
                "the body did not arrive in time",
                expected=f"all of it within {seconds:g} s",
                headers={"Connection": "close"},
            ) from None
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if size > limit:
                raise too_large(limit)
        return message

    return limited
