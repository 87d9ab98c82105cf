"""Tuning: defaults first, validation only, finalists, what is refused."""

import sys

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file
from tests.tuning.searching import SHORT, outcomes, without

import medley
from medley.data.dataset import Dataset
from medley.errors import InputError, MissingExtraError
from medley.models.spaces import Choice, Log, Uniform
from medley.runs import Recipe
from medley.tuning import tuner
from medley.tuning.execution import result_of
from medley.tuning.trials import Outcome

pytest.importorskip("optuna", reason="the extra tune is not installed")


@pytest.fixture(scope="module")
def tuned_in(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "out"
    return medley.tune("mf", data, trials=6, out=out, finalists=2, seeds=2, **SHORT), out


def test_the_defaults_are_tried_first(tuned_in):
    tuned, _ = tuned_in
    first = tuned.trials[0]
    assert first.is_default and first.params == {"lr": 5e-3, "reg": 1e-2} and first.state == "complete"
    assert [one.is_default for one in tuned.trials[1:]] == [False] * 5
    assert all(len({trial.params[name] for trial in tuned.trials}) == 6 for name in ("lr", "reg"))


def test_a_trial_is_the_training_of_its_settings(tuned_in, data):
    tuned, _ = tuned_in
    trial = max(tuned.trials, key=lambda trial: trial.value)
    run = medley.train("mf", data, **SHORT, **trial.params)
    assert run.history.best == trial.value and run.history.best_epoch == trial.best_epoch


def test_the_best_mean_over_the_seeds_wins_and_the_defaults_compete(tuned_in, data):
    tuned, out = tuned_in
    assert len(tuned.finalists) in (2, 3) and 0 in [one.number for one in tuned.finalists]
    for one in tuned.finalists:
        runs = [medley.train(one.recipe, data, seed=seed, progress=False) for seed in (0, 1)]
        assert one.values == tuple(run.history.best for run in runs)
        assert one.mean == pytest.approx(np.mean(one.values)) and one.std == pytest.approx(np.std(one.values, ddof=1))
    assert tuned.recipe == max(tuned.finalists, key=lambda one: one.mean).recipe
    assert tuned.best == max(one.mean for one in tuned.finalists)
    assert Recipe.load(out / "recipe.json") == tuned.recipe


def test_the_folder_holds_a_table_and_a_plot_of_the_trials(tuned_in):
    tuned, out = tuned_in
    table = pl.read_csv(out / "trials.csv")
    assert table["value"].to_list() == [trial.value for trial in tuned.trials]
    assert table["lr"].to_list() == [trial.params["lr"] for trial in tuned.trials]
    plot = (out / "slice.svg").read_text()
    assert all(text in plot for text in ("<svg", ">lr<", ">reg<", "recall@20 on validation"))
    kept = {int(path.name.split("-")[1]) for path in (out / "runs").iterdir()}
    assert kept == {one.number for one in tuned.finalists}


def test_the_same_call_repeats_nothing_and_more_trials_prolong_the_search(tuned_in, data, monkeypatch):
    tuned, out = tuned_in
    trained = []
    monkeypatch.setattr(medley.api.training, "fit_with", lambda *args, **kwargs: trained.append(1))
    again = medley.tune("mf", data, trials=6, out=out, finalists=2, seeds=2, **SHORT)
    assert not trained and outcomes(again) == outcomes(tuned) and again.finalists == tuned.finalists
    monkeypatch.undo()
    more = medley.tune("mf", data, trials=8, out=out, finalists=2, seeds=2, **SHORT)
    assert outcomes(more)[:6] == outcomes(tuned) and len(more.trials) == 8
    whole = medley.tune("mf", data, trials=8, finalists=2, seeds=2, **SHORT)
    assert outcomes(more) == outcomes(whole) and more.recipe == whole.recipe


def test_another_search_does_not_go_on_in_the_folder(tuned_in, data, tmp_path):
    _, out = tuned_in
    with pytest.raises(InputError, match=r"another tuning is in this folder.*recipe dim 4.*recipe dim 8"):
        medley.tune("mf", data, out=out, **{**SHORT, "dim": 8})
    with pytest.raises(InputError, match=r"space reg"):
        medley.tune("mf", data, out=out, space={"reg": Log(1e-3, 1.0)}, **SHORT)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="an empty folder or a tuning"):
        medley.tune("mf", data, out=tmp_path, **SHORT)


