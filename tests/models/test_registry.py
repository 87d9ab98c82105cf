"""Models by name, import path, class and entry point."""

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from medley import plugins
from medley.errors import InputError
from medley.models import MODELS, build, describe, find, names, registry
from medley.models.mf import MF


class Mine(MF):
    """A model of this file.

    Choose it in tests.
    """

    class Inner(MF):
        """A model inside a model.

        Choose it in tests.
        """


@pytest.fixture
def module(monkeypatch):
    """A module of another package, `strangers.models`, with a model, a number and a model inside a class."""
    for name in ("strangers", "strangers.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    found = sys.modules["strangers.models"]
    Mine_ = type("Mine", (MF,), {"__doc__": Mine.__doc__, "__module__": "strangers.models"})
    Inner_ = type(
        "Inner",
        (MF,),
        {"__doc__": Mine.__doc__, "__module__": "strangers.models", "__qualname__": "Mine.Inner"},
    )
    Mine_.Inner, found.Mine, found.NUMBER = Inner_, Mine_, 3
    return found


@pytest.fixture
def installed(monkeypatch, module):
    """Entry points of a stranger's package: `mine`, two that are broken, and one that takes the name of ours."""
    values = {
        "mine": "strangers.models:Mine",
        "gone": "strangers.gone:Mine",
        "number": "strangers.models:NUMBER",
        "mf": "strangers.models:Mine",
    }
    entries = {name: EntryPoint(name, value, registry.ENTRY_POINTS) for name, value in values.items()}
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries.values())
    return entries


def test_every_name_finds_its_class_and_the_class_its_name():
    for name, model in MODELS.items():
        assert find(name) is find(model) is model
        assert registry.name_of(name) == registry.name_of(model) == name


def test_a_class_is_found_by_its_import_path_and_named_by_it(module, five_nodes):
    assert find("strangers.models:Mine") is module.Mine
    assert registry.name_of(module.Mine) == "strangers.models:Mine"
    by_path, by_class = (build(given, five_nodes, dim=2) for given in ("strangers.models:Mine", module.Mine))
    assert by_path.spec == by_class.spec == ("strangers.models:Mine", {"dim": 2, "reg": 0.01}, 0)


def test_a_class_inside_a_class_is_found_by_the_path_that_names_it(module):
    assert registry.name_of(module.Mine.Inner) == "strangers.models:Mine.Inner"
    assert find("strangers.models:Mine.Inner") is module.Mine.Inner


def test_a_class_object_needs_no_name(five_nodes):
    assert find(Mine) is Mine and describe(Mine)["summary"] == "A model of this file."
    assert isinstance(build(Mine, five_nodes), Mine)


def test_names_lists_ours_first_then_those_of_installed_packages_once(installed):
    assert names() == [*MODELS, "mine", "gone", "number"]


def test_an_entry_point_is_found_by_its_name_and_ours_win(installed, module, five_nodes):
    assert find("mine") is module.Mine
    assert find("mf") is MF
    assert build("mine", five_nodes).spec.name == "mine"


def test_entry_points_of_the_group_are_read_from_installed_packages(monkeypatch, module):
    def entry_points(group):
        assert group == "medley.models"
        return [EntryPoint("mine", "strangers.models:Mine", group)]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    assert names()[-1] == "mine" and find("mine") is module.Mine


def test_a_broken_entry_point_is_refused_when_it_is_asked_for(installed):
    message = r"model 'gone' from strangers\.gone:Mine: got ModuleNotFoundError.* Remedy: is the package installed"
    with pytest.raises(InputError, match=message):
        find("gone")


@pytest.mark.parametrize("given", ["number", "strangers.models:NUMBER", int, 3])
def test_anything_that_is_not_a_recommender_is_refused(installed, given):
    with pytest.raises(InputError, match=r"expected a subclass of medley\.models\.Recommender, got (3|<class 'int'>)"):
        find(given)


@pytest.mark.parametrize("path", ["strangers.models:Nobody", "nowhere.at.all:Mine"])
def test_a_path_that_leads_nowhere_is_refused_with_the_reason(module, path):
    with pytest.raises(InputError, match=f"model '{path}' from {path}: got (AttributeError|ModuleNotFoundError)"):
        find(path)


@pytest.mark.parametrize("name", ["ncf", ":Mine", "strangers.models:", "strangers.models:no name", ""])
def test_an_unknown_name_is_refused_with_the_known_names(name):
    with pytest.raises(
        InputError, match=r"unknown model: expected mosaic or popularity or mf .* or an import path .*, got "
    ):
        find(name)
