"""Each option of `medley serve` reaches the server, the service or the log. Nothing listens here."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.cli.running import Done, medley

from medley import api

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from medley.serving.http import app, server
from medley.serving.http.settings import Settings
from medley.serving.service import Service

Then = Callable[[Settings, Callable[[Settings], Service]], object]


@pytest.fixture(scope="module")
def bundle(simulated, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("serve") / "shop"
    api.export(api.build("vbpr", simulated, dim=4), simulated, out=path)
    return path


@pytest.fixture
def served(bundle, tmp_path, monkeypatch):
    """Runs `medley serve` up to where it would listen; `then` gets the settings and the opener of the service."""
    root, ours = logging.getLogger(), logging.getLogger("medley")
    before = root.handlers, root.level, ours.level

    def run(*options: object, then: Then) -> Done:
        monkeypatch.setattr(server, "serve", lambda settings, *, open, announce: then(settings, open))
        return medley("serve", bundle, "--store", tmp_path / "kept", *options)

    yield run
    root.handlers = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_addresses_and_limits_reach_the_settings(served, tmp_path):
    found: list[Settings] = []
    options = ("--port", 8123, "--watch", 2.5, "--rate", 9, "--burst", 30, "--max-body", 3, "--max-upload", 5)
    done = served(*options, then=lambda settings, _: found.append(settings))
    assert done.returncode == 0, done.stderr
    (settings,) = found
    assert (settings.port, settings.store_path) == (8123, tmp_path / "kept")
    assert (settings.watch, settings.rate, settings.burst) == (2.5, 9, 30)
    assert (settings.max_body, settings.max_upload) == (3 << 20, 5 << 20)


@pytest.mark.parametrize(("options", "index"), [((), "ExactIndex"), (("--index", "hnsw"), "FaissIndex")])
def test_the_service_has_the_chosen_index(options, index, served):
    pytest.importorskip("faiss")
    services: list[Service] = []
    done = served(*options, then=lambda settings, open: services.append(open(settings)))
    assert done.returncode == 0, done.stderr
    (service,) = services
    assert service.model().index == index
    service.close()


def test_a_damaged_bundle_is_refused_unless_its_hashes_are_not_compared(served, bundle):
    table = bundle / "scores/user.npy"
    whole = table.read_bytes()
    table.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        refused = served(then=lambda settings, open: open(settings).close())
        assert refused.returncode == 2 and "user.npy" in refused.stderr
        assert served("--no-verify", then=lambda settings, open: open(settings).close()).returncode == 0
    finally:
        table.write_bytes(whole)


@pytest.mark.parametrize(
    ("options", "by", "waits"),
    [
        ((), "medley simulate", []),
        ((), "medley extract", [False]),
        (("--media",), "medley simulate", [True]),
        (("--no-media",), "medley extract", []),
    ],
)
def test_new_media_are_encoded_where_asked_and_by_default_where_features_came_from_extract(
    options, by, waits, served, monkeypatch
):
    uploads = pytest.importorskip("medley.media.uploads", exc_type=ImportError)
    found: list[bool] = []
    monkeypatch.setattr(uploads, "Uploads", lambda made_by, fitted, *, wait: found.append(wait))
    modalities = {"visual": SimpleNamespace(made_by={"by": by})}
    read = SimpleNamespace(manifest=SimpleNamespace(modalities=modalities), fitted={})
    monkeypatch.setattr(app, "open_service", lambda settings, *, encoder: None if encoder is None else encoder(read))
    done = served(*options, then=lambda settings, open: open(settings))
    assert done.returncode == 0 and found == waits, done.stderr


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), ["listens port=1"]),
        (("--log-level", "debug"), ["looks port=1", "listens port=1"]),
        (("--log-level", "error"), []),
    ],
)
def test_the_log_has_the_form_and_the_level_that_are_asked(options, shown, served):
    def then(settings: Settings, open: object) -> None:
        log = logging.getLogger("medley.serving.http")
        log.debug("looks", extra={"values": {"port": 1}})
        log.info("listens", extra={"values": {"port": 1}})

    lines = served(*options, then=then).stderr.splitlines()
    assert [" ".join(line.split()[-2:]) for line in lines] == shown
    documents = [json.loads(line) for line in served("--log", "json", *options, then=then).stderr.splitlines()]
    assert [f"{each['message']} port={each['port']}" for each in documents] == shown
