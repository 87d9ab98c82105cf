"""One finding of an audit, and the rule for flags."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CERTAIN = 5.0  # standard errors from the expected value: chance gives that once in a million audits


@dataclass(frozen=True)
class Finding:
    """A figure beside its expected value, what the figure means, and what to do about it."""

    name: str  # for programs, such as row-order
    figure: float
    expected: float | None  # None: the figure describes the data, and no value is expected
    error: float | None  # standard error of the figure if the expected value is true; None: not a matter of chance
    is_flag: bool
    says: str  # the figure in words, one sentence
    why: str  # why it matters
    remedy: str
    details: Mapping[str, float | int | str] = field(default_factory=dict)  # further figures

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, ready for JSON."""
        return asdict(self)


def deviates(figure: float, expected: float, error: float, *, size: float) -> bool:
    """Whether a figure differs from its expected value by at least `size`, and by more than chance can give."""
    distance = abs(figure - expected)
    return bool(distance >= size and distance >= CERTAIN * error)


def exceeds(figure: float, expected: float, error: float, *, size: float) -> bool:
    """As `deviates`, for figures that only matter if they are too large."""
    return figure > expected and deviates(figure, expected, error, size=size)
