"""`medley study`."""

import json
from pathlib import Path

import pytest
from tests.cli import running

from medley.data.dataset import Dataset
from medley.experiments import running as studies
from medley.experiments.declaration import names
from medley.runs import Run

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


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def medley(*words: object) -> str:
    return running.printed("study", *words)


def test_the_list_names_every_study():
    documents = json.loads(medley("list", "--json"))
    assert [one["name"] for one in documents] == names() and all(one["title"] for one in documents)
    assert "MMGCN, Table 4; LUDP, Table 5; EgoGCN, Fig. 4" in medley("list")


def test_a_users_own_study_runs_writes_and_trains_nothing_the_second_time(simulated: Dataset, tmp_path: Path):
    (tmp_path / "small.toml").write_text(STUDY)
    words = (tmp_path / "small.toml", simulated.folder, "--out", tmp_path / "out", "--jobs", 0)
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


def test_a_quick_study_trains_two_epochs_under_the_seeds_and_in_the_folder_that_are_asked(
    simulated: Dataset, tmp_path: Path
):
    (tmp_path / "small.toml").write_text('title = "Small"\n[[entries]]\nmodel = "mf"\n')
    words = (tmp_path / "small.toml", simulated.folder, "--out", tmp_path / "out", "--jobs", 0, "--json")
    medley(*words, "--quick", "--seeds", 3, "--runs", tmp_path / "shared")
    runs = [Run(path.parent) for path in (tmp_path / "shared").glob("*/*/run.json")]
    assert sorted(run.record.recipe.seed for run in runs) == [0, 1, 2]
    assert {(len(run.history.epochs), run.record.recipe.options["dim"]) for run in runs} == {(2, 8)}
    assert not (tmp_path / "runs").exists()


def test_processes_get_the_threads_and_the_memory_that_are_asked(simulated: Dataset, tmp_path: Path, monkeypatch):
    (tmp_path / "small.toml").write_text(STUDY)
    asked = []

    def noted(*arguments: object, resources: studies.Resources, **options: object):
        asked.append(resources)
        return run_study(*arguments, resources=studies.Resources(jobs=0), **options)

    run_study = studies.run_study
    monkeypatch.setattr(studies, "run_study", noted)
    words = (tmp_path / "small.toml", simulated.folder, "--out", tmp_path / "out")
    medley(*words, "--jobs", 2, "--threads", 3, "--memory", 1.5)
    assert asked == [studies.Resources(jobs=2, threads=3, memory_gb=1.5)]


def test_published_scores_stand_beside_ours_where_asked(simulated: Dataset, tmp_path: Path):
    (tmp_path / "small.toml").write_text(STUDY.replace('"mf"', '"mmgcn"'))
    words = (tmp_path / "small.toml", simulated.folder, "--out", tmp_path / "out", "--jobs", 0)
    assert "0.3996" not in medley(*words)  # recall@10 in the paper of MMGCN
    assert "0.3996" in medley(*words, "--published", "kwai")
    refused = running.printed("study", *words, "--published", "kwei", exit_code=2)
    assert "expected auto or none or kwai" in refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["comparison"], "NAME DATASET --out DIR"),
        (["list", "somewhere"], "expected none"),
        (["nothing"], "or a .toml or .py file, got 'nothing'"),
    ],
)
def test_wrong_arguments_are_refused(words: list[str], message: str):
    assert message in running.printed("study", *words, exit_code=2)
