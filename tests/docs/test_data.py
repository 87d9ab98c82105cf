"""Runs the Python lines of docs/data.md, on a folder such as the page describes."""

import re
from pathlib import Path

import polars as pl
import pytest

from medley.data import sources
from medley.data.sources.reading import ReadOptions

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
FORMATS = re.findall(r"^### (.*):", PAGE, re.M)


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch) -> dict:
    """All blocks of the page, run one after another beside a folder `shop`."""
    for package in ("pandas", "pyarrow"):
        pytest.importorskip(package)
    (tmp_path / "shop").mkdir()
    pairs = [(user, item) for user in range(8) for item in range(8)]
    frame = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").with_row_index("timestamp")
    frame.write_csv(tmp_path / "shop/interactions.csv")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in PYTHON:
        exec(block, names)
    return names


def test_the_python_lines_run_as_they_stand(namespace: dict):
    data = namespace["dataset"]
    assert len(PYTHON) >= 5
    assert set(data.manifest.parts) == {"log", "users", "items", *(f"features/{m}" for m in data.features)}
    assert list(data.features) == ["visual", "acoustic", "textual"]
    assert data.features["acoustic"].present.tolist() == [True, False, True]


def test_the_reader_of_the_page_reads_its_example(namespace: dict, tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text(re.search(r"\{\"user\".*\}", PAGE)[0] + "\n")
    log = namespace["read_shop"](path, ReadOptions()).interactions
    assert log.select("user_id", "item_id", "rating", "line").rows() == [("ann", "b17", 5.0, 1)]


def test_every_format_has_a_section():
    assert set(re.findall(r"`(\w+)`", " ".join(FORMATS))) == set(sources.SOURCES)
