"""Servers for tests: in memory, or at 127.0.0.1 and a free port; they stop with the test."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from tests.serving.http.fake import FakeService, Journal, write_bundle

from medley.serving.http.app import create_app
from medley.serving.http.reload import Holder
from medley.serving.http.server import address, bind, config_of
from medley.serving.http.settings import Settings


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_bundle(tmp_path / "shop")


@pytest.fixture
def start(bundle) -> Iterator[Callable[..., TestClient]]:
    """Starts an application in memory; waits until it is ready."""
    with contextlib.ExitStack() as stack:

        def start(*, delay: float = 0.0, wait: bool = True, **settings) -> TestClient:
            journal = Journal()
            chosen = Settings(bundle=bundle, **settings)
            app = create_app(chosen, open=lambda each: FakeService.open(each.bundle, journal, delay))
            client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
            stack.enter_context(client)
            if wait:
                until(lambda: client.get("/health/ready").status_code == 200)
            return client

        yield start


@pytest.fixture
def client(start) -> TestClient:
    return start()


@contextlib.contextmanager
def holding(bundle: Path, open: Callable[[], Any]) -> Iterator[Holder]:
    """A holder with a live service, which is closed afterwards."""
    held = Holder(bundle, open)
    held.load()
    yield held
    held.close()


@contextlib.contextmanager
def leased(holder: Holder) -> Iterator[Any]:
    """The live service for one request, as the server leases it."""
    lease = holder.acquire()
    try:
        yield lease.service
    finally:
        holder.catch_up(lease)
        holder.release(lease)


@contextlib.contextmanager
def running(settings: Settings, open: Callable[[Settings], FakeService]) -> Iterator[str]:
    """Runs a server in a thread; yields its URL when it is ready."""
    listening = bind(settings)
    server = uvicorn.Server(config_of(create_app(settings, open=open), settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = address(listening)
    try:
        until(lambda: is_ready(url))
        yield url
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


def until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def is_ready(url: str) -> bool:
    """Whether a server has its bundle and index in memory."""
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
