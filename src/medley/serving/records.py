"""Items, users and feedback as a store keeps them, and the checks of their values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from medley.errors import InputError

LONGEST = 1000  # characters of an id, a type or the name of a modality
LAST_MOMENT = 253_402_300_800.0  # seconds: the year 10,000

Outcome = Literal["new", "duplicate", "conflict"]
"""Of one event: stored; stored before; or not stored, since its id belongs to another event."""


@dataclass(frozen=True)
class StoredItem:
    """An item as it was put, or the mark of a deleted item."""

    item: str  # raw id
    attributes: dict[str, Any]  # column -> value
    features: dict[str, np.ndarray] = field(default_factory=dict)  # modality -> (d_m,) float32, as encoders give them
    deleted: bool = False
    thumbnail: bytes | None = None  # a small JPEG


@dataclass(frozen=True)
class StoredUser:
    """A user as it was put."""

    user: str  # raw id
    attributes: dict[str, Any]
    history: tuple[str, ...] = ()  # raw ids of items that the user begins with


class Event(NamedTuple):
    """One piece of feedback."""

    id: str  # chosen by the sender: the same id again is the same event
    user: str  # raw id
    item: str  # raw id
    type: str  # click, like, skip, ...
    time: float  # seconds since 1970 (UTC), kept to the millisecond


def event_of(row: tuple) -> Event:
    """Returns the event of columns as `row_of` makes them."""
    *texts, timestamp = row
    return Event(*texts, time=timestamp / 1000)


def row_of(event: Event) -> tuple[str, str, str, str, int]:
    """Returns the columns of an event: id, user, item, type, milliseconds.

    Raises:
        InputError: a bad id or type, or a time that is not a number from 1970 to 9999.
    """
    is_time = isinstance(event.time, int | float | np.number) and not isinstance(event.time, bool)
    if not is_time or not 0 <= event.time < LAST_MOMENT:
        expected = "seconds since 1970 (UTC), up to the year 9999"
        raise InputError("time of the feedback", expected=expected, got=repr(event.time))
    texts = [checked_text(getattr(event, name), f"{name} of the feedback") for name in ("id", "user", "item", "type")]
    return (*texts, round(float(event.time) * 1000))  # type: ignore[return-value]


def checked_text(value: object, what: str) -> str:
    """Returns text that SQLite and a text table can hold.

    Raises:
        InputError: something else, and the sentence calls it `what`.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST or "\0" in value:
        expected = f"text of 1 to {LONGEST:,} characters"
        raise InputError(what, expected=expected, got=f"{value!r:.80}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(what, expected="valid Unicode", got=f"{value!r:.80}") from None
    return value


def json_of(attributes: Mapping[str, Any]) -> str:
    """Returns attributes as JSON.

    Raises:
        InputError: values that JSON cannot hold, or numbers that are not finite.
    """
    try:
        return json.dumps(dict(attributes), ensure_ascii=True, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        expected = "names with text, finite numbers, true, false, or lists of them"
        raise InputError("attributes", expected=expected, got=str(error)) from None


def blobs_of(item: str, features: Mapping[str, np.ndarray]) -> list[tuple[str, str, bytes]]:
    """Returns (item, modality, little-endian float32) of every modality.

    Raises:
        InputError: features that are not finite numbers (d,).
    """
    return [(item, checked_text(modality, "modality"), _blob(modality, each)) for modality, each in features.items()]


def _blob(modality: str, vector: np.ndarray) -> bytes:
    vector = np.asarray(vector)
    is_number = np.issubdtype(vector.dtype, np.floating) or np.issubdtype(vector.dtype, np.integer)
    if vector.ndim != 1 or not len(vector) or not is_number:
        got = f"{vector.dtype} of shape {vector.shape}"
        raise InputError(f"features[{modality!r}]", expected="numbers (d,)", got=got)
    with np.errstate(over="ignore"):
        vector = vector.astype("<f4")
    if not np.isfinite(vector).all():
        raise InputError(f"features[{modality!r}]", expected="finite numbers", got="NaN or infinity")
    return vector.tobytes()
