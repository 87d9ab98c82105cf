"""The studies that Medley ships run on any data set, and say what does not apply."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medley.data.dataset import Dataset
from medley.data.writer import DatasetWriter
from medley.experiments import declaration
from medley.experiments.declaration import Declaration
from medley.experiments.results import Results, document_of
from medley.experiments.running import run_study
from medley.experiments.scheduler import Resources

HERE = Resources(jobs=0, threads=1)


@pytest.fixture(scope="module")
def shared_runs(tmp_path_factory) -> Path:
    """One store for all shipped studies, as users have it."""
    return tmp_path_factory.mktemp("studies") / "runs"


@pytest.mark.parametrize("name", declaration.names())
def test_every_shipped_study_runs_quickly_on_any_data_set(name: str, simulated: Dataset, shared_runs: Path, tmp_path):
    results = run_study(name, simulated, out=tmp_path, runs=shared_runs, quick=True, seeds=1, resources=HERE)
    declared = declaration.load(name)
    entries, left_out = declared.expand(list(simulated.manifest.modalities))
    assert not left_out
    conditions = len(results.conditions())
    assert conditions == len(declared.splits) * len(declared.candidates)
    capacity = [label for label in results.skipped if "parameters of" in label]  # eight dimensions are too coarse
    assert set(results.skipped) == set(capacity)
    assert len(results.entries) == (len(entries) - len(capacity)) * conditions
    assert all(0 <= one.metrics[declared.metric].mean <= 1 for one in results.entries)
    assert len({one.fingerprint for one in results.entries}) == conditions
    written = [json.dumps(document_of(one)) for one in results.entries]
    assert [json.dumps(document_of(one)) for one in Results.load(tmp_path).entries] == written


@pytest.mark.parametrize("modalities", [[], ["textual"]])
def test_a_study_says_what_does_not_apply_to_data_without_the_modalities(
    modalities: list[str], simulated: Dataset, tmp_path: Path
):
    with DatasetWriter(tmp_path / "data", name="poor") as writer:
        users = pl.read_parquet(simulated.folder / "users.parquet")
        writer.write_tables(users, simulated.item_table, simulated.log.drop("timestamp"))
        for m in modalities:
            writer.write_features(m, np.asarray(simulated.features[m].values), simulated.features[m].present)
        writer.finish(provenance={})
    study = Declaration(
        title="Poor data",
        splits=["given", "time"],
        candidates=["all", "sampled-1000"],
        seeds=1,
        common={"num_epochs": 1, "dim": 8},
        entries=[{"model": "mf", "label": "MF"}, {"model": "mmgcn", "label": "MMGCN"}],
        variants=[
            {"of": ["MMGCN"], "over": "modalities"},
            {"of": ["MMGCN"], "label": "seen alone", "options": {"modalities": ["visual"]}},
            {"of": ["MMGCN"], "over": "controls"},
        ],
    )
    results = run_study(study, Dataset(tmp_path / "data"), out=tmp_path / "out", resources=HERE)
    labels = [one.label for one in results.entries]
    assert "a time for every interaction" in results.skipped["time split"]
    assert "all of them would be drawn" in results.skipped["sampled-1000"]
    assert "no visual features" in results.skipped["MMGCN: seen alone"]
    if modalities:
        assert labels == ["MF", "MMGCN", *(f"MMGCN: {c} features" for c in ("random", "constant", "shuffled"))]
        assert "textual alone" in results.skipped["MMGCN: modalities"]
    else:
        assert labels == ["MF"] and "MMGCN" in results.skipped
        assert "no features" in results.skipped["MMGCN: modalities"]
        assert "no features" in results.skipped["MMGCN: controls"]
