"""Studies on a small data set: settings chosen on validation, nothing trained twice, no leak from test."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medley import api
from medley.data.dataset import Dataset
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.experiments.declaration import Declaration
from medley.experiments.results import Result, Results, document_of
from medley.experiments.running import run_study
from medley.experiments.scheduler import Resources
from medley.experiments.store import Protocol
from medley.experiments.study import Entry, Study
from medley.experiments.watch import Watch
from medley.report.study_results import Condition
from medley.report.study_tables import result_tables
from medley.runs import Run
from medley.training.device import machine

SHORT = {"dim": 8, "num_epochs": 10, "batch_size": 256, "metric": "recall@20"}
HERE = Resources(jobs=0, threads=1)
MF = Entry("mf", "MF", SHORT, {"lr": (1e-12, 0.05)})
FREE = Entry("mf", "MF: free", {"reg": 0.0}, variant_of="MF")


def documents(results: list[Result]) -> list[str]:
    """The results as they are written, in which one missing number equals another."""
    return [json.dumps(document_of(one)) for one in results]


def weights_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*/weights.safetensors")}


def test_settings_are_chosen_on_validation_and_test_is_scored_once_per_seed(simulated: Dataset, tmp_path: Path):
    watch = Watch()
    study = Study(simulated, tmp_path, seeds=(0, 1), resources=HERE, watch=watch)
    system, variant = study.run([MF, FREE]).results
    assert system.chosen["lr"] == 0.05 and system.num_tried == 2
    assert variant.chosen == {**system.chosen, "reg": 0.0} and variant.num_tried == 0
    assert system.valid.num_values == system.metrics["recall@20"].num_values == 2
    assert system.metrics["recall@20"].std > 0 and system.fingerprint == variant.fingerprint
    assert system.cpu_to_best.mean > 0 and system.cpu_per_epoch > 0 and system.peak_gb > 0.05
    assert len(weights_in(tmp_path)) == 2 + 1 + 2  # two points; the chosen one again; the variant with both seeds
    assert watch.num_trained == 5 and watch.num_evaluated == 1
    for place, seed in enumerate(system.seeds):
        run = Run(tmp_path / system.runs[place])
        assert run.record.recipe.seed == seed and run.record.best_epoch == system.best_epochs[place]
        assert np.array_equal(run.evaluation().per_user["recall@20"], system.per_user["recall@20"][place])


def test_a_result_names_the_machines_that_trained_its_runs(simulated: Dataset, tmp_path: Path):
    entry = Entry("mf", "MF", {**SHORT, "num_epochs": 1})
    study = Study(simulated, tmp_path, seeds=(0, 1, 2), resources=HERE)
    first, second, third = study.run([entry]).results[0].runs
    here = machine()
    for folder, machines in ((second, ["Other, no GPU"]), (third, [here, "Third, a GPU"])):
        document = json.loads((tmp_path / folder / "run.json").read_text())
        assert document["machines"] == [here]
        (tmp_path / folder / "run.json").write_text(json.dumps(document | {"machines": machines}))
    assert study.run([entry]).results[0].machine == f"{here}; Other, no GPU; Third, a GPU"
    document.pop("machines")
    (tmp_path / first / "run.json").write_text(json.dumps(document))
    assert study.run([entry]).results[0].machine.startswith("a machine that was not recorded; Other")


def test_seconds_of_the_processor_are_no_cost_of_a_run_that_a_gpu_trained(simulated: Dataset, tmp_path: Path):
    entry = Entry("mf", "MF", {**SHORT, "num_epochs": 1})
    study = Study(simulated, tmp_path, seeds=(0, 1), resources=HERE)
    before = study.run([entry]).results[0]
    path = tmp_path / before.runs[1] / "run.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"device": "cuda", "versions": document["versions"] | {"torch": "1.0"}}))
    after = study.run([entry]).results[0]
    assert before.cpu_per_epoch > 0 and math.isnan(after.cpu_per_epoch) and math.isnan(after.cpu_to_best.mean)
    assert after.versions["torch"] == f"{before.versions['torch']}; 1.0"
    assert "NaN" not in documents([after])[0] and after.metrics == before.metrics


def test_a_figure_beyond_accuracy_that_one_seed_leaves_undefined_is_left_out(simulated: Dataset, tmp_path: Path):
    entry = Entry("mf", "MF", {**SHORT, "num_epochs": 1})
    study = Study(simulated, tmp_path, seeds=(0, 1), resources=HERE, protocols=(Protocol(beyond=True),))
    (before,) = study.run([entry]).results
    (path,) = (tmp_path / before.runs[1]).glob("evaluations/*.json")
    document = json.loads(path.read_text())
    del document["beyond"]["visual_diversity@20"]
    path.write_text(json.dumps(document))
    (after,) = study.run([entry]).results
    assert before.beyond.keys() - after.beyond.keys() == {"visual_diversity@20"} and "novelty@20" in after.beyond


def test_nothing_is_trained_twice_by_two_studies_on_one_store(simulated: Dataset, tmp_path: Path):
    Study(simulated, tmp_path, seeds=(0, 1), resources=HERE).run([MF])
    before, watch = weights_in(tmp_path), Watch()
    other = Study(simulated, tmp_path, seeds=(0, 1), resources=HERE, watch=watch)
    found = other.run([Entry("mf", "Another name", {**SHORT, "lr": 0.05})]).results
    assert weights_in(tmp_path) == before and (watch.num_trained, watch.num_found) == (0, 2)
    assert found[0].metrics["recall@20"].num_values == 2
    watch = Watch()
    sampled = (Protocol((5,), "sampled-20"),)
    Study(simulated, tmp_path, seeds=(0, 1), resources=HERE, watch=watch, protocols=sampled).run([MF])
    assert weights_in(tmp_path) == before and (watch.num_trained, watch.num_evaluated) == (0, 2)


def test_processes_give_the_bits_of_one_process(simulated: Dataset, tmp_path: Path):
    entries = [Entry("mf", "MF", SHORT), Entry("vbpr", "VBPR", SHORT), Entry("popularity", "Popularity", {})]
    here = Study(simulated, tmp_path / "here", seeds=(0, 1), resources=HERE).run(entries).results
    resources = Resources(jobs=2, threads=1, memory_gb=4.0)
    there = Study(simulated, tmp_path / "there", seeds=(0, 1), resources=resources).run(entries).results
    for one, two in zip(here, there, strict=True):
        assert document_of(one)["metrics"] == document_of(two)["metrics"]
        assert one.best_epochs == two.best_epochs and one.runs == two.runs
        for folder in one.runs:
            name = Path(folder) / "weights.safetensors"
            assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_a_variant_of_nothing_is_refused(simulated: Dataset, tmp_path: Path):
    with pytest.raises(InputError, match="a variant of 'LightGCN'"):
        Study(simulated, tmp_path).run([Entry("mf", "MF", SHORT, {}, variant_of="LightGCN")])


def test_settings_are_not_chosen_without_a_validation_split(simulated: Dataset, tmp_path: Path):
    data = relabelled(simulated, tmp_path / "data", lambda split: np.where(split == "valid", "train", split))
    with pytest.raises(InputError, match=r"validation interactions, got none.*test never chooses"):
        Study(data, tmp_path / "runs", resources=HERE).run([MF])


def test_a_diverging_entry_is_named_and_the_others_are_measured(simulated: Dataset, tmp_path: Path):
    wild = Entry("mf", "Wild", {**SHORT, "lr": 1e38, "reg": 1e38})
    watch = Watch()
    found = Study(simulated, tmp_path, seeds=(0,), resources=HERE, watch=watch).run([wild, Entry("mf", "MF", SHORT)])
    assert [one.label for one in found.results] == ["MF"] and "diverged" in found.skipped["Wild"]
    again = Watch()
    Study(simulated, tmp_path, seeds=(0,), resources=HERE, watch=again).run([wild])
    assert again.num_trained == 0  # that it diverges is known


def test_a_search_takes_the_place_of_a_grid_and_is_not_repeated(simulated: Dataset, tmp_path: Path):
    pytest.importorskip("optuna")
    options = {**SHORT, "num_epochs": 3}
    entries = [Entry("mf", "MF, tuned", options, trials=3), Entry("mf", "Free", {"reg": 0.0}, variant_of="MF, tuned")]
    tuned, free = Study(simulated, tmp_path, seeds=(0, 1), resources=HERE).run(entries).results
    assert tuned.num_tried == 3 and tuned.chosen.items() >= options.items() and len(tuned.seeds) == 2
    assert free.chosen == {**tuned.chosen, "reg": 0.0}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
    watch = Watch()
    again = Study(simulated, tmp_path, seeds=(0, 1), resources=HERE, watch=watch).run(entries).results
    assert documents(again) == documents([tuned, free]) and watch.num_trained == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")} == before


def test_a_search_of_fewer_points_than_trials_tells_how_many_were_tried(simulated: Dataset, tmp_path: Path):
    pytest.importorskip("optuna")
    entries = [Entry("popularity", "Popularity, tuned", {}, trials=50)]
    (found,) = Study(simulated, tmp_path, seeds=(0,), resources=HERE).run(entries).results
    assert found.num_tried == 2  # recency 1 and auto


def test_ctrl_c_in_a_search_ends_the_study_which_goes_on_with_the_search(
    simulated: Dataset, tmp_path: Path, monkeypatch
):
    pytest.importorskip("optuna")
    entries = [Entry("mf", "MF, tuned", {**SHORT, "num_epochs": 2}, trials=3)]
    told = []

    class Impatient(Watch):
        def note(self, line: str) -> None:
            told.append(line)
            if len(told) == 2:
                raise KeyboardInterrupt

    watch = Impatient()
    with pytest.raises(KeyboardInterrupt):
        Study(simulated, tmp_path, seeds=(0,), resources=HERE, watch=watch).run(entries)
    assert len(told) == 2 and watch.num_trained == 0
    (tuned,) = Study(simulated, tmp_path, seeds=(0,), resources=HERE).run(entries).results
    assert tuned.num_tried == 3


def test_an_entry_to_tune_that_does_not_fit_the_data_is_named_and_the_others_are_measured(
    simulated: Dataset, tmp_path: Path
):
    pytest.importorskip("optuna")
    smell = Entry("vbpr", "Smell", {**SHORT, "modalities": ["smell"]}, trials=2)
    found = Study(simulated, tmp_path, seeds=(0,), resources=HERE).run([smell, Entry("popularity", "Popularity", {})])
    assert [one.label for one in found.results] == ["Popularity"] and "smell" in found.skipped["Smell"]


def relabelled(data: Dataset, out: Path, change) -> Dataset:
    """Copies a data set with other split labels."""
    log = data.log.with_columns(pl.Series("split", change(data.log["split"].to_numpy()).tolist()))
    with DatasetWriter(out, name="relabelled") as writer:
        writer.write_tables(pl.read_parquet(data.folder / "users.parquet"), data.item_table, log)
        for m, features in data.features.items():
            writer.write_features(m, np.asarray(features.values), features.present)
        writer.finish(provenance={})
    return Dataset(out)


def test_shuffled_test_labels_change_no_chosen_setting_epoch_or_weight(simulated: Dataset, tmp_path: Path):
    log = simulated.log
    is_test = (log["split"] == "test").to_numpy()
    item = log["item"].to_numpy().copy()
    pairs = set(zip(log["user"].to_list(), log["item"].to_list(), strict=True))
    generator = np.random.default_rng(0)
    for row in np.flatnonzero(is_test):  # another item, which the user has in no split
        free = [i for i in range(simulated.manifest.num_items) if (int(log["user"][int(row)]), i) not in pairs]
        item[row] = generator.choice(free)
        pairs.add((int(log["user"][int(row)]), int(item[row])))
    out = tmp_path / "shuffled"
    with DatasetWriter(out, name="shuffled") as writer:
        users = pl.read_parquet(simulated.folder / "users.parquet")
        writer.write_tables(users, simulated.item_table, log.with_columns(pl.Series("item", item)))
        for m, features in simulated.features.items():
            writer.write_features(m, np.asarray(features.values), features.present)
        writer.finish(provenance={})
    entries = [
        Entry("mf", "MF", SHORT, {"lr": (0.01, 0.05, 0.1)}),
        Entry("mmgcn", "MMGCN", SHORT, {"reg": (1e-3, 1e-1)}),
        Entry("mmgcn", "MMGCN: concat", {"combination": "concat"}, {"lr": (0.01, 0.02)}, variant_of="MMGCN"),
        Entry("itemknn", "ItemKNN", {}, {"k": (1, 5, 50)}),
    ]
    one = Study(simulated, tmp_path / "runs", seeds=(0, 1), resources=HERE).run(entries).results
    two = Study(Dataset(out), tmp_path / "runs", seeds=(0, 1), resources=HERE).run(entries).results
    for given, shuffled in zip(one, two, strict=True):
        assert given.runs != shuffled.runs  # other data: trained anew
        assert given.chosen == shuffled.chosen and given.best_epochs == shuffled.best_epochs
        assert given.curves == shuffled.curves and str(given.valid) == str(shuffled.valid)
        assert given.metrics != shuffled.metrics
        for a, b in zip(given.runs, shuffled.runs, strict=True):
            bytes_of = [(tmp_path / "runs" / run / "weights.safetensors").read_bytes() for run in (a, b)]
            assert bytes_of[0] == bytes_of[1]


def test_results_are_read_back_whole_without_any_run(simulated: Dataset, tmp_path: Path):
    study = Declaration(
        name="mine",
        title="Two models",
        entries=[{"model": "popularity"}, {"model": "mf", "options": SHORT}],
        candidates=["all", "sampled-20"],
        splits=["given", "time"],
        seeds=2,
    )
    made = run_study(study, simulated, out=tmp_path / "out", runs=tmp_path / "runs", resources=HERE)
    read = Results.load(tmp_path / "out")
    assert read.conditions() == [(s, c) for s in ("given", "time") for c in ("all", "sampled-20")]
    assert (read.study, read.data, read.skipped, read.made_by) == (made.study, made.data, made.skipped, made.made_by)
    assert documents(read.entries) == documents(made.entries) and len(read.entries) == 2 * 4
    for one, two in zip(made.entries, read.entries, strict=True):
        assert np.array_equal(one.user, two.user) and one.per_user.keys() == two.per_user.keys()
        for metric, values in one.per_user.items():
            assert np.array_equal(values, two.per_user[metric], equal_nan=True)
            means = np.nanmean(values, axis=1)
            assert one.metrics[metric].mean == pytest.approx(means.mean())
    assert read.data["splits"]["given"]["split_hash"] != read.data["splits"]["time"]["split_hash"]


def test_a_file_that_is_not_the_results_of_a_study_is_refused(tmp_path: Path):
    (tmp_path / "results.json").write_text('{"format": 1, "entries": [{}]}')
    with pytest.raises(InputError, match="not results of a study"):
        Results.load(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        Results.load(tmp_path / "nothing")


def test_fresh_histories_stand_beside_those_of_train_and_mark_models_that_cannot_take_them(
    simulated: Dataset, tmp_path: Path
):
    study = Declaration(
        name="mine",
        title="Two models",
        entries=[{"model": "itemknn"}, {"model": "mf", "options": SHORT}],
        splits=["given", "random"],
        histories=["train", "fresh"],
        seeds=1,
    )
    run_study(study, simulated, out=tmp_path / "out", runs=tmp_path / "runs", resources=HERE)
    results = Results.load(tmp_path / "out")
    assert results.conditions() == [("given", "all"), ("given", "all", "fresh"), ("random", "all")]
    assert "not by time" in results.skipped["fresh histories (random split)"]
    (knn, mf), (fresh_knn, same_mf) = results.of("given"), results.of("given", history="fresh")
    assert (fresh_knn.users_of, same_mf.users_of) == ("fresh", "train")
    assert same_mf.metrics == mf.metrics and same_mf.fingerprint == mf.fingerprint
    assert fresh_knn.metrics != knn.metrics and fresh_knn.fingerprint != knn.fingerprint
    expected = api.evaluate(Run(tmp_path / "runs" / knn.runs[0]), simulated, history="fresh").metrics["recall@20"]
    assert fresh_knn.metrics["recall@20"].mean == pytest.approx(expected)
    plain, fresh = (result_tables(results, Condition("given", "all", history))[0] for history in ("train", "fresh"))
    assert [row.label for row in plain.rows] == [knn.label, mf.label]
    assert [row.label for row in fresh.rows] == [knn.label, f"{mf.label} (train history)"]
    assert "fresh histories" in fresh.caption and "which take no new interactions" in fresh.caption
    assert "histories" not in plain.caption


def test_results_without_histories_are_read_as_those_of_train(simulated: Dataset, tmp_path: Path):
    study = Declaration(name="mine", title="One model", entries=[{"model": "popularity"}], seeds=1)
    made = run_study(study, simulated, out=tmp_path / "out", runs=tmp_path / "runs", resources=HERE)
    path = tmp_path / "out" / "per_user.parquet"
    pl.read_parquet(path).drop("history").write_parquet(path)
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    for entry in document["entries"]:
        del entry["history"], entry["users_of"]
    (tmp_path / "out" / "results.json").write_text(json.dumps(document))
    read = Results.load(tmp_path / "out")
    assert documents(read.entries) == documents(made.entries)
    assert np.array_equal(read.entries[0].per_user["recall@20"], made.entries[0].per_user["recall@20"])


def test_cold_candidates_are_left_out_where_no_cold_item_is_held_out(simulated: Dataset, tmp_path: Path):
    entry = {"model": "itemknn", "options": {"similarity": "content"}}
    study = Declaration(name="mine", title="Cold", entries=[entry], candidates=["all", "cold"], seeds=1)
    run_study(study, simulated, out=tmp_path / "out", runs=tmp_path / "runs", resources=HERE)
    results = Results.load(tmp_path / "out")
    assert results.conditions() == [("given", "all"), ("given", "cold")]
    among_all, among_cold = results.of("given"), results.of("given", "cold")
    assert among_all[0].metrics["cold_recall@20"].mean < among_cold[0].metrics["recall@20"].mean
    is_warm = (simulated.train.users_per_item() > 0)[simulated.log["item"].to_numpy()]
    warm = relabelled(simulated, tmp_path / "warm", lambda split: np.where(is_warm, split, "train"))
    run_study(study, warm, out=tmp_path / "out-warm", runs=tmp_path / "runs", resources=HERE)
    results = Results.load(tmp_path / "out-warm")
    assert results.conditions() == [("given", "all")]
    assert results.skipped == {"cold candidates": "no item without train interactions is held out"}
