"""The page of the defaults: which points are tried, what is kept, and what the page says."""

import json

import pytest
from tools.defaults_page import BAR, Clock, Task, main, measure, page, points, rekeyed, trials_of_runs

import medley
from medley import models
from medley.errors import InputError
from medley.runs import Recipe
from tools import defaults_page


@pytest.mark.parametrize("name", models.MODELS)
def test_the_defaults_are_the_first_point_and_all_points_are_in_the_search_space(name):
    few, many = points(name, 1), points(name, 3)
    assert few[0] == {} and many[: len(few)] == few, "more draws continue the list"
    space = models.find(name).search_space
    for changes in many:
        assert changes.items() <= Recipe.of({"model": name, **changes}).flat().items()
    assert all(space[key].contains(value) for changes in many[len(many) - 3 :] for key, value in changes.items())


def test_a_training_that_takes_too_long_keeps_its_best_parameters(simulated):
    found = measure(Task("lfm2k", "mf", {"dim": 4}), simulated, seconds=0)
    assert found["ending"] == "time" and found["epoch"] == 1 and found["valid"] > 0


def test_a_training_that_diverges_is_a_result(simulated):
    found = measure(Task("lfm2k", "mf", {"lr": 1e30}), simulated, seconds=60)
    assert found["ending"] == "diverged" and found["valid"] == 0


def test_ctrl_c_is_not_taken_for_the_clock(simulated, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Clock, "batch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(Task("lfm2k", "mf", {"dim": 4}), simulated, seconds=60)


def test_a_second_call_measures_only_what_is_missing(simulated, tmp_path, monkeypatch):
    (tmp_path / "lfm2k").symlink_to(simulated.folder)
    measured: list[str] = []
    monkeypatch.setattr(defaults_page, "measure", lambda task, *_: measured.append(task.model) or trial(task, 0.5))
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "page.md"), "--on", "lfm2k", "--draws", "1"]
    main([*command, "--models", "mf"])
    first = len(measured)
    main([*command, "--models", "mf", "ease"])
    assert first == len(points("mf", 1)) - 1 and "mf" not in measured[first:]  # the default lr is among the rates
    kept = json.loads((tmp_path / "page.json").read_text())
    assert len(kept["lfm2k"]["mf"]) == first and "| MF |" in (tmp_path / "page.md").read_text()


def test_a_model_that_does_not_apply_is_named_and_left_out(simulated, tmp_path, monkeypatch, capsys):
    (tmp_path / "lfm2k").symlink_to(simulated.folder)

    def only_mf(task, *_):
        if task.model != "mf":
            raise InputError("a model of sequences", expected="interactions with times", got="none")
        return trial(task, 0.5)

    monkeypatch.setattr(defaults_page, "measure", only_mf)
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "page.md"), "--on", "lfm2k", "--draws", "0"]
    main([*command, "--models", "sasrec", "mf"])
    assert "lfm2k sasrec does not apply: a model of sequences: expected interactions" in capsys.readouterr().out
    assert "| MF |" in (tmp_path / "page.md").read_text()


def test_runs_of_studies_on_the_same_split_count_unless_they_are_controls(simulated, tmp_path):
    settings = {"dim": 4, "num_epochs": 1}
    run = medley.train("vbpr", simulated, out=tmp_path / "runs" / "vbpr" / "one", **settings)
    medley.train("vbpr", simulated, out=tmp_path / "runs" / "vbpr" / "two", random_features=True, **settings)
    medley.train("vbpr", simulated, out=tmp_path / "runs" / "vbpr" / "three", seed=1, **settings)
    ((name, model, fingerprint, found),) = trials_of_runs(tmp_path / "runs", {"lfm2k": simulated})
    assert (name, model, fingerprint) == ("lfm2k", "vbpr", run.record.recipe.fingerprint)
    assert found["valid"] == run.record.best and Recipe.of(found["recipe"]).fingerprint == fingerprint
    assert not list(trials_of_runs(tmp_path / "runs", {}))


def test_the_page_compares_the_defaults_with_the_best_trial():
    tasks = {0.3: Task("lfm2k", "mf", {}), 0.4: Task("lfm2k", "mf", {"reg": 0.5})}
    other = {0.19: Task("ml-100k", "mf", {}), 0.2: Task("ml-100k", "mf", {"reg": 0.5})}
    figures = {
        data: {"mf": {task.recipe.fingerprint: trial(task, value) for value, task in trials.items()}}
        for data, trials in (("lfm2k", tasks), ("ml-100k", other))
    }
    text = page(figures)
    assert "| MF |  | 0.75 | 0.95 |  | 1 of 2 |" in text and BAR == 0.9
    assert "| MF | 0.3000 | 0.4000 | 2 | reg=0.5 |" in text
    assert "Not measured yet: Mosaic, Popularity" in text


@pytest.mark.parametrize(
    ("given", "default", "stands_for_it"),
    [
        ({"num_epochs": 60}, None, True),
        ({"patience": 5, "num_epochs": 60}, None, True),
        ({"patience": 5}, {"ending": "time"}, True),
        ({"patience": 5}, {"ending": "patience"}, False),  # the whole training is there
        ({"num_epochs": 900}, None, False),  # a later end, or none, may find more than the defaults do
        ({"patience": 0}, None, False),
        ({"patience": 5, "reg": 0.1}, None, False),  # another training
    ],
)
def test_the_beginning_of_the_training_with_the_defaults_stands_for_it(given, default, stands_for_it):
    trials = [trial(Task("lfm2k", "mf", given), 0.45), trial(Task("lfm2k", "mf", {"reg": 0.5}), 0.5)]
    if default:
        trials.append({**trial(Task("lfm2k", "mf", {}), 0.2), **default})
    text = page({"lfm2k": {"mf": {Recipe.of(one["recipe"]).fingerprint: one for one in trials}}})
    assert ("| MF | 0.4500* | 0.5000 | 2 | reg=0.5 |" in text) is stands_for_it


def test_trials_are_found_again_when_fingerprints_have_changed():
    one = trial(Task("lfm2k", "mf", {"reg": 0.5}), 0.3)
    found = rekeyed({"lfm2k": {"mf": {"an earlier fingerprint": one}}})
    assert found == {"lfm2k": {"mf": {Recipe.of(one["recipe"]).fingerprint: one}}}


def test_a_model_whose_defaults_of_today_were_not_measured_is_missing():
    old = [trial(Task("lfm2k", "mf", {"reg": reg}), 0.3) for reg in (0.5, 0.6)]
    figures = {"lfm2k": {"mf": {Recipe.of(one["recipe"]).fingerprint: one for one in old}}}
    assert "MF" in page(figures).split("Not measured yet:")[1]


def trial(task: Task, value: float) -> dict:
    return {"recipe": task.recipe.flat(), "valid": value, "epoch": 3, "ending": "patience", "seconds": 1.0}
