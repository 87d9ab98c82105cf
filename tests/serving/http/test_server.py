"""The process: where it listens, how it stops, what it logs."""

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from tests.serving.http.conftest import is_ready, running, until
from tests.serving.http.fake import FakeService, Journal

from medley.errors import InputError
from medley.serving.http.server import _Json, _Text, bind, serve
from medley.serving.http.settings import Settings, store_beside

SCRIPT = """
import sys
import time
from pathlib import Path
from medley.errors import MedleyError
from medley.serving.http.server import serve, set_up_log
from medley.serving.http.settings import Settings
from tests.serving.http.fake import FakeService, Journal

class Careful(FakeService):
    def recommend(self, request):
        if request.user == "u19":  # whom warming up does not ask about
            print("asked", flush=True)
            sys.stdin.readline()
            time.sleep(0.5)  # the signal is older than the 0.1 s after which uvicorn would end requests
        return super().recommend(request)

    def close(self):
        super().close()
        print("closed", flush=True)

set_up_log(sys.argv[2], "info")
settings = Settings(bundle=Path(sys.argv[1]), port=0)
try:
    serve(settings, announce=lambda url: print(url, flush=True), open=lambda s: Careful.open(s.bundle, Journal()))
except MedleyError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def start(bundle, log="text"):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, bundle, log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_finishes_requests_in_flight_and_closes_the_store(bundle):
    process = start(bundle, "json")
    url = process.stdout.readline().strip()
    until(lambda: is_ready(url), 60)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/v1/recommend/u19", timeout=60)))
    thread.start()
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    until(lambda: not is_ready(url))  # the server has heard the signal: it listens no more
    out, log = process.communicate("answer\n", timeout=60)
    thread.join()
    assert answers[0].status_code == 200 and "closed" in out
    assert process.returncode in (0, -signal.SIGTERM)  # uvicorn raises the signal again once it is done
    line = json.loads(next(line for line in log.splitlines() if "/v1/recommend" in line))
    assert line["route"] == "/v1/recommend/{user}" and line["status"] == 200 and line["ms"] > 400
    assert line["request_id"] == answers[0].json()["request_id"]
    assert "u19" not in log and "Traceback" not in log


def test_a_bundle_that_cannot_be_served_ends_the_process_with_its_reason(bundle):
    (bundle / "manifest.json").write_text("{")
    process = start(bundle)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "not a bundle" in out


def test_a_port_in_use_is_refused_with_the_remedy(bundle):
    with bind(Settings(bundle=bundle, port=0)) as taken, pytest.raises(InputError, match="another --port"):
        serve(Settings(bundle=bundle, port=taken.getsockname()[1]))


def test_a_host_without_keys_is_refused_before_anything_listens(bundle):
    with pytest.raises(InputError, match=r"expected host 127\.0\.0\.1, got 0\.0\.0\.0"):
        serve(Settings(bundle=bundle, host="0.0.0.0"))


def test_an_answer_does_not_wait_for_acknowledgements(bundle):
    with running(Settings(bundle=bundle, port=0), lambda each: FakeService.open(each.bundle, Journal())) as url:
        host, port = url.removeprefix("http://").split(":")
        seconds = []
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            for _ in range(30):
                began = time.perf_counter()
                connection.sendall(b"GET /v1/recommend/u1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                received = b""
                while b'"took_ms"' not in received:
                    received += connection.recv(65536)
                seconds.append(time.perf_counter() - began)
        assert min(seconds[5:]) < 0.03  # Nagle's algorithm: 0.04 s for each, from the second request on


def test_the_log_shows_routes_at_info_and_paths_at_debug_only(client, caplog):
    for level, shown in ((logging.INFO, False), (logging.DEBUG, True)):
        caplog.clear()
        with caplog.at_level(level, logger="medley.serving.http"):
            client.get("/v1/users/u7")
        text = "\n".join(_Text("%(message)s").format(record) for record in caplog.records)
        assert "route=/v1/users/{user} status=200" in text and ("u7" in text) == shown


def test_a_trace_is_one_line_of_json():
    try:
        raise ValueError("no")
    except ValueError:
        record = logging.LogRecord("medley", logging.ERROR, "", 0, "it %s", ("failed",), sys.exc_info())
    line = json.loads(_Json().format(record))
    assert line["message"] == "it failed" and "ValueError: no" in line["trace"] and "\n" not in _Json().format(record)


def test_the_store_stands_beside_the_bundle_whatever_its_version(tmp_path):
    assert store_beside(tmp_path / "shop.medley") == tmp_path / "shop.medley.store"
    assert Settings(bundle=tmp_path / "shop").store_path == tmp_path / "shop.store"
    assert Settings(bundle=tmp_path / "shop", store=tmp_path / "x").store_path == tmp_path / "x"


@pytest.mark.parametrize(
    "values", [{"port": -1}, {"rate": 0}, {"burst": 0}, {"burst": 9}, {"watch": -1}, {"max_body": 1}, {"colour": 1}]
)
def test_settings_out_of_range_are_refused(tmp_path, values):
    with pytest.raises(InputError, match=re.escape(next(iter(values)))):
        Settings.read(bundle=tmp_path, **values)
