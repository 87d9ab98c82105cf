"""Options of `medley train`, `medley simulate` and `medley similar` have their effects."""

import json
import shutil

import pytest
from tests.cli.running import medley, printed

from medley import api
from medley.runs import Run
from medley.training.track import TENSORBOARD

SHORT = ("-s", "dim=4", "-s", "patience=0")


def test_a_run_is_resumed_to_more_epochs(simulated, tmp_path):
    command = ["train", "mf", simulated.folder, "--out", tmp_path / "run", *SHORT]
    printed(*command, "-s", "num_epochs=1")
    first = Run(tmp_path / "run").history.epochs
    printed(*command, "-s", "num_epochs=2", "--resume")
    both = Run(tmp_path / "run").history.epochs
    assert len(first) == 1 and len(both) == 2 and both[0] == first[0]


def test_the_device_is_the_chosen_one(simulated, tmp_path):
    command = ["train", "mf", simulated.folder, *SHORT, "-s", "num_epochs=1"]
    printed(*command, "--out", tmp_path / "run", "--device", "cpu")
    assert Run(tmp_path / "run").record.recipe.settings.device == "cpu"
    assert "gpu9" in printed(*command, "--out", tmp_path / "other", "--device", "gpu9", exit_code=2)


def test_a_tracker_writes_beside_the_run(simulated, tmp_path):
    pytest.importorskip("tensorboard")
    command = ["train", "mf", simulated.folder, *SHORT, "-s", "num_epochs=1"]
    printed(*command, "--out", tmp_path / "run", "--track", "tensorboard")
    assert list((tmp_path / "run" / TENSORBOARD).glob("*tfevents*"))


def test_the_seed_decides_what_is_simulated_and_overwrite_replaces_it(tmp_path):
    command = ["simulate", "demo", "--out", tmp_path / "data", "-s", "num_users=30", "-s", "num_interactions=250"]
    hashes = []
    for seed in (0, 1, 0):
        printed(*command, "--seed", seed, "--overwrite")
        hashes.append(api.load(tmp_path / "data").manifest.content_hash)
    assert hashes[0] == hashes[2] != hashes[1]
    assert medley(*command).returncode == 2


def test_similar_items_come_from_a_moved_data_set(simulated, tmp_path):
    api.train(
        "mf",
        api.load(shutil.copytree(simulated.folder, tmp_path / "data")),
        out=tmp_path / "run",
        dim=4,
        num_epochs=1,
        progress=False,
    )
    (tmp_path / "data").rename(tmp_path / "moved")
    asked = ("similar", tmp_path / "run", "--item", simulated.items.raw_id(3), "--json")
    assert "--dataset" in printed(*asked, exit_code=2)
    assert len(json.loads(printed(*asked, "--dataset", tmp_path / "moved"))["items"]) == 10
