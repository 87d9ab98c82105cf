"""medley export: writes a bundle, lists what can be exported."""

import json

import numpy as np
import pytest
from tests.cli import running
from tests.media import toys

import medley
from medley import models
from medley.serving.bundle import Bundle


@pytest.fixture(scope="module")
def run(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    medley.train("vbpr", simulated, out=folder, dim=8, num_epochs=2, progress=False)
    return folder


def test_export_writes_a_bundle_and_says_what_it_holds(run, tmp_path):
    code, out, err = running.medley("export", run, "-o", tmp_path / "shop.medley", "--json")
    assert code == 0, err
    document = json.loads(out)
    bundle = Bundle.read(tmp_path / "shop.medley")
    assert document["model_version"] == bundle.manifest.model_version and document["kind"] == "vectors"
    assert document["parts"].split(", ") == ["id", "visual", "acoustic", "textual"]
    code, _, err = running.medley("export", run, "-o", tmp_path / "shop.medley")
    assert code == 2 and "exists already" in err and "--overwrite" in err


def test_overwrite_replaces_a_bundle(run, tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/letter.txt").write_text("dear")
    assert running.medley("export", run, "-o", tmp_path / "shop").returncode == 2
    running.printed("export", run, "-o", tmp_path / "shop", "--overwrite")
    assert Bundle.read(tmp_path / "shop").manifest.model == "vbpr"


def test_new_items_are_placed_and_shown_as_asked(simulated, tmp_path):
    medley.train("mf", simulated, out=tmp_path / "run", dim=4, num_epochs=1, progress=False)
    bundles = {}
    for name, options in {"plain": (), "placed": ("--cold", "features"), "often": ("--exposure", 3)}.items():
        running.printed("export", tmp_path / "run", "-o", tmp_path / name, *options)
        bundles[name] = Bundle.read(tmp_path / name)
    assert {name: one.manifest.new_items["exposure"] for name, one in bundles.items()} == {
        **{"plain": 1.0, "placed": 1.0, "often": 3.0},
    }
    plain, placed = (bundles[name].scores.item for name in ("plain", "placed"))
    cold = np.bincount(simulated.train.item, minlength=len(plain)) == 0
    assert cold.any() and np.array_equal((plain != placed).any(axis=1), cold)


def test_pictures_for_the_page_come_from_media(run, simulated, tmp_path):
    pytest.importorskip("PIL")
    toys.paint(tmp_path / "media", f"{simulated.items.raw_id(4)}.png", seed=0)
    running.printed("export", run, "-o", tmp_path / "shop", "--media", tmp_path / "media")
    assert list(Bundle.read(tmp_path / "shop").thumbnails) == [4]


def test_a_moved_data_set_is_checked(run, tmp_path, simulated):
    settings = medley.preset("demo", num_users=60, num_items=90, num_interactions=1200)
    other = medley.simulate(tmp_path / "other", settings=settings, seed=5)
    code, _, err = running.medley("export", run, "-o", tmp_path / "x.medley", "--dataset", other.folder)
    assert code == 2 and "not the data set that the run was trained on" in err
    assert not (tmp_path / "x.medley").exists()


def test_list_names_every_model():
    code, out, _ = running.medley("export", "--list", "--json")
    rows = {row["name"]: row for row in json.loads(out)["models"]}
    assert code == 0 and set(rows) >= set(models.MODELS)
    assert rows["ease"]["new_users"] == "exact: the history" and rows["macridvae"]["kind"] == "concepts"
    assert rows["vbpr"]["new_items"] == "its own content path" and rows["mf"]["reason"] is None


def test_without_a_run_or_a_name_the_usage_is_said(run):
    code, _, err = running.medley("export", run)
    assert code == 2 and "RUN -o BUNDLE, or --list" in err
