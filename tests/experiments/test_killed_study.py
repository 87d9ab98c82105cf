"""A study that is killed goes on where it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from medley.data.dataset import Dataset
from medley.experiments.running import run_study
from medley.experiments.scheduler import Resources
from medley.experiments.watch import Watch
from medley.files import read_json

STUDY = """
title = "Two models"
at = [5, 20]
seeds = 2

[common]
dim = 16
num_epochs = 40
patience = 0
batch_size = 64

[[entries]]
model = "mf"
label = "MF"
grid = { lr = [0.01, 0.02] }

[[entries]]
model = "vbpr"
label = "VBPR"

[[variants]]
of = ["VBPR"]
over = "modalities"
"""

DRIVER = """
import sys
from medley.data.dataset import Dataset
from medley.experiments.scheduler import Resources
from medley.experiments.running import run_study
if __name__ == "__main__":
    study, data, out, jobs = sys.argv[1:]
    run_study(study, Dataset(data), out=out, resources=Resources(jobs=int(jobs), threads=1))
"""


def finished_in(folder: Path) -> dict[Path, int]:
    """Weights of finished runs -> when they were written."""
    records = [path for path in folder.glob("*/*/run.json") if read_json(path, remedy="")["status"] == "finished"]
    weights = [path.with_name("weights.safetensors") for path in records]
    return {path: path.stat().st_mtime_ns for path in weights}


def children_of(process: int) -> list[int]:
    """Processes that a process has started (Linux)."""
    return [pid for pid, (_, parent) in _processes().items() if parent == process]


def are_alive(pids: list[int]) -> bool:
    return any(pid in pids and state != "Z" for pid, (state, _) in _processes().items())


def _processes() -> dict[int, tuple[str, int]]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has just ended
            continue
        found[int(path.parent.name)] = state, int(parent)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes of a study")
@pytest.mark.parametrize("jobs", [0, 2])
def test_a_study_that_is_killed_at_any_moment_goes_on_and_trains_no_finished_run_again(
    jobs: int, simulated: Dataset, tmp_path: Path
):
    study = tmp_path / "two.toml"
    study.write_text(STUDY)
    (tmp_path / "driver.py").write_text(DRIVER)
    here = Resources(jobs=0, threads=1)
    whole = run_study(study, simulated, out=tmp_path / "whole/out", resources=here)
    out, runs = tmp_path / "killed/out", tmp_path / "killed/runs"
    command = [sys.executable, str(tmp_path / "driver.py"), str(study), str(simulated.folder), str(out), str(jobs)]
    generator = np.random.default_rng(jobs)
    finished: dict[Path, int] = {}
    for wanted in (1, 5):
        process = subprocess.Popen(command)
        while process.poll() is None and len(finished_in(runs)) < wanted:
            time.sleep(0.01)
        time.sleep(generator.random() * 0.2)
        children = children_of(process.pid)
        assert len(children) >= jobs
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        while are_alive(
            children
        ):  # the processes of the study end by themselves; else this test runs into its time limit
            time.sleep(0.01)
        assert finished.items() <= finished_in(runs).items()  # nothing that was there was written again
        finished = finished_in(runs)
        assert len(finished) >= wanted and not (out / "results.json").exists()
    watch = Watch()
    resumed = run_study(study, simulated, out=out, resources=here, watch=watch)
    assert finished.items() <= finished_in(runs).items()
    assert watch.num_trained == len(finished_in(runs)) - len(finished) > 0
    assert len(resumed.entries) == len(whole.entries) == 1 + 1 + 6
    for one, two in zip(whole.entries, resumed.entries, strict=True):
        assert one.chosen == two.chosen and one.best_epochs == two.best_epochs and one.curves == two.curves
        for metric, values in one.per_user.items():
            assert np.array_equal(values, two.per_user[metric], equal_nan=True)
        for a, b in zip(one.runs, two.runs, strict=True):
            weights = [
                tmp_path / f"{name}/runs/{run}/weights.safetensors" for name, run in (("whole", a), ("killed", b))
            ]
            assert weights[0].read_bytes() == weights[1].read_bytes()
