"""Runs what README.md shows: its Python lines and its commands, on a small data set."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PYTHON = re.search(r"^```python\n(.*?)^```", README, re.M | re.S)[1]
COMMANDS = [line.strip().partition("  #")[0].strip() for line in README.splitlines() if line.startswith("    medley ")]
QUICK = {"train": ["--set", "num_epochs=2"]}


@pytest.fixture(scope="module")
def folder(simulated, tmp_path_factory) -> Path:
    """clicks.csv, items.csv and visual.npy, as a newcomer has them."""
    root = tmp_path_factory.mktemp("readme")
    user, item = (
        ids.raw.gather(simulated.log[name]) for name, ids in (("user", simulated.users), ("item", simulated.items))
    )
    clicks = pl.DataFrame({"user_id": user, "item_id": item, "timestamp": simulated.log["timestamp"]})
    clicks.write_csv(root / "clicks.csv")
    simulated.item_table.write_csv(root / "items.csv")
    np.save(root / "visual.npy", simulated.features["visual"].values)
    log = root / "path/to/log"
    log.mkdir(parents=True)
    clicks.write_csv(log / "interactions.csv")
    simulated.item_table.write_csv(log / "items.csv")
    np.save(log / "visual.npy", simulated.features["visual"].values)
    return root


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_python_lines_run_as_they_stand(folder, simulated):
    pytest.importorskip("pandas")
    known = simulated.users.raw_id(3)
    assert "u00042" in PYTHON
    shown = run(
        [sys.executable, "-c", PYTHON.replace("u00042", known).replace("num_epochs=100", "num_epochs=3")], folder
    )
    assert "recall@20" in shown and shown.count("visual") >= 5


def test_the_commands_run_as_they_stand_one_after_another(folder, simulated):
    assert len(COMMANDS) >= 8
    known = simulated.users.raw_id(3)
    for command in COMMANDS:
        words = shlex.split(command.replace("--user 42", f"--user {known}"))
        quick = QUICK.get(words[1], [])
        run([sys.executable, "-c", "from medley.cli import main; main()", *words[1:], *quick], folder)
    assert (folder / "runs/mmgcn/test.json").exists()
