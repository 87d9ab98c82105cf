"""Options that several commands share, and the parsing of values."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from medley.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="print one JSON document on standard output")]
Out = Annotated[Path, typer.Option("--out", "-o", help="folder to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the folder if it exists")]
Seed = Annotated[int, typer.Option(help="seed of everything that is drawn at random", min=0)]
Assignments = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="may be repeated")]
DatasetFolder = Annotated[Path, typer.Argument(help="data set folder, made by import or simulate")]
RunFolder = Annotated[Path, typer.Argument(help="run folder, made by train")]
MovedDataset = Annotated[Path | None, typer.Option("--dataset", help="folder of the data set, if it was moved")]

FLAGS = (  # parameters of the library that are flags here; all others are set by --set
    *("overwrite", "resume", "dataset", "name", "split", "ratios", "kcore", "rating_threshold", "seed", "device", "at"),
    *("user_column", "item_column", "timestamp_column", "rating_column", "candidates", "out", "metric"),
)


def with_flags(sentence: str) -> str:
    """Replaces parameters in the remedy of an error by flags: `overwrite=True` -> `--overwrite`."""
    problem, remedy, advice = sentence.partition("Remedy: ")

    def flag(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        return f"--{name.replace('_', '-')}" + ("" if value in ("True", "...") else f" {value}")

    return problem + remedy + re.sub(rf"(?<![-\w'])({'|'.join(FLAGS)})=(True|\.\.\.|[\w.:]+)", flag, advice)


def parse_assignments(assignments: Sequence[str] | None) -> dict[str, Any]:
    """Parses `["dim=32", "combination=concat", "lr=1e-3"]` to typed values; a value that is not JSON stays text.

    Raises:
        InputError: no `=`, or a key given twice.
    """
    values: dict[str, Any] = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise InputError("--set", expected="key=value", got=repr(assignment))
        if key in values:
            raise InputError(f"--set {key}", expected="once", got="twice")
        values[key] = _parse(text)
    return values


def agreed(flag: str, given: Any, assigned: dict[str, Any]) -> dict[str, Any]:
    """Returns the assignments with the value of a flag, which may not differ from an assigned value.

    Raises:
        InputError: `--seed 3 --set seed=4`.
    """
    if given is None:
        return assigned
    if assigned.get(flag, given) != given:
        got = f"--{flag} {given} and --set {flag}={assigned[flag]}"
        raise InputError(f"two values of {flag}", expected="one", got=got, remedy="leave one of them out")
    return {**assigned, flag: given}


def parse_numbers(text: str, *, option: str) -> tuple[int, ...]:
    """Parses `"10,20"` to (10, 20).

    Raises:
        InputError: not whole numbers of at least 1.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise InputError(option, expected="whole numbers of at least 1, as in 10,20", got=repr(text))
    return numbers


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
