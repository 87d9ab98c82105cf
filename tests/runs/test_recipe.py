"""Recipes: checked, compared, saved and loaded."""

import json

import pytest

from medley.errors import InputError
from medley.files import sha256_of_json
from medley.models.lightgcn import LightGCN
from medley.runs import Recipe


def test_a_flat_dict_is_split_into_options_settings_and_seed_and_defaults_are_written_out():
    recipe = Recipe.of({"model": "lightgcn", "dim": 32, "lr": 0.01, "seed": 3})
    assert recipe.model == "lightgcn" and recipe.seed == 3
    assert {"dim": 32, "num_layers": 3, "combine": "mean", "reg": 1e-3}.items() <= recipe.options.items()
    assert recipe.settings.lr == 0.01 and recipe.settings.batch_size == 2048
    assert Recipe.of(recipe.flat()) == recipe


def test_a_class_and_its_name_make_the_same_recipe():
    assert Recipe.of({"model": LightGCN, "dim": 8}) == Recipe.of({"model": "lightgcn", "dim": 8})


def test_the_fingerprint_changes_with_whatever_changes_a_result_and_with_nothing_else():
    one = Recipe.of({"model": "mf", "dim": 8})
    assert one.fingerprint == Recipe.of({"dim": 8, "model": "mf", "lr": 5e-3}).fingerprint  # 5e-3 is the default
    assert one.fingerprint == one.changed({"device": "cpu"}).fingerprint
    others = [{"dim": 9}, {"lr": 0.1}, {"seed": 1}, {"model": "lightgcn"}, {"precision": "bf16"}]
    others.append({"candidates": "sampled-1000"})
    assert len({one.fingerprint, *(one.changed(other).fingerprint for other in others)}) == 7


def test_differences_name_what_differs():
    one = Recipe.of({"model": "mf", "dim": 8})
    two = one.changed({"dim": 9, "seed": 1, "device": "cpu"})
    assert one.differences(two) == {"dim": (8, 9), "seed": (0, 1)} and one.differences(one) == {}


@pytest.mark.parametrize("name", ["recipe.json", "recipe.toml"])
def test_a_recipe_survives_a_file(tmp_path, name):
    recipe = Recipe.of({"model": "huign", "levels": [8, 4], "lr": 0.01, "seed": 7})
    path = tmp_path / name
    if name.endswith("json"):
        recipe.save(path)
    else:
        path.write_text('model = "huign"\nseed = 7\n[options]\nlevels = [8, 4]\n[settings]\nlr = 0.01\n')
    assert Recipe.load(path) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"options": {}}', "'model' of a recipe is missing"),
        ('{"model": "mf", "optoins": {}}', "unknown field 'optoins'.*did you mean options"),
        ('{"model": "mf", "options": {"dims": 3}}', "unknown option 'dims' of mf.*did you mean dim"),
        ('{"model": "mf", "settings": {"lr": "fast"}}', "'settings.lr' of a recipe: expected a number, got 'fast'"),
        ('{"model": "mf", "seed": -1}', "'seed' of a recipe: expected 0 or more, got -1"),
        ('{"model": "ncf"}', "unknown model: expected mosaic or popularity or mf"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, text, message):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(InputError, match=message):
        Recipe.load(tmp_path / "recipe.json")


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({}, "model of a recipe: expected a name, an import path or a class, got None"),
        ({"model": 3}, "got 3"),
        ({"model": "mf", "learning_rate": 1}, "unknown option 'learning_rate' of mf.*dim, reg; the settings are lr"),
        ({"model": "mf", "patience": -1}, "setting 'patience': expected 0 or more, got -1"),
        ({"model": "mf", "lr": float("nan")}, "setting 'lr': expected a finite number, got nan"),
        ({"model": "mf", "seed": "one"}, "setting 'seed': expected a whole number, got 'one'"),
    ],
)
def test_a_wrong_name_or_value_is_refused_in_one_sentence(flat, message):
    with pytest.raises(InputError, match=message):
        Recipe.of(flat)


def test_a_saved_recipe_holds_no_more_than_it_needs(tmp_path):
    Recipe.of({"model": "mf"}).save(tmp_path / "recipe.json")
    assert json.loads((tmp_path / "recipe.json").read_text()).keys() == {"model", "options", "settings", "seed"}


def test_options_that_are_younger_than_fingerprints_count_when_they_say_something():
    old = Recipe.of({"model": "lightgcn"})
    document = old.model_dump(mode="json", exclude={"settings": {"device", "train_on", "average"}})
    document["options"] = {key: value for key, value in document["options"].items() if not key.startswith("cold")}
    assert old.fingerprint == sha256_of_json(document)
    assert old.changed({"cold": "neighbours"}).fingerprint != old.fingerprint
    assert Recipe.of({"model": "ease", "recency": 0.5}).fingerprint != Recipe.of({"model": "ease"}).fingerprint
