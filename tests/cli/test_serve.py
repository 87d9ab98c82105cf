"""medley serve and medley log: keys, refusals, the way of feedback back into training."""

import json

import polars as pl
import pytest
from tests.cli.test_commands import medley

from medley.serving.http.auth import Keys
from medley.serving.store import Event, Store


def test_a_new_key_is_printed_once_and_its_hash_is_kept(tmp_path):
    keys = tmp_path / "keys.json"
    first = medley("serve", "--keys", keys, "--new-key", "read").stdout.strip()
    second = medley("serve", "--keys", keys, "--new-key", "admin").stdout.strip()
    held = Keys(keys)
    assert (held.caller(first).role, held.caller(second).role) == ("read", "admin")
    assert first not in keys.read_text()


def test_a_new_key_needs_a_file(tmp_path):
    assert "--keys FILE" in medley("serve", "--new-key", "read", ok=False).stderr


def test_mistakes_are_one_sentence(tmp_path):
    assert "medley export RUN" in medley("serve", ok=False).stderr
    refused = medley("serve", tmp_path, "--host", "0.0.0.0", ok=False)
    assert refused.returncode == 2 and "--new-key ROLE" in refused.stderr
    assert (
        "setting 'rate' of the server: expected more than 0"
        in medley("serve", tmp_path, "--rate", "0", ok=False).stderr
    )
    absent = medley("serve", tmp_path, "--keys", tmp_path / "absent.json", ok=False)
    assert "the file does not exist" in absent.stderr


@pytest.fixture
def bundle(tmp_path):
    """A path of a bundle with the store that a server left beside it."""
    path = tmp_path / "shop.medley"
    with Store(tmp_path / "shop.medley.store") as store:
        events = [
            Event(f"e{n}", f"u{n % 7}", f"i{n % 5}", "skip" if n % 9 == 0 else "click", 1e9 + n) for n in range(60)
        ]
        store.add_feedback(events)
    return path


def test_the_log_becomes_the_next_data_set(bundle, tmp_path):
    table, data = tmp_path / "log.parquet", tmp_path / "data"
    done = json.loads(medley("log", "export", bundle, "--out", table, "--json").stdout)
    assert done["num_events"] == 60 and done["negative"] == ["skip"]
    assert pl.read_parquet(table).columns == ["user", "item", "type", "timestamp"]
    said = medley("log", "export", bundle, "-o", table, "--overwrite").stdout
    command = said.partition("medley ")[2].replace("DIR", str(data)).split()
    medley(*command)
    manifest = json.loads((data / "manifest.json").read_text())
    assert manifest["num_users"] == 7 and manifest["num_items"] == 5
    clicked = {(n % 7, n % 5) for n in range(60) if n % 9}
    assert sum(manifest["num_interactions"].values()) == len(clicked) == 34 < len({(n % 7, n % 5) for n in range(60)})


def test_the_file_of_the_store_may_be_named_itself_and_nothing_is_overwritten(bundle, tmp_path):
    store, table = tmp_path / "shop.medley.store", tmp_path / "log.csv"
    medley("log", "export", store, "-o", table)
    assert len(pl.read_csv(table)) == 60
    again = medley("log", "export", store, "-o", table, ok=False)
    assert "--overwrite" in again.stderr
    assert (
        "serve the bundle first"
        in medley("log", "export", tmp_path / "nix", "-o", table, "--overwrite", ok=False).stderr
    )
