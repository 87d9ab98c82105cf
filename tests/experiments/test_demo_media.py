"""The demo from media to recommendations, on a tiny catalogue with encoders that need no network."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from medley.cli import main
from medley.data.dataset import Dataset
from medley.data.simulate import planted, preset
from medley.errors import InputError
from medley.experiments import demo_media
from medley.experiments.demo_media import agreement
from medley.runs import Run
from medley.types import Features

pytest.importorskip("av", reason="needs the extra media")

TINY = preset(
    "demo", num_users=200, num_items=150, num_interactions=1200, num_clusters=8, clusters_per_user=1, noise=0.0
)
ENCODERS = {"visual": "colour-layout", "acoustic": "logmel", "textual": "hashing"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """The folder of a demo, its output and its comparison."""
    out = tmp_path_factory.mktemp("demo") / "demo-media"
    console = Console(record=True, width=120, file=io.StringIO())
    comparison = demo_media.run_demo_media(
        out, catalogue=TINY, encoders=ENCODERS, changes={"num_epochs": 30}, console=console
    )
    return SimpleNamespace(out=out, printed=console.export_text(), comparison=comparison)


def test_features_are_extracted_from_the_media_and_hold_the_planted_clusters(made):
    data = Dataset(made.out / "data")
    clusters = planted(data).item_clusters
    assert list(data.features) == list(ENCODERS)
    for m, (name, features) in enumerate(data.features.items()):
        assert np.array_equal(features.present, clusters[:, m] >= 0)
        share, chance = agreement(features, clusters[:, m])
        assert share > 0.7 > 3 * chance
        assert re.search(
            rf"{name} +{ENCODERS[name]} +{features.present.sum()} +{share:.0%} +{chance:.0%}", made.printed
        )


def test_a_model_trained_on_extracted_features_beats_random_features(made):
    runs = {name: Run(made.out / "runs" / f"{name}-features") for name in ("random", "extracted")}
    options = {name: run.record.recipe.flat() for name, run in runs.items()}
    assert options["random"].pop("random_features") is True
    assert not options["extracted"].pop("random_features", False)
    assert options["random"] == options["extracted"]
    scores = {name: run.evaluation().metrics["recall@20"] for name, run in runs.items()}
    assert made.comparison.difference == pytest.approx(scores["extracted"] - scores["random"])
    assert made.comparison.low > 0 and made.comparison.p_value < 0.01
    assert f"{made.comparison.difference:+.4f}" in made.printed


def test_recommendations_are_items_that_the_user_has_not_seen(made):
    data = Dataset(made.out / "data")
    user = re.search(r"User (\S+), recommended", made.printed)[1]
    titles = re.findall(r"^  \d  (.+?)(?:  ✓ seen in the test split)?$", made.printed, re.MULTILINE)
    seen = {data.title(item) for item in data.train.item[data.train.user == data.users.row(user)]}
    assert len(titles) == demo_media.SHOWN and not seen & set(titles)


def test_an_agreement_is_the_share_of_nearest_neighbours_of_the_same_cluster(monkeypatch):
    monkeypatch.setattr(demo_media, "CHECKED", 2)
    values = np.array([[1, 0], [0.9, 0], [-1, 0], [-0.9, 0], [0, 5], [9, 9]], "f4")
    present = np.array([True, True, True, True, True, False])
    share, chance = agreement(Features(values, present), np.array([0, 0, 1, 1, -1, 0]))
    assert share == 1
    assert chance == pytest.approx(1 / 3)
    mixed, _ = agreement(Features(values, present), np.array([0, 1, 0, 1, -1, 0]))
    assert mixed == 0


def test_the_demo_replaces_nothing_but_an_earlier_demo(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text(
        json.dumps({"name": "demo", "provenance": {"source": "simulated"}})
    )
    with pytest.raises(InputError, match="not the folder of an earlier demo"):
        demo_media.run_demo_media(tmp_path)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["manifest.json"]


def test_the_command_replaces_an_earlier_demo(made, monkeypatch, capsys):
    catalogue = TINY.model_dump(exclude={"name"}) | {
        "num_items": 60,
        "num_users": 60,
        "num_interactions": 360,
        "noise": 0.3,
    }
    monkeypatch.setattr(demo_media, "CATALOGUE", catalogue)
    monkeypatch.setattr(demo_media, "SETTINGS", {"num_epochs": 1})
    defaults = demo_media.run_demo_media.__kwdefaults__ | {"encoders": ENCODERS}
    monkeypatch.setattr(demo_media.run_demo_media, "__kwdefaults__", defaults)
    monkeypatch.setattr("sys.argv", ["medley", "demo-media", "--out", str(made.out), "--seed", "2"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "Extracted less random features" in capsys.readouterr().out
    assert Dataset(made.out / "data").manifest.num_items == 60


def test_media_are_simulated_on_the_command_line(tmp_path, monkeypatch, capsys):
    changes = ("num_users=20", "num_items=40", "num_interactions=120", "num_clusters=4")
    sizes = [word for change in changes for word in ("--set", change)]

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["medley", "simulate", "demo", *words, *sizes])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0

    assert run("--out", str(tmp_path / "data"), "--media", "--no-features", "--jobs", "1", "--json") == 0
    assert Dataset(tmp_path / "data").manifest.modalities == {}
    assert (tmp_path / "data" / "media" / "media.parquet").is_file()
    assert run("--out", str(tmp_path / "other"), "--jobs", "1") == 2
    assert "give --media too" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
