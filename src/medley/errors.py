"""Errors that a user meets. Each says what was expected, what was found, and what to do about it."""

from pathlib import Path


class MedleyError(Exception):
    """Something that Medley was asked to do and could not. The command line exits with `exit_code`."""

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
        where = "" if file is None else f"{file}"
        where += "" if row is None else f"{', ' if where else ''}row {row:,}"
        found = [f"expected {expected}"] if expected is not None else []
        found += [f"got {got}"] if got is not None else []
        message = ": ".join(part for part in (where, what, ", ".join(found)) if part)
        super().__init__(message + (f". Remedy: {remedy}" if remedy else ""))


class TrainingError(MedleyError):
    """Training cannot go on, for example because the loss is no longer a number."""


class MissingExtraError(MedleyError, ImportError):
    """A part of Medley needs packages that the core does not install."""

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs packages that are not installed. Remedy: pip install 'medley-rec[{extra}]'")
