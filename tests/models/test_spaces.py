"""Search spaces: values, text forms, and the spaces that the models declare."""

import pytest

from medley.errors import InputError
from medley.models import MODELS, learns
from medley.models.spaces import Choice, Log, Uniform, Whole, parse_space
from medley.runs import Recipe


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("log:1e-4..1e-2", Log(1e-4, 1e-2)),
        ("0.0..0.5", Uniform(0.0, 0.5)),
        ("0..0.5", Uniform(0, 0.5)),
        ("-1..4", Whole(-1, 4)),
        ("32, 64,128", Choice((32, 64, 128))),
        ("mean,sum", Choice(("mean", "sum"))),
        ("true,false", Choice((True, False))),
        ("5", Choice((5,))),
    ],
)
def test_a_space_can_be_written_as_text(text, space):
    assert parse_space(text) == space
    assert parse_space(str(space)) == space


@pytest.mark.parametrize(
    "text", ["", "1,,2", "4..1", "log:0..1", "log:a..b", "1..x", "1..1", "1,1", "1..inf", "log:-1..1", "a..b"]
)
def test_a_text_that_is_no_space_is_refused(text):
    with pytest.raises(InputError):
        parse_space(text)


def test_both_ends_belong_to_a_space_and_kinds_are_kept_apart():
    assert Log(1e-4, 1e-2).contains(1e-4) and Log(1e-4, 1e-2).contains(1e-2) and not Log(1e-4, 1e-2).contains(0.1)
    assert Whole(1, 4).contains(4) and not Whole(1, 4).contains(2.5) and not Whole(1, 4).contains(True)
    assert Choice((0, 1)).contains(1) and not Choice((0, 1)).contains(True)
    assert Log(1, 2) != Uniform(1, 2)
    assert [Whole(1, 4).size, Choice(("a", "b")).size, Uniform(0, 1).size] == [4, 2, None]


def test_a_space_is_widened_to_hold_a_value():
    assert Log(1e-4, 1e-2).including(0.1) == Log(1e-4, 0.1)
    assert Uniform(0.1, 0.5).including(0.0) == Uniform(0.0, 0.5)
    assert Whole(2, 4).including(0) == Whole(0, 4) and Whole(2, 4).including(3) == Whole(2, 4)
    assert Choice((8, 16)).including(32) == Choice((8, 16, 32)) and Choice((8, 16)).including(8) == Choice((8, 16))
    for space, value in ((Log(1e-4, 1e-2), 0.0), (Whole(1, 4), 2.5), (Uniform(0, 1), "none")):
        with pytest.raises(InputError, match="outside of its search space"):
            space.including(value)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_declares_its_own_space_which_holds_the_defaults_and_is_accepted(name):
    model = MODELS[name]
    space, base = vars(model)["search_space"], Recipe.of({"model": name})
    for option, one in space.items():
        assert one.contains(base.flat()[option]), f"{option}={base.flat()[option]} is not in {one}"
        for value in one.values if isinstance(one, Choice) else (one.low, one.high):
            assert base.changed({option: value}).flat()[option] == value
    assert ("lr" in space) == learns(name), "models that learn, and no others, have a learning rate"


def test_every_choice_of_a_declared_space_builds(checkerboard):
    from medley import models

    for name, model in MODELS.items():
        for option, one in model.search_space.items():
            if option != "lr":
                for value in one.values if isinstance(one, Choice) else (one.low, one.high):
                    models.build(name, checkerboard, **{option: value})
