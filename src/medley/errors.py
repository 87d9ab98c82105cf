"""Errors for users. Each names the expected value, the found value and the remedy."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class MedleyError(Exception):
    """Base of all errors that Medley raises for users. The command line exits with `exit_code`."""

    exit_code = 1


class InputError(MedleyError, ValueError):
    """The input or the call is wrong.

    >>> print(InputError("rows of features", file="visual.npy", expected="6,710 (one per item)", got="6,709",
    ...                  remedy="extract the features again"))
    visual.npy: rows of features: expected 6,710 (one per item), got 6,709. Remedy: extract the features again
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        expected: object = None,
        got: object = None,
        remedy: str | None = None,
    ):
        self.what, self.expected, self.got, self.remedy = what, expected, got, remedy
        where = "" if file is None else f"{file}"
        where += "" if row is None else f"{', ' if where else ''}row {row:,}"
        found = [f"expected {expected}"] if expected is not None else []
        found += [f"got {got}"] if got is not None else []
        message = ": ".join(part for part in (where, what, ", ".join(found)) if part)
        super().__init__(message + (f". Remedy: {remedy}" if remedy else ""))


class NotFoundError(InputError):
    """No item or user of this id."""


class MedleyWarning(UserWarning):
    """Something that a person should know about a result. The command line prints it as a note."""


class TrainingError(MedleyError):
    """Training cannot continue, for example because the loss is not a finite number."""


class MissingExtraError(MedleyError, ImportError):
    """A part of Medley needs packages that the core does not install."""

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs packages that are not installed. Remedy: pip install 'medley-rec[{extra}]'")


EXPECTED = {  # kind of pydantic error -> what was expected, with the values of its context
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_unicode": "text",
    "string_too_short": "text of at least {min_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "names with values",
    "model_type": "names with values",
    "literal_error": "{expected}",
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "value_error": "{error}",
}


def invalid(
    error: "ValidationError",
    kind: str,
    *,
    of: str = "",
    known: Mapping[str, Sequence[str]] | None = None,
    file: str | Path | None = None,
    remedy: str | None = None,
) -> InputError:
    """Translates the first problem of a pydantic error into one sentence.

    Args:
        error: what pydantic raised.
        kind: what a field is called: option, setting, field, ...
        of: the owner of the fields.
        known: kind of name (options, settings, ...) -> all valid names, which the error for an unknown name lists.
        file: the file that holds the values.
        remedy: of any other problem, and of an unknown name if `known` is empty.
    """
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    owner = f" of {of}" if of else ""
    if problem["type"] == "extra_forbidden":
        everything = [each for names in (known or {}).values() for each in names]
        similar = difflib.get_close_matches(name, everything, n=1)
        listed = "; ".join(f"the {what} are {', '.join(names) or 'none'}" for what, names in (known or {}).items())
        question = f"did you mean {similar[0]}? " if similar else ""
        return InputError(f"unknown {kind} {name!r}{owner}", file=file, remedy=f"{question}{listed}" or remedy)
    if problem["type"] == "missing":
        return InputError(f"{kind} {name!r}{owner} is missing", file=file, remedy=remedy)
    template = EXPECTED.get(problem["type"])
    if template is None:
        expected = problem["msg"].removeprefix("Input should be ")
    else:
        expected = template.format(**_plain(problem.get("ctx", {})))
    return InputError(
        f"{kind} {name!r}{owner}", file=file, expected=expected, got=repr(problem["input"]), remedy=remedy
    )


def _plain(context: Mapping[str, Any]) -> dict[str, Any]:
    """Writes whole bounds without a decimal point: 1 for 1.0."""
    return {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
