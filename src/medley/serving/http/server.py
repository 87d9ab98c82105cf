"""Runs the application in one process with uvicorn, until SIGTERM or Ctrl-C."""

import json
import logging
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medley.errors import InputError, MissingExtraError

try:
    import fastapi  # noqa: F401
    import prometheus_client  # noqa: F401
    import uvicorn
except ImportError:
    raise MissingExtraError("medley serve", "serve") from None

from medley.serving.http.app import create_app, open_service
from medley.serving.http.settings import Settings

if TYPE_CHECKING:
    from medley.serving.service import Service

BACKLOG = 2048
KEEP_ALIVE = 75  # seconds; longer than clients and balancers keep an idle connection, so that they close it


def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None] = print,
    open: Callable[[Settings], "Service"] = open_service,
) -> None:
    """Serves until the process is told to stop; requests in flight are finished, and the store is closed.

    Args:
        settings: of the server.
        announce: is told the address as soon as the server listens, before the bundle is loaded.
        open: opens the service of the settings.

    Raises:
        InputError: the host needs keys, the port is taken, or a file is bad.
        MedleyError: the bundle cannot be served.
    """
    check_host(settings)
    failures: list[Exception] = []

    def stop(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(settings, open=open, on_failure=stop)
    listening = bind(settings)
    server = uvicorn.Server(config_of(app, settings))
    announce(address(listening))
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
    if failures:
        raise failures[0]


def config_of(app: object, settings: Settings) -> uvicorn.Config:
    """Returns how uvicorn runs the application."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.stop_seconds,
    )


def check_host(settings: Settings) -> None:
    """Raises an InputError if other machines could connect without a key."""
    if settings.keys is None and not settings.is_local:
        raise InputError(
            "without keys anybody who reaches the host may read and change everything",
            expected="host 127.0.0.1",
            got=settings.host,
            remedy="make keys with `medley serve --keys FILE --new-key ROLE` and serve with `--keys FILE`",
        )


def bind(settings: Settings) -> socket.socket:
    """Returns a socket that listens at the host and port of the settings."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(
            "cannot listen", got=f"{settings.host}:{settings.port}: {error.strerror or error}", remedy="another --port"
        ) from None


def address(listening: socket.socket) -> str:
    """Returns the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def set_up_log(kind: str, level: str) -> None:
    """Sends the log to standard error, as text or as one JSON object a line.

    Args:
        kind: text or json.
        level: debug, info, warning or error; debug also shows paths, which hold ids of users.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if kind == "json" else _Text("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("medley").setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


class _Text(logging.Formatter):
    """Writes the values of a request behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        values = getattr(record, "values", None)
        line = super().format(record)
        return line if values is None else f"{line} {' '.join(f'{name}={value}' for name, value in values.items())}"


class _Json(logging.Formatter):
    """Writes one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
