"""Follows docs/add-a-model.md: a model in another package is listed, trained, evaluated and served."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/add-a-model.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The files of the page."""
    root = tmp_path_factory.mktemp("package")
    files = re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert [name for name, _ in files] == [
        "pyproject.toml",
        "medley_content/content_mf.py",
        "tests/test_content_mf.py",
    ]
    for name, text in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "medley_content/__init__.py").touch()
    return root


@pytest.fixture(scope="module")
def environment(package, tmp_path_factory) -> dict[str, str]:
    """An environment that has the package installed: as pip installs it, into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(package)], check=True)
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def commands() -> list[str]:
    """The commands of the page, without its installation."""
    text = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    first, *others = block.splitlines()
    assert first == "pip install -e ."
    return others


def test_the_commands_of_the_page_work(package, environment, simulated, tmp_path):
    run = [sys.executable, "-c", "from medley.cli import main; main()"]
    shown = {}
    for command in commands():
        words = command.replace("DATASET", str(simulated.folder)).replace("USER", simulated.users.raw_id(3)).split()
        if words[0] == "pytest":
            words, folder = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], package
        else:
            assert words[0] == "medley"
            quick = ["--set", "num_epochs=2"] if words[1] == "train" else []
            words, folder = [*run, *words[1:], *quick], tmp_path
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        shown[command] = done.stdout
    assert "A model of this page" in shown["medley models content-mf"]
    record = json.loads((tmp_path / "runs/content/run.json").read_text())
    assert record["recipe"]["model"] == "content-mf" and record["recipe"]["options"]["dim"] == 16
    recommended = next(text for command, text in shown.items() if "recommend" in command)
    assert all(part in recommended for part in ("id", "visual", "acoustic", "textual"))
    listed = subprocess.run([*run, "models", "--json"], env=environment, capture_output=True, text=True, check=True)
    assert "content-mf" in {model["name"] for model in json.loads(listed.stdout)["models"]}


def test_the_import_path_works_without_an_entry_point(package, simulated, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    run = [sys.executable, "-c", "from medley.cli import main; main()"]
    path = "medley_content.content_mf:ContentMF"
    words = ["train", path, str(simulated.folder), "--out", "run", "--set", "num_epochs=1", "--json"]
    done = subprocess.run([*run, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == path
    without = subprocess.run([*run, "evaluate", "run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert without.returncode == 2 and "is the package installed" in without.stderr
