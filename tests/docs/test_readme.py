"""Runs the Python lines and the commands of README.md."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cli import running

import medley
from medley.client import Client
from medley.experiments.demo import CATALOGUE, COMMON, TRAINING

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PYTHON = re.search(r"^```python\n(.*?)^```", README, re.M | re.S)[1]
COMMANDS = [line.strip().partition("  #")[0].strip() for line in README.splitlines() if line.startswith("    medley ")]
QUICK = {"train": ["--set", "num_epochs=2"], "tune": ["--set", "num_epochs=2"]}
SHORT = {"--time 10m": "--trials 2 --finalists 1 --seeds 1"}
NUM_PICTURES = 12


def write_tables(data: medley.Dataset, folder: Path, clicks: str) -> None:
    """A click log, items.csv and an array per modality, as a newcomer has them."""
    folder.mkdir(parents=True, exist_ok=True)
    user, item = (ids.raw.gather(data.log[name]) for name, ids in (("user", data.users), ("item", data.items)))
    log = {"user_id": user, "item_id": item, "timestamp": data.log["timestamp"], "split": data.log["split"]}
    pl.DataFrame(log).write_csv(folder / clicks)
    data.item_table.write_csv(folder / "items.csv")
    for name, features in data.features.items():
        np.save(folder / f"{name}.npy", features.values)


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def write_pictures(data: medley.Dataset, folder: Path) -> None:
    """Pictures of some items, named after their ids."""
    image = pytest.importorskip("PIL.Image", reason="the extra media is not installed")
    folder.mkdir()
    rng = np.random.default_rng(0)
    for raw_id in data.items.raw.head(NUM_PICTURES):
        image.fromarray(rng.integers(255, size=(48, 64, 3), dtype=np.uint8)).save(folder / f"{raw_id}.png")


def serves(call: list[str], folder: Path) -> None:
    """Starts a server on a free port, asks it for its model, and stops it."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    with subprocess.Popen([*call, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split(" at ")[1].strip()
            with Client(address, timeout=60) as client:
                deadline = time.monotonic() + 60
                while not client.is_ready() and time.monotonic() < deadline:
                    time.sleep(0.1)
                assert client.model().model == "mosaic"
        finally:
            server.terminate()
            assert server.wait(30) in (0, -signal.SIGTERM)


def test_the_python_lines_run_as_they_stand_and_are_as_good_as_a_tuned_model(tmp_path):
    """On the data of the demo, whose users the lines name; the demo chose the settings of MMGCN among nine points."""
    pytest.importorskip("pandas")
    data = medley.simulate(tmp_path / "data", settings=medley.preset("demo", **CATALOGUE), seed=0)
    write_tables(data, tmp_path, "clicks.csv")
    shown = run([sys.executable, "-c", PYTHON + "print('best', run.record.best)"], tmp_path)
    assert "recall@20" in shown and shown.count("'visual'") >= 5
    recipe = medley.Recipe.of({"model": "mmgcn", **COMMON, **TRAINING["mmgcn"]})
    demo = medley.train(recipe, data, progress=False)
    assert float(shown.split("best ")[1]) > 0.9 * demo.record.best


def test_the_commands_run_as_they_stand_one_after_another(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tables(simulated, tmp_path / "path/to/log", "interactions.csv")
    assert len(COMMANDS) >= 8
    write_pictures(simulated, tmp_path / "files")
    replaced = {"--user 42": f"--user {simulated.users.raw_id(3)}", **SHORT}
    for command in COMMANDS:
        for ours, short in replaced.items():
            command = command.replace(ours, short)
        words = shlex.split(command)
        quick = [] if "--refit" in words else QUICK.get(words[1], [])
        if words[1] == "serve":
            serves([sys.executable, "-c", "from medley.cli import main; main()", *words[1:]], tmp_path)
            continue
        called = running.medley(*words[1:], *quick)
        assert called.returncode == 0, f"{command}: {called.stderr}"
    assert (tmp_path / "runs/mosaic/test.json").exists()
    modalities = medley.load(tmp_path / "data/mine").manifest.modalities
    assert modalities["photos"].num_present == NUM_PICTURES and "words" in modalities
