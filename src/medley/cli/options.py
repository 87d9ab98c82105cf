"""`--set key=value` -> options of the model and settings of the training."""

import json
from collections.abc import Sequence
from typing import Any

from medley.errors import InputError


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["dim=32", "combination=concat", "lr=1e-3"]` -> typed values; what is no JSON stays text.

    Raises:
        InputError: no `=`, or a key given twice.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise InputError("--set", expected="key=value", got=repr(assignment))
        if key in values:
            raise InputError(f"--set {key}", expected="once", got="twice")
        values[key] = _parse(text)
    return values


def parse_numbers(text: str, *, option: str) -> tuple[int, ...]:
    """`"10,20"` -> (10, 20)

    Raises:
        InputError: something else than whole numbers from 1 on.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise InputError(option, expected="whole numbers from 1 on, as in 10,20", got=repr(text))
    return numbers


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
