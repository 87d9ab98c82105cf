"""Draws the pictures of a simulated catalogue: one look per cluster, no two items alike.

A cluster decides the shape, its hue, the layout, and the pattern and hue of the background; an item the places, sizes,
angles, shades, motion and noise, and a small shape of another kind and hue, which says nothing about the cluster.
"""

import colorsys
from typing import NamedTuple

import numpy as np

SIDE = 128  # pixels of a picture
MARGIN = 24  # pixels around the picture, into which its two layers move
HUES, SHAPES, PATTERNS = 12, 7, 5  # no two have a common divisor: 420 looks before a combination comes again
LAYOUTS = {  # centres and radii of the shapes, where the picture goes from -1 to 1
    0: ((0.0, 0.0, 0.62),),
    1: ((-0.45, -0.45, 0.3), (0.45, -0.45, 0.3), (-0.45, 0.45, 0.3), (0.45, 0.45, 0.3)),
    2: ((-0.6, 0.0, 0.27), (0.0, 0.0, 0.27), (0.6, 0.0, 0.27)),
    3: ((-0.4, -0.4, 0.42), (0.45, 0.45, 0.42)),
}
CYCLE = HUES * SHAPES * PATTERNS
BACKGROUNDS = 6  # hues of the background, relative to that of the shapes


class Look(NamedTuple):
    """What the pictures of a cluster have in common."""

    hue: float  # 0 to 1
    shape: int
    layout: int
    pattern: int
    ground: float  # hue of the background


