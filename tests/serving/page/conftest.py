"""A server with the page on a free port, and one browser for all tests."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

pytest.importorskip("fastapi")
import uvicorn
from fastapi import FastAPI
from tests.serving.page.fake_service import FakeService

from medley.serving.http.page import router

KEYS = {"reader": "read", "writer": "write"}


class Caller(NamedTuple):
    role: str


class Keys:
    """Two keys."""

    def caller(self, text: str | None) -> Caller | None:
        return Caller(KEYS[text]) if text in KEYS else None


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def site(service) -> Iterator[str]:
    """The address of a server that runs for one test."""
    yield from _serve(service, None)


@pytest.fixture
def locked_site(service) -> Iterator[str]:
    """The address of a server that asks for a key."""
    yield from _serve(service, Keys())


def _serve(service: FakeService, keys: Keys | None) -> Iterator[str]:
    app = FastAPI()
    app.include_router(router(lambda: service, keys=keys))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def browser():
    """A browser without a window; the tests that need one are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("MEDLEY_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser: install one of {', '.join(names)}")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser, site):
    """Opens pages of the server; a test fails if a page complains in its console."""
    contexts, complaints = [], []

    def opened(path: str = "/", **options):
        context = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | options))
        context.set_default_timeout(8_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(site + path)
        return page

    opened.complaints = complaints
    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
