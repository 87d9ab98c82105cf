"""Pictures of a trained model, and the command that draws them."""

import json
import shutil

import numpy as np
import pytest
from tests.cli.running import printed

from medley import api
from medley.errors import InputError
from medley.models.huign import all_modalities
from medley.report.pictures import draw, pictures

pytest.importorskip("sklearn")
OPTIONS = {"dim": 4, "num_epochs": 2, "patience": 0, "progress": False}


def test_dualgnn_has_maps_weights_and_cooccurring_users(simulated, tmp_path):
    run = api.train("dualgnn", simulated, out=tmp_path / "run", k=5, **OPTIONS)
    found = {one.name: one for one in pictures(run, simulated)}
    assert list(found) == ["users", "items", "weights", "co-occurring"]
    alpha = run.model(simulated).alpha.detach().numpy()
    names = sorted(simulated.manifest.modalities)
    order = [list(run.model(simulated).f).index(name) for name in names]
    for line, column in zip(found["weights"].figure.axes[0].lines, order, strict=True):
        np.testing.assert_allclose(line.get_xdata(), np.sort(alpha[:, column]), rtol=1e-6)
    neighbours = found["co-occurring"].figure.axes[0].lines
    assert 0 < len(neighbours) <= 15
    assert len(found["users"].figure.axes) == 2  # before and after
    points = sum(len(each.get_offsets()) for each in found["users"].figure.axes[0].collections)
    assert points == simulated.manifest.num_users


def test_items_are_those_held_out_for_one_of_the_users_alone(simulated, tmp_path):
    run = api.train("lightgcn", simulated, out=tmp_path / "run", **OPTIONS)
    (items,) = [one for one in pictures(run, simulated) if one.name == "items"]
    counts = np.bincount(simulated.test.user, minlength=60)
    chosen = np.argsort(-counts, kind="stable")[:6]
    own = [set(simulated.test.item[simulated.test.user == user]) for user in chosen]
    alone = [mine - set().union(*(other for other in own if other is not mine)) for mine in own]
    drawn = sum(len(each.get_offsets()) for each in items.figure.axes[0].collections)
    assert drawn == sum(map(len, alone)) + sum(map(bool, alone))


def test_intents_show_the_items_that_belong_to_them_most(simulated, tmp_path):
    run = api.train("huign", simulated, out=tmp_path / "run", levels=[6, 3], **OPTIONS)
    (intents,) = [one for one in pictures(run, simulated) if one.name == "intents"]
    model = run.model(simulated)
    shares = all_modalities({m: h() for m, h in model.hierarchies.items()}).detach().numpy()[:, :6]
    shares = shares / shares.sum(axis=1, keepdims=True)
    axes = intents.figure.axes[0]
    first = int(axes.get_xticklabels()[0].get_text()) - 1
    assert first == int(shares.sum(axis=0).argmax())
    column = axes.images[0].get_array()[:4, 0]
    np.testing.assert_allclose(column, np.sort(shares[:, first])[::-1][:4], rtol=1e-5)


def test_the_command_writes_files_that_say_where_they_come_from(simulated, tmp_path):
    run = api.train("mf", simulated, out=tmp_path / "run", **OPTIONS)
    out = tmp_path / "pictures"
    command = ("pictures", run.folder, "--out", out, "--format", "svg", "--json")
    files = json.loads(printed(*command, "--seed", 3))["files"]
    assert files == [str(out / "users.svg"), str(out / "items.svg")]
    text = (out / "users.svg").read_text()
    assert run.record.recipe.fingerprint[:16] in text and run.record.data.parts["log"][:12] in text
    assert "--seed 3" in text and "few items" in text  # mf has no parts: users are grouped by activity


def test_the_command_draws_from_a_moved_data_set_and_refuses_other_features(simulated, tmp_path):
    run = api.train("vbpr", simulated, out=tmp_path / "run", **OPTIONS)
    command = ["pictures", run.folder, "--out", tmp_path / "pictures", "--format", "svg"]
    command += ["--dataset", tmp_path / "moved"]
    shutil.copytree(simulated.folder, tmp_path / "moved")
    printed(*command)
    values = np.ones((simulated.manifest.num_items, 2))
    api.load(tmp_path / "moved").with_modality("visual", values, replace=True)
    assert "another features/visual" in printed(*command, exit_code=2)


def test_a_model_without_trained_vectors_is_refused(simulated, tmp_path):
    run = api.train("popularity", simulated, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="expected a model with trained vectors of users and items, got popularity"):
        draw(run, simulated, out=tmp_path / "pictures")