def look(cluster: int) -> Look:
    """Returns the look of a cluster; 2,520 clusters look different, later ones look like the first."""
    hue = cluster % HUES / HUES
    ground = hue + 0.5 + (cluster // CYCLE % BACKGROUNDS) / BACKGROUNDS
    return Look(hue, cluster % SHAPES, cluster % len(LAYOUTS), cluster % PATTERNS, ground % 1.0)


def draw(cluster: int, rng: np.random.Generator, num_frames: int = 1) -> np.ndarray:
    """Draws the frames of one item: two layers that move.

    Args:
        cluster: of the item.
        rng: of everything in which items of a cluster differ.
        num_frames: F.

    Returns:
        (F, SIDE, SIDE, 3) uint8 RGB.
    """
    style = look(cluster)
    ground = _background(style, rng)
    colour, mask = _foreground(style, rng)
    frames = np.empty((num_frames, SIDE, SIDE, 3), dtype=np.uint8)
    paths = [_path(rng, num_frames) for _ in range(2)]
    light = rng.uniform(0.8, 1.1)
    grain = rng.normal(0, 0.025, (SIDE, SIDE, 1))
    for n in range(num_frames):
        behind, before = (np.s_[y : y + SIDE, x : x + SIDE] for y, x in (paths[0][n], paths[1][n]))
        frame = ground[behind] + mask[before][..., None] * (colour[before] - ground[behind])
        frames[n] = ((frame * light + grain).clip(0, 1) * 255).astype(np.uint8)
    return frames


def _path(rng: np.random.Generator, num_frames: int) -> list[tuple[int, int]]:
    """Returns the upper left corner of the picture within a layer, frame by frame: a straight line."""
    first, last = rng.integers(0, 2 * MARGIN + 1, (2, 2))
    share = np.linspace(0, 1, num_frames)[:, None]
    return [(int(y), int(x)) for y, x in np.rint(first + share * (last - first))]


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Returns y and x of the pixels of a layer, from -1 to 1 within the picture."""
    place = (np.arange(SIDE + 2 * MARGIN, dtype=np.float32) - MARGIN + 0.5) / SIDE * 2 - 1
    return np.meshgrid(place, place, indexing="ij")


def _background(style: Look, rng: np.random.Generator) -> np.ndarray:
    """Returns (H, W, 3) from 0 to 1: a pattern of two shades."""
    y, x = _grid()
    angle = rng.normal(0, 0.12)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    period = rng.uniform(0.85, 1.15)
    phase = rng.uniform(0, 2 * np.pi, 2)
    a, b = (np.sin(each * np.pi / (0.16 * period) + p) for each, p in ((along, phase[0]), (across, phase[1])))
    if style.pattern == 0:  # a gradient
        share = 0.5 + 0.5 * along
    elif style.pattern == 1:  # stripes
        share = 0.5 + 2 * b
    elif style.pattern == 2:  # a chequerboard
        share = 0.5 + 3 * np.sign(a) * np.minimum(np.abs(a), np.abs(b)) * np.sign(b)
    elif style.pattern == 3:  # dots
        share = 4 * (np.maximum(a, 0) * np.maximum(b, 0) - 0.35)
    else:  # waves
        share = 0.5 + 2 * np.sin(np.hypot(along - 0.3, across + 0.2) * np.pi / (0.2 * period) + phase[0])
    dark, bright = (_colour(style.ground, rng, saturation=0.45, value=value) for value in (0.45, 0.8))
    return dark + share.clip(0, 1)[..., None] * (bright - dark)


def _foreground(style: Look, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns colours (H, W, 3) and opacity (H, W) of the shapes, from 0 to 1."""
    y, x = _grid()
    colour = np.empty((*x.shape, 3), dtype=np.float32)
    colour[:] = _colour(style.hue, rng, saturation=0.9, value=0.95)
    mask = np.zeros_like(x)
    for centre_x, centre_y, radius in LAYOUTS[style.layout]:
        dx, dy = rng.normal(0, 0.06, 2)
        size, angle = radius * rng.uniform(0.8, 1.15), rng.normal(0, 0.25)
        mask = np.maximum(mask, _shape(style.shape, x - centre_x - dx, y - centre_y - dy, size, angle))
    dx, dy = rng.uniform(-0.8, 0.8, 2)
    other = _shape(int(rng.integers(SHAPES)), x - dx, y - dy, 0.12, rng.uniform(0, 6))
    colour = np.where(other[..., None] > 0.5, _colour(rng.random(), rng, saturation=0.9, value=0.9), colour)
    return colour, np.maximum(mask, other)


def _shape(kind: int, x: np.ndarray, y: np.ndarray, size: float, angle: float) -> np.ndarray:
    """Returns the opacity of one shape around (0, 0): 1 inside, 0 outside, a pixel between them."""
    x, y = (x * np.cos(angle) + y * np.sin(angle)) / size, (y * np.cos(angle) - x * np.sin(angle)) / size
    radius = np.hypot(x, y)
    if kind == 0:  # a disc
        outside = radius - 1
    elif kind == 1:  # a square
        outside = np.maximum(np.abs(x), np.abs(y)) - 0.85
    elif kind == 2:  # a triangle
        outside = np.maximum(np.abs(x) * 0.866 - y * 0.5, y) - 0.55
    elif kind == 3:  # a ring
        outside = np.abs(radius - 0.75) - 0.25
    elif kind == 4:  # a cross
        outside = np.maximum(np.minimum(np.abs(x), np.abs(y)) - 0.28, np.maximum(np.abs(x), np.abs(y)) - 1)
    elif kind == 5:  # a star
        outside = radius - (0.65 + 0.35 * np.cos(5 * np.arctan2(y, x)))
    else:  # a crescent
        outside = np.maximum(radius - 1, 0.85 - np.hypot(x - 0.5, y))
    return (0.5 - outside * size * SIDE / 2).clip(0, 1)


def _colour(hue: float, rng: np.random.Generator, *, saturation: float, value: float) -> np.ndarray:
    """Returns (3,) float32 RGB near a hue."""
    hue, value = (hue + rng.normal(0, 0.012)) % 1.0, min(1.0, value * rng.uniform(0.9, 1.1))
    return np.array(colorsys.hsv_to_rgb(hue, saturation * rng.uniform(0.85, 1.05), value), dtype=np.float32)
