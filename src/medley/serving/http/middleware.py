"""What happens to every request before and after its route: identity, limits, ids, measures, one line in the log."""

import logging
import re
from time import perf_counter
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medley.serving.http.auth import ANYONE, COOKIE, HEADER, Caller, Keys, is_same_origin
from medley.serving.http.deps import LEASE, Exchange, State
from medley.serving.http.errors import ApiError, error_response
from medley.serving.http.limits import Buckets, bounded, too_large
from medley.serving.http.metrics import known_method
from medley.serving.http.settings import LOOPBACK

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SAFE = ("GET", "HEAD", "OPTIONS")
NO_ROUTE = "(no route)"

log = logging.getLogger("medley.serving.http")


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, state: State, keys: Keys | None):
        self.app, self.state, self.keys = app, state, keys
        settings = state.settings
        rate = settings.rate
        self.buckets = None if rate is None else Buckets(rate, settings.burst or max(1, round(2 * rate)))
        self.num_waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        request_id = asked if REQUEST_ID.fullmatch(asked) else uuid4().hex
        lease = self.state.holder.acquire()
        exchange = Exchange(request_id, self.state, lease)
        scope["medley.exchange"] = exchange
        status = 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                sent["X-Request-ID"] = request_id
                sent["X-Content-Type-Options"] = "nosniff"
                if scope["path"].startswith("/v1/"):
                    sent["Cache-Control"] = "no-store"
            await send(message)

        token = LEASE.set(lease)
        self.num_waiting += 1
        self.state.metrics.in_flight.set(self.num_waiting)
        try:
            exchange.caller = self._caller(headers, scope["method"])
            limited = self._admit(scope, headers, exchange, receive)
            await self.app(scope, limited, stamped)
        except Exception as error:  # the last resort: nothing but an ErrorBody leaves this server
            if status:  # the answer has begun, so it can only be cut off
                raise
            await error_response(error, request_id)(scope, receive, stamped)
        finally:
            self.num_waiting -= 1
            self.state.metrics.in_flight.set(self.num_waiting)
            LEASE.reset(token)
            if lease is not None:
                self.state.holder.release(lease)
            self._record(scope, exchange, status)

    def _caller(self, headers: Headers, method: str) -> Caller | None:
        if self.keys is None:
            return ANYONE
        text = headers.get(HEADER)
        cookies = headers.get("cookie")
        if text is None and cookies is not None and (method in SAFE or is_same_origin(headers)):
            text = cookie_parser(cookies).get(COOKIE)
        return self.keys.caller(text)

    def _admit(self, scope: Scope, headers: Headers, exchange: Exchange, receive: Receive) -> Receive:
        """Refuses what is too much or comes from another site; returns what delivers the body within its limits."""
        settings, path, method = self.state.settings, scope["path"], scope["method"]
        if self.keys is None and _host_name(headers.get("host", "")) not in LOOPBACK:
            self._refuse("host")
            raise ApiError(  # a page of another site whose name was pointed at this machine
                421, "host", "this server answers on this machine only", expected=" or ".join(LOOPBACK)
            )
        if method not in SAFE and headers.get("sec-fetch-site") == "cross-site":
            self._refuse("cross_site")
            raise ApiError(403, "cross_site", "pages of other sites may not change anything here")
        if path.startswith("/health/"):
            return receive
        if self.num_waiting > settings.max_waiting:
            self._refuse("overloaded")
            raise ApiError(
                503,
                "overloaded",
                "too many requests are being answered",
                remedy="ask again soon",
                headers={"Retry-After": "1"},
            )
        if self.buckets is not None:
            client = scope.get("client")
            caller = exchange.caller
            known = caller is not None and caller.id is not None
            self.buckets.check(f"key {caller.id}" if known else f"address {client[0] if client else ''}")  # type: ignore[union-attr]
        if path.startswith("/v1/"):
            scope["path"] = _path_of_segments(scope)
        is_upload = path.startswith("/v1/items") or not path.startswith("/v1/")
        limit = settings.max_upload if is_upload else settings.max_body
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise too_large(limit, int(length))
        return bounded(receive, limit, settings.body_seconds)

    def _refuse(self, code: str) -> None:
        self.state.metrics.refused.labels(code).inc()

    def _record(self, scope: Scope, exchange: Exchange, status: int) -> None:
        """Measures a request and logs one line: the route, but no id of a user or an item, which only debug shows."""
        seconds = perf_counter() - exchange.began
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        method = known_method(scope["method"])
        self.state.metrics.observe(method, route, status, seconds)
        if log.isEnabledFor(logging.INFO):
            values = {
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1e3, 2),
                "request_id": exchange.request_id,
                "key": exchange.caller.id if exchange.caller else None,
            }
            if log.isEnabledFor(logging.DEBUG):
                values["path"] = scope["path"]
            log.info("request", extra={"values": values})


def _host_name(host: str) -> str:
    """Returns the name in a Host header: `[::1]:8000` -> `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _path_of_segments(scope: Scope) -> str:
    """Returns the path decoded by segment, with `/` and `%` of a segment still encoded: an id may hold both.

    Raises:
        ApiError: 400, the path is not UTF-8.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if b"%" not in raw:
        return scope["path"]
    try:
        segments = [unquote_to_bytes(segment).decode() for segment in raw.partition(b"?")[0].split(b"/")]
    except UnicodeDecodeError:
        raise ApiError(400, "bad_path", "the path", expected="percent-encoded UTF-8") from None
    return "/".join(segment.replace("%", "%25").replace("/", "%2F") for segment in segments)
