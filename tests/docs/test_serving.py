"""The requests of docs/serving.md, as a shell would send them, are answered by a service of the demo's form."""

import re
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

import medley

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fastapi.testclient import TestClient

from medley.serving.http.app import create_app
from medley.serving.http.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
HOST = "http://127.0.0.1:8000"


def requests_of(text: str, folder: Path) -> list[list[str]]:
    """Runs the blocks of the page that call curl; returns the arguments of each call."""
    blocks = [block for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S) if "curl" in block]
    script = "curl() { printf '%s\\0' \"$@\"; printf '\\n\\0'; }\n" + "".join(blocks)
    done = subprocess.run(["bash", "-ec", script], cwd=folder, capture_output=True, text=True, check=True)
    return [call.split("\0")[:-1] for call in done.stdout.split("\n\0")[:-1]]


@pytest.fixture
def client(simulated, tmp_path):
    medley.export(medley.build("itemknn", simulated), simulated, out=tmp_path / "shop.medley")
    with TestClient(create_app(Settings(bundle=tmp_path / "shop.medley")), base_url=HOST) as client:
        while client.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        yield client


def test_the_requests_with_curl_are_answered(client, tmp_path):
    (tmp_path / "new.jpg").write_bytes(b"a picture")
    answers = []
    for arguments in requests_of(PAGE.read_text(encoding="utf-8"), tmp_path):
        (url,) = (each for each in arguments if each.startswith(HOST))
        options = dict(pairwise(arguments))
        answers.append(
            client.request(
                options.get("-X", "GET"), url, content=options.get("-d"), headers={"Content-Type": "application/json"}
            )
        )
    *working, media = answers
    assert [answer.status_code for answer in working] == [200, 200, 200], [answer.text for answer in working]
    assert working[0].json()["fallback"] is None and working[1].json()["title"] == "Neon city"
    assert media.status_code == 422 and media.json()["expected"] == "a service that encodes media"
