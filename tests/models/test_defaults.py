"""Models with nothing set: their defaults are valid, and a training accepts them."""

import pytest

import medley
from medley.experiments import papers
from medley.models import MODELS
from medley.runs import Recipe
from medley.runs.settings import TrainSettings

SETTABLE = {"lr", "batch_size", "num_epochs", "patience", "average"}  # the others say what is compared, or where


@pytest.mark.parametrize("name", MODELS)
def test_default_settings_are_valid_and_differ_from_those_of_every_model(name):
    declared = MODELS[name].default_settings
    assert declared.keys() <= SETTABLE
    assert declared.items() <= Recipe.of({"model": name}).settings.model_dump().items()
    assert all(value != getattr(TrainSettings(), key) for key, value in declared.items())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_nothing_set_trains(name, simulated):
    run = medley.train(Recipe.of({"model": name}).changed({"num_epochs": 1}), simulated, progress=False)
    assert run.record.status == "finished" and run.history.best is not None and 0 <= run.history.best <= 1


def test_what_is_given_replaces_a_default_setting():
    assert Recipe.of({"model": "mf"}).settings.lr == MODELS["mf"].default_settings["lr"]
    assert Recipe.of({"model": "mf", "lr": 0.1}).settings.lr == 0.1


@pytest.mark.parametrize("name", papers.names())
def test_a_published_recipe_does_not_depend_on_the_default_settings_of_its_model(name, monkeypatch):
    before = papers.find(name)
    monkeypatch.setattr(MODELS[before.model], "default_settings", {"lr": 0.5})
    assert papers.find(name) == before
