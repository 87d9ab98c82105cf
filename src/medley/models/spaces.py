"""Search spaces of options and settings: the values that `medley tune` tries. Every model declares its own.

    Log(low, high)      a number, uniform in its logarithm     as text log:0.0001..0.01
    Uniform(low, high)  a number                               as text 0.0..0.5
    Whole(low, high)    a whole number                         as text 1..4
    Choice(values)      one of several values                  as text 32,64,128

Both ends belong to a space.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medley.errors import InputError

RANGE = re.compile(r"(log:)?([^.,][^,]*?)\.\.([^,]+)")
FORMS = "log:0.0001..0.01, 0.0..0.5, 1..4 or 32,64,128"


@dataclass(frozen=True)
class _Range:
    """A range of numbers from `low` to `high`."""

    low: float
    high: float

    def __post_init__(self):
        ends = self.low, self.high
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
        _check(self, numbers and self.low < self.high, "two numbers, the lower one first")

    def contains(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    @property
    def size(self) -> int | None:
        """Number of different values; None where there is no end of them."""
        return None

    def __str__(self) -> str:
        return f"{float(self.low)!r}..{float(self.high)!r}"


class Uniform(_Range):
    """Numbers whose distribution is uniform."""

    def including(self, value: Any) -> "Uniform":
        """Returns the space, widened where the value lies outside."""
        return Uniform(min(self.low, _number(self, value)), max(self.high, value))


class Log(_Range):
    """Positive numbers whose logarithm is uniform: learning rates, weights of a penalty."""

    def __post_init__(self):
        super().__post_init__()
        _check(self, self.low > 0, "low > 0, because 0 has no logarithm")

    def including(self, value: Any) -> "Log":
        """Returns the space, widened where the value lies outside.

        Raises:
            InputError: the value is not positive.
        """
        return Log(min(self.low, _number(self, value)), max(self.high, value))

    def __str__(self) -> str:
        return f"log:{super().__str__()}"


class Whole(_Range):
    """Whole numbers: layers, neighbours."""

    def __post_init__(self):
        super().__post_init__()
        _check(self, all(isinstance(end, int) for end in (self.low, self.high)), "whole ends")

    def contains(self, value: Any) -> bool:
        """Whether a value is a whole number in the range."""
        return super().contains(value) and isinstance(value, int)

    def including(self, value: Any) -> "Whole":
        """Returns the space, widened where the value lies outside."""
        return Whole(min(self.low, _number(self, value)), max(self.high, value))  # type: ignore[arg-type]

    @property
    def size(self) -> int:
        """Number of different values."""
        return int(self.high - self.low) + 1

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Choice:
    """One of several values: text, numbers, true and false."""

    values: tuple[Any, ...]

    def __post_init__(self):
        object.__setattr__(self, "values", tuple(self.values))
        plain = all(isinstance(value, bool | int | float | str) for value in self.values)
        different = len({(type(value), value) for value in self.values}) == len(self.values) if plain else False
        _check(self, bool(self.values) and different, "different values: text, numbers, true or false")

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the choices."""
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.values)

    def including(self, value: Any) -> "Choice":
        """Returns the space, with the value as one more choice if it is a new one."""
        return self if self.contains(value) else Choice((*self.values, value))

    @property
    def size(self) -> int:
        """Number of different values."""
        return len(self.values)

    def __str__(self) -> str:
        return ",".join(value if isinstance(value, str) else json.dumps(value) for value in self.values)


Space = Log | Uniform | Whole | Choice


def parse_space(text: str) -> Space:
    """Returns the space that a text describes; `str` of a space is such a text.

    Raises:
        InputError: none of the four forms.
    """
    match = RANGE.fullmatch(text.strip())
    if match is None:
        return _choice([part.strip() for part in text.split(",")], text)
    ends = [_parse(part.strip()) for part in match.groups()[1:]]
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        raise InputError("search space", expected=FORMS, got=repr(text))
    if match[1]:
        return Log(*ends)
    return Whole(*ends) if all(isinstance(end, int) for end in ends) else Uniform(*ends)


def _choice(parts: Sequence[str], text: str) -> Choice:
    if "" in parts:
        raise InputError("search space", expected=FORMS, got=repr(text))
    return Choice(tuple(_parse(part) for part in parts))


def _parse(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _number(space: Space | _Range, value: Any) -> Any:
    """Returns the value if the space can be widened to hold it."""
    kind = int if isinstance(space, Whole) else int | float
    if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(space, Log) and value <= 0):
        remedy = "fix this option, or give it another search space"
        raise InputError("a value outside of its search space", expected=str(space), got=repr(value), remedy=remedy)
    return value


def _check(space: object, holds: bool, expected: str) -> None:
    if not holds:
        got = space.__dict__
        raise InputError(
            f"search space {type(space).__name__}", expected=expected, got=", ".join(map(repr, got.values()))
        )


LR = Log(1e-4, 1e-2)  # MMGCN, Sec. 4.1.3; LUDP, Sec. 5.1.4; Adam diverges or oscillates above
REG = Log(1e-5, 1e-1)  # MMGCN, Sec. 4.1.3; LUDP, Sec. 5.1.4; HUIGN, Sec. 4.1.4; DualGNN, Sec. V-D, all without 0
