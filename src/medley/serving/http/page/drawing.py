"""Geometry of what the page draws as SVG: bars, patterns in place of pictures, and the map of the catalogue."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NUM_COLOURS = 5  # of parts: the classes m0 to m4 of page.css
NUM_HUES = 8  # of patterns: the classes h0 to h7
NUM_SHADES = 5  # of popularity: the classes q0 to q4
MAP_WIDTH, MAP_HEIGHT, MAP_MARGIN = 1000, 640, 24
MIN_RADIUS, MAX_RADIUS = 4.0, 11.0


class Piece(NamedTuple):
    """A piece of a bar, in percent of the bar."""

    name: str
    value: float  # as it was given: negative speaks against
    start: float
    width: float
    colour: int


class Pattern(NamedTuple):
    """A picture for an item without one: two shapes and the first letter of its title."""

    hue: int
    letter: str
    circles: list[tuple[int, int, int]]  # x, y, radius; the picture has a width of 100


class Point(NamedTuple):
    """An item on the map."""

    id: str
    title: str
    x: float
    y: float
    radius: float
    shade: int
    popularity: int
    cold: bool
    role: str  # seen, recommended, other, or '' where no user is shown


def stacked(values: Mapping[str, float], order: Sequence[str]) -> list[Piece]:
    """Stacks the sizes of values to one bar of 100 percent.

    Args:
        values: name -> value; a negative value takes its size.
        order: all names, which fixes the order and the colours; other names follow.
    """
    names = [*order, *(name for name in values if name not in order)]
    total = sum(abs(value) for value in values.values())
    pieces, start = [], 0.0
    for colour, name in enumerate(names):
        if total and values.get(name):
            width = 100 * abs(values[name]) / total
            pieces.append(Piece(name, values[name], start, width, colour % NUM_COLOURS))
            start += width
    return pieces


def pattern(id: str, title: str | None) -> Pattern:
    """Returns the pattern of an item, the same on every page and every machine."""
    digest = hashlib.sha256(id.encode()).digest()
    circles = [(digest[n] % 101, digest[n + 1] % 101, 18 + digest[n + 2] % 30) for n in (1, 4)]
    letter = next((character for character in title or id if character.isalnum()), "·")
    return Pattern(digest[0] % NUM_HUES, letter.upper(), circles)


def points(places: Sequence[Mapping[str, Any]], roles: Mapping[str, str] | None = None) -> list[Point]:
    """Places items on the map; popular items come last, so that they lie on top.

    Args:
        places: items as `Service.places` returns them.
        roles: raw id -> seen or recommended, if the map shows a user.
    """
    if not places:
        return []
    (left, right), (low, high) = ((min(p[axis] for p in places), max(p[axis] for p in places)) for axis in "xy")
    most = max(max(place["popularity"] for place in places), 1)
    found = []
    for place in places:
        strength = math.log1p(max(place["popularity"], 0)) / math.log1p(most)
        role = "" if roles is None else roles.get(place["id"], "other")
        found.append(
            Point(
                id=place["id"],
                title=place["title"] or place["id"],
                x=round(_scaled(place["x"], left, right, MAP_WIDTH), 1),
                y=round(MAP_HEIGHT - _scaled(place["y"], low, high, MAP_HEIGHT), 1),
                radius=round(MIN_RADIUS + strength * (MAX_RADIUS - MIN_RADIUS), 1),
                shade=min(int(strength * NUM_SHADES), NUM_SHADES - 1),
                popularity=place["popularity"],
                cold=place["cold"],
                role=role,
            )
        )
    return sorted(found, key=lambda point: (point.role in ("seen", "recommended"), point.popularity))


def _scaled(value: float, low: float, high: float, size: int) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return MAP_MARGIN + share * (size - 2 * MAP_MARGIN)
