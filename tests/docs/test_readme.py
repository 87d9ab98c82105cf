"""Runs the Python lines and the commands of README.md."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import medley
from medley.experiments.demo import CATALOGUE, COMMON, TRAINING

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PYTHON = re.search(r"^```python\n(.*?)^```", README, re.M | re.S)[1]
COMMANDS = [line.strip().partition("  #")[0].strip() for line in README.splitlines() if line.startswith("    medley ")]
QUICK = {"train": ["--set", "num_epochs=2"]}


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


def test_the_python_lines_run_as_they_stand_and_are_as_good_as_the_demo(tmp_path):
    """On the data of the demo, whose users the lines name; the demo chose its settings among nine points."""
    pytest.importorskip("pandas")
    data = medley.simulate(tmp_path / "data", settings=medley.preset("demo", **CATALOGUE), seed=0)
    write_tables(data, tmp_path, "clicks.csv")
    shown = run([sys.executable, "-c", PYTHON + "print('best', run.record.best)"], tmp_path)
    assert "recall@20" in shown and shown.count("'visual'") >= 5
    recipe = medley.Recipe.of({"model": "mmgcn", **COMMON, **TRAINING["mmgcn"]})
    demo = medley.train(recipe, data, progress=False)
    assert float(shown.split("best ")[1]) > 0.9 * demo.record.best


def test_the_commands_run_as_they_stand_one_after_another(simulated, tmp_path):
    write_tables(simulated, tmp_path / "path/to/log", "interactions.csv")
    assert len(COMMANDS) >= 8
    known = simulated.users.raw_id(3)
    for command in COMMANDS:
        words = shlex.split(command.replace("--user 42", f"--user {known}"))
        quick = QUICK.get(words[1], [])
        run([sys.executable, "-c", "from medley.cli import main; main()", *words[1:], *quick], tmp_path)
    assert (tmp_path / "runs/mmgcn/test.json").exists()
