"""Runs the examples of docs/evaluation.md, docs/simulator.md and of the interface's own docstring."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import medley
from medley import api
from medley.cli import main

DOCS = Path(__file__).parents[2] / "docs"
SMALL = ["--set", "num_users=60", "--set", "num_items=90", "--set", "num_interactions=900"]


def python_of(text: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))


def test_the_python_lines_of_evaluation_run_as_they_stand(simulated, tmp_path):
    quick = {"num_epochs": 1, "progress": False}
    run = medley.train("mf", simulated, out=tmp_path / "mf", dim=4, **quick)
    baseline = medley.train("popularity", simulated, out=tmp_path / "popularity", progress=False)
    medley.evaluate(baseline)
    names = {"medley": medley, "data": simulated, "run": run, "baseline": baseline, "model": run.model(simulated)}
    exec(python_of((DOCS / "evaluation.md").read_text(encoding="utf-8")), names)
    assert names["row"].comparison.num_pairs == names["evaluation"].num_users


def test_the_python_lines_and_commands_of_the_simulator_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "simulator.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(python_of(text), names)
    assert names["truth"].user_weights.shape == (2000, 3)
    commands = re.findall(r"^    (medley .*)$", text, re.M)
    assert len(commands) == 2
    for command in commands:
        monkeypatch.setattr(sys, "argv", [*shlex.split(command), *SMALL])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code


def test_the_lines_in_the_docstring_of_the_interface_run(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = api.__doc__.partition("\n\n")[2]
    lines = lines.replace('"data/mine"', repr(str(simulated.folder))).replace('"42"', repr(simulated.users.raw_id(3)))
    exec(lines.replace("num_epochs=100", "num_epochs=1"), {})
    assert (tmp_path / "runs/mmgcn/test.json").exists()
