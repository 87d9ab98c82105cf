"""Options of models: one sentence for every option that is refused, whatever the value."""

import re

import pytest

from medley.errors import EXPECTED, InputError
from medley.models import MODELS, Recommender, build, check_options, describe
from medley.models.base import Count, Share
from medley.models.mf import MF

WRONG = [
    *(None, True, False, -1, 0, 2, 10**400, 1.5, float("nan"), float("inf"), -float("inf")),
    *("", "x", "3", "9" * 5000, "nan", "\ud800", b"x", b"\xff", object(), 1j),
    *([], [0], [None], ["x", 1], (), (1.5,), {}, {"a": 1}, {"a"}),
]
RAW = re.compile(r"input should|unable to|valid|\{|\}|pydantic|value error", re.IGNORECASE)


@pytest.mark.parametrize("name", MODELS)
def test_every_value_is_taken_or_refused_in_one_sentence(name):
    for option in describe(name)["options"]:
        for value in WRONG:
            try:
                check_options(name, {option: value})
            except InputError as error:
                what, _, got = str(error).partition(", got ")
                assert re.match(rf"option '{option}(\.\w+)*' of {name}: expected ", what), what
                assert not RAW.search(what), what
                assert got


@pytest.mark.parametrize(
    ("model", "option", "value", "expected"),
    [
        ("gat", "num_layers", 0, "1 or more, got 0"),
        ("ngcf", "num_layers", -1, "0 or more, got -1"),
        ("gat", "num_layers", 1.5, "a whole number, got 1.5"),
        ("gat", "num_layers", "three", "a whole number, got 'three'"),
        ("gat", "num_layers", "9" * 5000, "a smaller whole number, got '999"),
        ("gat", "num_layers", None, "a whole number, got None"),
        ("gat", "num_layers", float("nan"), "a finite number, got nan"),
        ("gat", "dropout", 1, "less than 1, got 1"),
        ("gat", "dropout", "half", "a number, got 'half'"),
        ("gat", "dropout", [0.5], "a number, got [0.5]"),
        ("gat", "reg", float("inf"), "a finite number, got inf"),
        ("gat", "reg", float("nan"), "a finite number, got nan"),
        ("ease", "reg", 0, "more than 0, got 0"),
        ("gat", "drop_modalities", 1.5, "1 or less, got 1.5"),
        ("gat", "random_features", "perhaps", "true or false, got 'perhaps'"),
        ("gat", "random_features", None, "true or false, got None"),
        ("gat", "feature_scale", "l1", "none, l2, standard, pca-whitening or pca-whitening-D, with D a number of"),
        ("gat", "modalities", 3, "a list, got 3"),
        ("gat", "dim", "\ud800", "text, got '\\ud800'"),
    ],
)
def test_the_sentence_says_what_was_expected(model, option, value, expected):
    with pytest.raises(InputError) as raised:
        check_options(model, {option: value})
    assert str(raised.value).startswith(f"option '{option}' of {model}: expected {expected}")


class Sized(MF):
    """A model with options that no model here has as yet."""

    def __init__(self, inputs, *, sizes: tuple[Count, ...] = (4, 2), weights: dict[str, Share] | None = None):
        super().__init__(inputs)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"sizes": 3}, "option 'sizes' of {}: expected a list, got 3"),
        ({"sizes": [3, 0]}, "option 'sizes.1' of {}: expected 1 or more, got 0"),
        ({"weights": "visual"}, "option 'weights' of {}: expected names with values, got 'visual'"),
        ({"weights": {"visual": 2}}, "option 'weights.visual' of {}: expected 1 or less, got 2"),
    ],
)
def test_tuples_and_mappings_are_refused_as_clearly(option, sentence):
    with pytest.raises(InputError, match=re.escape(sentence.format(f"{__name__}:Sized"))):
        check_options(Sized, option)


def test_an_item_of_a_list_is_named_by_its_place():
    with pytest.raises(InputError, match=r"option 'modalities\.1' of gat: expected text, got 1"):
        check_options("gat", {"modalities": ["visual", 1]})


def test_a_kind_of_error_without_a_sentence_is_still_without_the_words_of_pydantic(monkeypatch):
    monkeypatch.delitem(EXPECTED, "greater_than_equal")
    with pytest.raises(InputError, match="'dim' of mf: expected greater than or equal to 1, got 0"):
        check_options("mf", {"dim": 0})


@pytest.mark.parametrize("name", [name for name in MODELS if "dim" in check_options(name, {}) and name != "huign"])
def test_vectors_of_no_length_are_refused(name, checkerboard):
    with pytest.raises(InputError, match=rf"option 'dim' of {name}: expected 1 or more, got 0"):
        build(name, checkerboard, dim=0)


@pytest.mark.parametrize("name", [name for name in MODELS if "dim" in check_options(name, {})])
def test_an_unknown_option_is_refused_with_the_known_ones(name, checkerboard):
    message = rf"unknown option 'dimension' of {name}\. Remedy: (did you mean \w+\? )?the options of {name} are dim, "
    with pytest.raises(InputError, match=message):
        build(name, checkerboard, dimension=3)


def test_settings_of_the_caller_are_listed_beside_the_options():
    message = r"did you mean num_epochs\? the options of mf are dim, reg; the settings are lr, num_epochs"
    with pytest.raises(InputError, match=message):
        check_options("mf", {"num_epoch": 3}, settings=["lr", "num_epochs"])


def test_options_are_typed_and_completed_by_the_defaults():
    assert check_options("mf", {"dim": "8"}) == {"dim": 8, "reg": 0.01}
    assert describe("mf")["options"]["dim"] == {"type": "int, 1 or more", "default": 64}
    assert describe("ease")["options"]["reg"] == {"type": "float, more than 0", "default": 100.0}
    assert describe("gat")["options"]["dropout"]["type"] == "float, 0 or more, less than 1"


def test_a_class_without_a_docstring_is_not_described_by_that_of_its_parents():
    silent = type("Silent", (MF,), {"__module__": __name__})
    assert describe(silent)["summary"] == describe(silent)["choice"] == ""
    assert issubclass(silent, Recommender)