def parts_of(data: Dataset, *, shuffle: bool) -> dict[str, sp.csr_array]:
    """The splits as matrices; shuffled, the users of test have each other's items."""
    matrices = {split: data.interactions(split).csr() for split in ("train", "valid", "test")}
    if shuffle:
        test = matrices["test"].tocoo()
        item = np.random.default_rng(3).permutation(test.col)
        shuffled = sp.csr_array((np.ones(len(item)), (test.row, item)), shape=test.shape)
        others = (matrices["train"] + matrices["valid"]).astype(bool)
        matrices["test"] = ((shuffled.astype(bool) - shuffled.astype(bool).multiply(others)) > 0).astype(np.float32)
    return matrices


def test_shuffled_test_labels_change_no_trial_no_setting_and_no_weight(data, tmp_path):
    results = []
    for shuffle in (False, True):
        made = Dataset.from_frames(parts_of(data, shuffle=shuffle), out=tmp_path / f"data-{shuffle}")
        out = tmp_path / f"out-{shuffle}"
        results.append((made, medley.tune("mf", made, trials=4, out=out, finalists=1, seeds=2, **SHORT), out))
    (straight, one, first), (shuffled, two, second) = results
    for split, same in (("train", True), ("valid", True), ("test", False)):
        pairs, others = (made.interactions(split).csr().toarray() for made in (straight, shuffled))
        assert np.array_equal(pairs, others) == same
    assert outcomes(one) == outcomes(two)
    assert one.recipe == two.recipe and one.finalists == two.finalists
    names = [
        sorted(path.relative_to(out) for path in out.glob("runs/*/weights.safetensors")) for out in (first, second)
    ]
    assert names[0] and names[0] == names[1]
    for name in names[0]:
        weights, others = load_file(first / name), load_file(second / name)
        assert weights.keys() == others.keys()
        assert all(np.array_equal(weights[key], others[key]) for key in weights)


def test_without_validation_nothing_is_tuned(data, tmp_path):
    log = sum(parts_of(data, shuffle=False).values())
    made = Dataset.from_frames(log, split="random", ratios=(8, 0, 2), out=tmp_path / "data")
    with pytest.raises(InputError, match=r"settings are never chosen on test.*Remedy: .*ratios"):
        medley.tune("mf", made, out=tmp_path / "out", **SHORT)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "trials", "ending"),
    [("popularity", 2, "nothing left to try"), ("ease", 5, "trials"), ("itemknn", 5, "trials")],
)
def test_models_without_a_loss_are_tuned_under_one_seed(data, model, trials, ending):
    tuned = medley.tune(model, data, trials=5, progress=False)
    assert len(tuned.trials) == trials and tuned.ending == ending
    assert all(len(one.values) == 1 for one in tuned.finalists)
    assert tuned.best == max(trial.value for trial in tuned.trials) and "lr" not in tuned.trials[0].params


def test_a_small_space_is_tried_once_and_no_more(data):
    space = {"k": Choice((2, 5, 100)), "shrinkage": Choice((3.0, 100.0))}
    tuned = medley.tune("itemknn", data, seconds=60, space=space, damping=1.0, recency=1.0, progress=False)
    tried = [tuple(trial.params.values()) for trial in tuned.trials]
    assert len(tried) == len(set(tried)) == 6 and tuned.ending == "nothing left to try"


