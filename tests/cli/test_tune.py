"""medley tune: one search from the command line, its result in the next command, and wrong arguments."""

import json

import pytest
from tests.cli.running import medley

from medley import tuning
from medley.cli.tune import parse_duration
from medley.errors import InputError
from medley.runs import Run

pytest.importorskip("optuna", reason="the extra tune is not installed")


@pytest.fixture(scope="module")
def search(simulated, tmp_path_factory):
    out = tmp_path_factory.mktemp("tune") / "out"
    command = ["tune", "mf", simulated.folder, "--trials", 3, "--seeds", 2, "--finalists", 1, "-o", out]
    command += ["--try", "dim=4,8", "-s", "num_epochs=3", "-s", "reg=0.01", "--metric", "ndcg@10"]
    return command, medley(*command), out


def test_the_trials_and_the_finalists_are_shown(search):
    _, (code, shown, progress), out = search
    assert code == 0, progress
    assert progress.count("trial 0 (lr=0.005 dim=64): ndcg@10") == 1 and "trial 0, seed 1" in progress
    for text in ("Trials of mf", "ndcg@10", "Finalists", "Best: ndcg@10", f"--recipe {out / 'recipe.json'}"):
        assert text in shown


def test_the_same_command_repeats_nothing_and_prints_one_document(search):
    command, _, out = search
    code, shown, progress = medley(*command, "--json")
    document = json.loads(shown)
    assert code == 0 and "trial" not in progress
    assert len(document["trials"]) == document["num_trials"] == 3 and document["states"] == {"complete": 3}
    assert document["trials"][0]["params"] == {"lr": 0.005, "dim": 64}
    assert document["recipe"] == json.loads((out / "recipe.json").read_text())
    assert document["best"] == max(one["mean"] for one in document["finalists"])


def test_train_reads_the_recipe(search, simulated, tmp_path):
    _, _, out = search
    code, _, err = medley("train", "--recipe", out / "recipe.json", simulated.folder, "-o", tmp_path / "run")
    assert code == 0, err
    result = json.loads((out / "result.json").read_text())
    run = Run(tmp_path / "run")
    assert run.record.recipe.settings.metric == "ndcg@10"
    assert run.record.best == result["finalists"][0]["values"][0]


def test_time_seed_and_jobs_reach_the_search(simulated, tmp_path, monkeypatch):
    asked = {}

    def search(model, data, **options):
        asked.update(options)
        raise InputError("enough")

    monkeypatch.setattr(tuning, "tune", search)
    options = ("--time", "1h30m", "--seed", 7, "--jobs", 2)
    assert medley("tune", "mf", simulated.folder, "-o", tmp_path / "out", *options).returncode == 2
    assert (asked["seconds"], asked["seed"], asked["jobs"], asked["trials"]) == (5400, 7, 2, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("2m5s", 125)]
)
def test_a_time_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "ten", "-5m", "5 days", "1m1h"])
def test_a_wrong_time_is_refused(text):
    with pytest.raises(InputError, match="90s, 10m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--try", "dim"], "KEY=VALUES"),
        (["--try", "dim=4", "--try", "dim=8"], "--try dim: expected once, got twice"),
        (["--try", "dim=4..1"], "the lower one first"),
        (["--try", "reg=1..2", "-s", "reg=1"], "fixed or searched, got both"),
        (["-s", "seed=1"], "--seed"),
        (["-s", "dimm=1"], "did you mean dim"),
        (["--metric", "ndcg@10", "-s", "metric=recall@5"], "two values of metric"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(simulated, tmp_path, arguments, sentence):
    code, shown, err = medley("tune", "mf", simulated.folder, "-o", tmp_path / "out", "--trials", 1, *arguments)
    assert code == 2 and not shown and sentence in err and err.count("\n") == 1
