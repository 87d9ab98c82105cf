"""`medley study`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medley.cli.app import app
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.experiments.declaration import names

STUDY = """
title = "Small"
seeds = 1
candidates = ["all", "sampled-20"]

[common]
dim = 8
num_epochs = 2

[[entries]]
model = "popularity"

[[entries]]
model = "mf"
label = "MF"
"""


def medley(*words: str) -> str:
    result = CliRunner().invoke(app, ["study", *words], catch_exceptions=False, env={"COLUMNS": "200"})
    if result.exception:
        raise result.exception
    return result.stdout


def test_the_list_names_every_study():
    documents = json.loads(medley("list", "--json"))
    assert [one["name"] for one in documents] == names() and all(one["title"] for one in documents)
    assert "MMGCN, Table 4; LUDP, Table 5; EgoGCN, Fig. 4" in medley("list")


def test_a_users_own_study_runs_writes_and_trains_nothing_the_second_time(simulated: Dataset, tmp_path: Path):
    (tmp_path / "small.toml").write_text(STUDY)
    words = (str(tmp_path / "small.toml"), str(simulated.folder), "--out", str(tmp_path / "out"), "--jobs", "0")
    first = json.loads(medley(*words, "--json"))
    assert (first["num_trained"], first["num_found"], first["skipped"]) == (2, 0, {})
    assert [(one["label"], one["candidates"]) for one in first["entries"]] == [
        (label, candidates) for candidates in ("all", "sampled-20") for label in ("popularity", "MF")
    ]
    assert (tmp_path / "out/results.json").exists() and (tmp_path / "out/per_user.parquet").exists()
    assert len(list((tmp_path / "runs").glob("*/*/run.json"))) == 2
    printed = medley(*words)
    assert "0 runs trained, 0 evaluated, 2 were there" in printed
    assert "Do the conclusions about recall@20 agree?" in printed
    for one in first["entries"]:
        assert f"{one['metrics']['recall@20']['mean']:.4f}" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["comparison"], "NAME DATASET --out DIR"),
        (["list", "somewhere"], "expected none"),
        (["nothing"], "comparison, .*or a .toml or .py file, got 'nothing'"),
    ],
)
def test_wrong_arguments_are_refused(words: list[str], message: str):
    with pytest.raises(InputError, match=message):
        medley(*words)
