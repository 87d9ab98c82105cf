"""A run folder: its contents, its refusals, and runs of version 0.1."""

import json
import shutil

import numpy as np
import pytest
import torch

import medley
from medley import graphs
from medley.errors import InputError
from medley.runs import Run
from medley.runs.history import read_epochs, write_epochs


@pytest.fixture(scope="module")
def run(simulated, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "mf"
    trained = medley.train("mf", simulated, out=folder, dim=8, lr=0.01, num_epochs=3, seed=2, progress=False)
    medley.evaluate(trained)
    return Run(folder)


def test_a_last_line_that_was_cut_short_is_left_out_of_the_history(run, tmp_path):
    path = tmp_path / "history.jsonl"
    write_epochs(path, run.history.epochs)
    whole = path.read_text()
    path.write_text(whole[:-10])
    assert read_epochs(path) == run.history.epochs[:2]
    path.write_text(whole.replace('"epoch": 2', '"epoch" 2'))
    with pytest.raises(InputError, match=r"history\.jsonl, row 2: not an epoch"):
        read_epochs(path)


def test_the_history_is_what_training_returned(run):
    history = run.history
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3] and history.ending == "num_epochs"
    assert history.best == max(epoch.metric for epoch in history.epochs) == run.record.best


def test_a_training_that_failed_has_no_ending(run, tmp_path):
    record = json.loads((run.folder / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**record, "status": "failed", "message": "the loss is NaN"}))
    assert Run(tmp_path).history.ending is None


def test_weights_are_loaded_without_building_a_graph(simulated, tmp_path, monkeypatch):
    trained = medley.train("lightgcn", simulated, out=tmp_path / "run", dim=8, num_epochs=1, progress=False)
    model = medley.build("lightgcn", simulated, seed=9, dim=8)
    monkeypatch.setattr(graphs, "symmetric", None)
    Run(tmp_path / "run").load_weights(model)
    assert torch.equal(model.e0_user, trained.model(simulated).e0_user)


def test_an_evaluation_is_read_back_as_it_was_written(run, simulated):
    written = medley.evaluate(run, simulated, at=(5,), groups=True)
    read = run.evaluation("test")
    assert read.document() == written.document() and read.per_user.keys() == written.per_user.keys()
    assert all(np.array_equal(read.per_user[name], written.per_user[name], equal_nan=True) for name in read.per_user)
    with pytest.raises(InputError, match="evaluate the run first"):
        run.evaluation("valid")


def test_a_run_of_version_0_1_opens_scores_the_same_and_resumes(run, simulated, tmp_path):
    expected = medley.evaluate(run, simulated).metrics
    document = json.loads((run.folder / "run.json").read_text())
    recipe, data = document.pop("recipe"), document.pop("data")
    del document["machines"]
    old = {
        "model": recipe["model"],
        "options": recipe["options"],
        "seed": 2,
        "settings": {**recipe["settings"], "seed": 2},
        "data": {
            "path": data["path"],
            "name": data["name"],
            "content_hash": simulated.manifest.content_hash,
            "split_hash": data["split_hash"],
        },
        **document,
    }
    (tmp_path / "run.json").write_text(json.dumps(old))
    for name in ("weights.safetensors", "history.jsonl"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    opened = Run(tmp_path)
    assert opened.record.recipe == run.record.recipe and opened.record.machines == []
    assert medley.evaluate(opened).metrics == expected
    again = medley.train(opened.record.recipe, simulated, out=tmp_path, resume=True, progress=False)
    assert again.history == run.history
    old["data"]["content_hash"] = "of another"
    (tmp_path / "run.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match="not the data set that the run was trained on"):
        Run(tmp_path).dataset()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("data"), "field 'data' is missing"),
        (lambda record: record.update(status="lost"), "field 'status': expected 'running'"),
        (lambda record: record["recipe"].update(seed=-1), "field 'recipe.seed': expected 0 or more"),
    ],
)
def test_a_damaged_record_is_named_with_a_remedy(run, tmp_path, change, message):
    record = json.loads((run.folder / "run.json").read_text())
    change(record)
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"run\.json: {message}.*Remedy: give a folder"):
        Run(tmp_path)


