"""Checks of the class: its docstring, its paper and its options. Each function is a promise, which is its docstring."""

import inspect

from medley.errors import InputError
from medley.models.build import check_options, describe
from medley.models.registry import find, learns
from medley.testing.computed import Model
from medley.testing.small import Options, require


def has_a_summary(model: Model, options: Options) -> None:
    """The class has a docstring: what the model is, then when to choose it."""
    found, described = find(model), describe(model)
    form = 'write one sentence that ends with a full stop, then a paragraph that starts with "Choose it "'
    require(vars(found).get("__doc__"), f"the class {found.__name__} has no docstring: {form}")
    require(described["summary"].endswith("."), f"the docstring of {found.__name__} has no summary: {form}")
    require(described["choice"].endswith("."), f"the docstring of {found.__name__} does not say when: {form}")


def cites_its_paper(model: Model, options: Options) -> None:
    """The first paragraph of the file cites the paper of a trained model, with a link."""
    has_link = "http" in describe(model)["paper"]
    require(has_link or not learns(model), "the first paragraph of the file's docstring has no link")


def has_typed_options_with_defaults(model: Model, options: Options) -> None:
    """The constructor takes the inputs and keyword-only options, each with a type and a default."""
    _, *parameters = inspect.signature(find(model)).parameters.values()
    for option in parameters:
        require(option.kind is option.KEYWORD_ONLY, f"{option.name} is not keyword-only: put it behind a *")
        require(option.annotation is not option.empty, f"option {option.name} has no type")
        require(option.default is not option.empty, f"option {option.name} has no default")
    defaults = check_options(model, {})
    try:
        require(check_options(model, defaults) == defaults, "the defaults of the options are not of their types")
    except InputError as error:
        raise AssertionError(f"a default is refused: {error}") from None


def refuses_negative_counts(model: Model, options: Options) -> None:
    """Options named dim, k or num_... refuse -1: the range is part of the type (`medley.models.base.Count`)."""
    counts = [o for o in describe(model)["options"] if o.startswith("num_") or o in ("dim", "k")]
    for option in counts:
        try:
            check_options(model, {option: -1})
        except InputError as error:
            require("or more, got -1" in str(error), f"the error for {option}=-1 does not say the range: {error}")
        else:
            raise AssertionError(f"{option}=-1 is accepted: give the option the type Count or Layers")