def test_what_is_fixed_is_not_searched_and_the_space_can_be_changed(data):
    tuned = medley.tune("mf", data, trials=3, seeds=1, space={"dim": Choice((2, 4))}, reg=0.5, **without("dim"))
    assert all(set(trial.params) == {"lr", "dim"} for trial in tuned.trials) and tuned.recipe.options["reg"] == 0.5
    assert tuned.trials[0].params["dim"] == 64 and tuned.recipe.settings.num_epochs == 4
    again = medley.tune(tuned.recipe, data, trials=1, progress=False)
    assert again.trials[0].params["lr"] == tuned.recipe.settings.lr


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"trials": 0}, "trials: expected a whole number of at least 1"),
        ({"seconds": 0}, "seconds: expected a number above 0"),
        ({"jobs": 0}, "jobs"),
        ({"space": {"dimm": Choice((1, 2))}}, "option to search: .*got 'dimm'"),
        ({"space": {"metric": Choice(("ndcg@20", "recall@20"))}}, "option to search"),
        ({"space": {"lr": Log(1e-3, 1.0)}, "lr": 0.1}, "fixed or searched, got both"),
        ({"space": {"dim": Uniform(1.0, 4.0)}}, "dim"),
        ({"train_on": "train+valid"}, "validation judges"),
        ({"dimm": 3}, "did you mean dim"),
        ({"metric": "recal@20"}, "recal"),
    ],
)
def test_a_wrong_call_gets_one_sentence(data, wrong, match, tmp_path):
    with pytest.raises(InputError, match=match):
        medley.tune("mf", data, **{"trials": 1, "progress": False, **wrong})


def test_what_diverges_is_no_result_and_the_search_goes_on(data):
    space = {"lr": Choice((5e-3, 1e30))}
    tuned = medley.tune("lightgcn", data, trials=2, space=space, reg=1e-3, num_layers=1, seeds=1, **SHORT)
    assert {trial.params["lr"]: trial.state for trial in tuned.trials} == {5e-3: "complete", 1e30: "diverged"}
    assert "diverged" in tuned.trials[1].message and tuned.trials[1].value is None
    assert [one.number for one in tuned.finalists] == [0]
    with pytest.raises(InputError, match="expected one that trains"):
        medley.tune("lightgcn", data, trials=1, lr=1e30, **SHORT)


def test_settings_that_the_data_refuse_fail_alone(data):
    space = {"memory_gb": Choice((16.0, 1e-9))}
    tuned = medley.tune("ease", data, trials=8, space=space, reg=10.0, progress=False)
    failed = [trial for trial in tuned.trials if trial.state == "failed"]
    assert [trial.params["memory_gb"] for trial in failed] == [1e-9] * len(failed) and "memory" in failed[0].message
    assert {trial.params["memory_gb"] for trial in tuned.trials if trial.state == "complete"} == {16.0}
    with pytest.raises(InputError, match="memory"):
        medley.tune("ease", data, trials=2, memory_gb=1e-9, progress=False)


def test_two_processes_do_not_tune_in_one_folder(tuned_in, data):
    _, out = tuned_in
    from medley.files import locked

    with locked(out / ".lock"), pytest.raises(InputError, match="held by another process"):
        medley.tune("mf", data, trials=6, out=out, finalists=2, seeds=2, **SHORT)


def test_a_seed_that_not_all_finalists_were_trained_with_does_not_count(data, tmp_path, monkeypatch):
    calls = []

    def cut_off(future, is_first):
        calls.append(1)  # three trials, then three finalists with seed 1; the second with seed 2 is cut off
        outcome = result_of(future, is_first=is_first)
        return Outcome("stopped", outcome.value, message="time") if len(calls) == 8 else outcome

    monkeypatch.setattr(tuner, "result_of", cut_off)
    tuned = medley.tune("mf", data, trials=3, out=tmp_path / "out", finalists=3, seeds=3, **SHORT)
    assert len(calls) == 9 and [len(one.values) for one in tuned.finalists] == [2, 2, 2]
    monkeypatch.undo()
    tuned = medley.tune("mf", data, trials=3, out=tmp_path / "out", finalists=3, seeds=3, **SHORT)
    assert [len(one.values) for one in tuned.finalists] == [3, 3, 3]


def test_without_optuna_the_remedy_is_named(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medley-rec\[tune\]'"):
        medley.tune("mf", data, trials=1, **SHORT)