def test_a_folder_that_is_not_a_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"run\.json: the file does not exist"):
        Run(tmp_path)


def test_a_modality_that_is_added_or_replaced_leaves_every_run_usable_that_did_not_read_it(simulated, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(simulated.folder, folder)
    data, quick = medley.load(folder), {"num_epochs": 1, "dim": 8, "progress": False}
    runs = {
        "interactions": medley.train("lightgcn", data, out=tmp_path / "lightgcn", **quick),
        "visual": medley.train("vbpr", data, out=tmp_path / "visual", modalities=["visual"], **quick),
        "everything": medley.train("vbpr", data, out=tmp_path / "everything", **quick),
    }
    expected = {name: medley.evaluate(run, data).metrics for name, run in runs.items()}
    values = np.random.default_rng(0).normal(size=(data.manifest.num_items, 4)).astype("f4")
    data.with_modality("smell", values, made_by={"encoder": "nose"})
    data.with_modality("acoustic", values, replace=True)

    def again(name: str) -> dict[str, float]:
        return medley.evaluate(Run(runs[name].folder)).metrics

    assert again("interactions") == expected["interactions"] and again("visual") == expected["visual"]
    with pytest.raises(InputError, match="not the data set that the run was trained on: got another features/acoustic"):
        again("everything")
    resumed = medley.train("lightgcn", medley.load(folder), out=tmp_path / "lightgcn", resume=True, **quick)
    assert resumed.record.status == "finished"


def test_a_run_that_read_all_modalities_reads_those_alone_when_another_one_is_added(simulated, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(simulated.folder, folder)
    data = medley.load(folder)
    run = medley.train("vbpr", data, out=tmp_path / "run", num_epochs=1, dim=8, progress=False)
    expected = medley.evaluate(run, data).metrics
    values = np.ones((data.manifest.num_items, 4), dtype="f4")
    data.with_modality("smell", values)
    assert medley.evaluate(Run(tmp_path / "run")).metrics == expected
    with pytest.raises(InputError, match="modalities of the run to resume: expected visual and acoustic and textual"):
        medley.train("vbpr", medley.load(folder), out=run.folder, resume=True, num_epochs=1, dim=8, progress=False)


def on_another_split(data, folder) -> medley.Dataset:
    """The same log, users and items, with a validation item for each pair that was in test and the other way round."""
    names = {"train": "train", "valid": "test", "test": "valid"}
    frame = {
        "user_id": data.users.raw.gather(data.log["user"].to_numpy()),
        "item_id": data.items.raw.gather(data.log["item"].to_numpy()),
        "timestamp": data.log["timestamp"],
        "split": [names[split] for split in data.log["split"].cast(str)],
    }
    features = {m: (np.asarray(f.values), f.present) for m, f in data.features.items()}
    tables = {"items": data.item_table.select("item_id"), "users": {"user_id": data.users.raw}}
    return medley.Dataset.from_frames(frame, **tables, features=features, split="given", out=folder)


def test_a_model_is_refused_on_another_split_of_the_same_log(run, simulated, tmp_path):
    other = on_another_split(simulated, tmp_path / "other")
    sizes = [(d.manifest.num_users, d.manifest.num_items, len(d.train)) for d in (simulated, other)]
    assert sizes[0] == sizes[1]
    trained = medley.train("mf", simulated, dim=8, num_epochs=1, progress=False)
    for each in (run, trained):  # read from a folder, and in memory
        with pytest.raises(InputError, match="split of the data set, which is not that of the run: expected the split"):
            each.model(other)
        with pytest.raises(InputError, match="split of the data set"):
            medley.evaluate(each, other)
        assert each.model(medley.load(simulated.folder)) is not None


def test_a_model_is_given_on_the_same_split_at_another_path(run, simulated, tmp_path):
    shutil.copytree(simulated.folder, tmp_path / "moved")
    moved = medley.load(tmp_path / "moved").with_modality("smell", np.ones((simulated.manifest.num_items, 2), "f4"))
    assert torch.equal(run.model(moved).p, run.model(simulated).p)
