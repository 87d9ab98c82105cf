"""Sizes, rates, overload, other sites."""

import asyncio
import socket
import threading
import time

import httpx
import pytest
from tests.serving.http.conftest import running
from tests.serving.http.fake import FakeService, Journal
from tests.serving.http.test_errors import error

from medley.serving.http.errors import ApiError
from medley.serving.http.limits import Buckets, bounded
from medley.serving.http.settings import Settings


@pytest.fixture
def url(bundle):
    settings = Settings(bundle=bundle, port=0, max_body=4096, max_upload=8192, body_seconds=1.0)
    journal = Journal()
    with running(settings, lambda each: FakeService.open(each.bundle, journal)) as url:
        yield url


def test_a_body_that_says_it_is_too_large_is_refused(url):
    answer = httpx.post(f"{url}/v1/recommend", json={"history": ["x" * 500] * 20})
    found = error(answer, 413, "too_large")
    assert found["expected"] == "at most 4,096 bytes" and int(found["got"]) > 4096


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(url):
    sent = []

    def chunks():
        for _ in range(1000):
            sent.append(1)
            yield b" " * 1024
            time.sleep(0.002)

    try:
        answer = httpx.post(f"{url}/v1/recommend", content=chunks(), headers={"Content-Type": "application/json"})
        error(answer, 413, "too_large")
    except httpx.WriteError:  # the server hung up before the answer could be read
        pass
    assert len(sent) < 1000


def test_items_may_be_larger_than_questions(url):
    item = {"attributes": {"title": "x" * 5000}}
    assert httpx.put(f"{url}/v1/items/x", json=item).status_code == 200
    error(httpx.put(f"{url}/v1/items/x", json={"attributes": {"title": "x" * 9000}}), 413, "too_large")


def test_a_body_that_does_not_arrive_is_given_up(url):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        began = time.monotonic()
        slow.sendall(
            b"POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert b"408" in slow.recv(4096).split(b"\r\n")[0]
        assert time.monotonic() - began > 0.9


def test_the_bytes_of_a_body_are_counted_while_they_come():
    messages = [{"type": "http.request", "body": b"123456", "more_body": True}] * 2

    async def receive():
        return messages.pop()

    limited = bounded(receive, 10, 5.0)
    assert asyncio.run(limited())["body"] == b"123456"
    with pytest.raises(ApiError) as raised:
        asyncio.run(limited())
    assert raised.value.status_code == 413


def test_a_bucket_gives_its_burst_then_its_rate():
    buckets = Buckets(rate=2.0, burst=3)
    assert [buckets.take("a", now=0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", now=0.0) == 0  # another caller
    assert buckets.take("a", now=0.4) == pytest.approx(0.1)
    assert buckets.take("a", now=0.5) == 0
    assert [buckets.take("a", now=100.0) == 0 for _ in range(4)] == [True, True, True, False]


def test_the_memory_of_callers_is_bounded(monkeypatch):
    monkeypatch.setattr("medley.serving.http.limits.MAX_CALLERS", 10)
    buckets = Buckets(rate=1.0, burst=1)
    for number in range(100):
        buckets.take(str(number), now=0.0)
    assert len(buckets._buckets) == 10


def test_too_many_requests_are_429_with_retry_after_but_health_is_free(start):
    client = start(rate=0.5, burst=2)
    assert [client.get("/v1/model").status_code for _ in range(2)] == [200, 200]
    answer = client.get("/v1/model")
    found = error(answer, 429, "too_many_requests")
    assert 1 <= int(answer.headers["Retry-After"]) <= 2 and found["expected"] == "at most 0.5 a second, 2 at once"
    assert client.get("/health/ready").status_code == 200


def test_more_requests_than_the_server_can_take_are_503(bundle):
    settings, journal = Settings(bundle=bundle, port=0, max_waiting=2, readers=1), Journal()
    statuses, together = [], threading.Barrier(12)
    with running(settings, lambda each: FakeService.open(each.bundle, journal, 0.2)) as url, httpx.Client() as client:

        def ask():
            together.wait()
            statuses.append(client.get(f"{url}/v1/recommend/u1"))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        text = httpx.get(f"{url}/metrics").text
    refused = [answer for answer in statuses if answer.status_code == 503]
    assert refused and len(refused) < 12
    for answer in refused:
        assert error(answer, 503, "overloaded") and answer.headers["Retry-After"] == "1"
    assert f'medley_refused_total{{code="overloaded"}} {len(refused)}.0' in text


def test_without_keys_only_names_of_this_machine_are_answered(start):
    client = start()
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST:1"):
        assert client.get("/v1/model", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        error(client.get("/v1/model", headers={"Host": host}), 421, "host")


def test_pages_of_other_sites_cannot_change_anything(start):
    client = start()
    crossing = {"Sec-Fetch-Site": "cross-site"}
    error(client.post("/v1/admin/rollback", headers=crossing), 403, "cross_site")
    assert client.get("/v1/model", headers=crossing).status_code == 200
