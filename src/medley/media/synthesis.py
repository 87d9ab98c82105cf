"""Synthesises the sound of a simulated catalogue: one timbre, scale and rhythm per cluster, no two items alike.

A cluster decides the timbre, the notes to choose from, their register and the rhythm; an item melody, tempo, tuning,
loudness and background noise.
"""

from typing import NamedTuple

import numpy as np

RATE = 24_000  # Hz; every codec that is used takes it
STEPS = 16  # of the rhythm, two bars
TIMBRES = (  # share of each harmonic
    ((1, 1.0),),
    ((1, 1.0), (3, 0.33), (5, 0.2), (7, 0.14), (9, 0.11)),
    tuple((n, 1 / n) for n in range(1, 9)),
    ((1, 1.0), (2, 0.7), (4, 0.5), (8, 0.35)),
    ((1, 1.0), (2.76, 0.6), (5.4, 0.35), (8.93, 0.2)),  # the partials of a bell
)
DECAYS = (0.12, 0.5, 0.25, 0.8, 0.3)  # seconds in which a note of each timbre falls to 1 / e
SCALES = (  # semitones above the root
    (0, 4, 7, 12),
    (0, 3, 7, 10),
    (0, 2, 5, 7),
    (0, 1, 5, 8),
    (0, 4, 8, 11),
    (0, 3, 6, 9),
    (0, 5, 10, 14),
)
RHYTHMS = ("x.x.x.x.x.x.x.x.", "x...x...x...x...", "x..x..x.x..x..x.", "xxxxx.x.xxxxx.x.")
REGISTERS = (110.0, 220.0, 440.0)  # Hz of the root


class Voice(NamedTuple):
    """What the sounds of a cluster have in common."""

    timbre: int
    scale: int
    rhythm: int
    root: float  # Hz


def voice(cluster: int) -> Voice:
    """Returns the voice of a cluster; 420 clusters sound different, later ones like the first."""
    # 5 timbres, 7 scales, 4 rhythms and 3 registers have no common divisor
    return Voice(
        cluster % len(TIMBRES),
        cluster % len(SCALES),
        cluster % len(RHYTHMS),
        REGISTERS[cluster % len(REGISTERS)],
    )


def synthesise(cluster: int, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Synthesises the sound of one item.

    Args:
        cluster: of the item.
        rng: of everything in which items of a cluster differ.
        seconds: of sound.

    Returns:
        (seconds * RATE,) float32 from -1 to 1.
    """
    like = voice(cluster)
    sound = np.zeros(round(seconds * RATE), dtype=np.float32)
    step = 0.125 * rng.uniform(0.92, 1.08)  # seconds
    root = like.root * 2 ** rng.normal(0, 0.25 / 12)  # a quarter of a semitone out of tune
    shift = int(rng.integers(STEPS))
    for n in range(int(seconds / step) + 1):
        if RHYTHMS[like.rhythm][(n + shift) % STEPS] != "x":
            continue
        first = round(n * step * RATE)
        length = min(len(sound) - first, round(3 * DECAYS[like.timbre] * RATE))
        pitch = root * 2 ** (SCALES[like.scale][rng.integers(len(SCALES[like.scale]))] / 12)
        if length > 0:
            sound[first : first + length] += rng.uniform(0.6, 1.0) * _note(like.timbre, pitch, length, rng)
    sound += rng.uniform(0.002, 0.02) * np.abs(sound).max() * rng.standard_normal(len(sound), dtype=np.float32)
    return sound * np.float32(rng.uniform(0.3, 0.9) / np.abs(sound).max())


def _note(timbre: int, pitch: float, length: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (length,) float32: harmonics that fade, the high ones sooner."""
    time = np.arange(length, dtype=np.float32) / RATE
    note = np.zeros(length, dtype=np.float32)
    for harmonic, share in TIMBRES[timbre]:
        turn = np.float32(2 * np.pi * pitch * harmonic)
        note += np.float32(share) * np.sin(turn * time + np.float32(rng.uniform(0, 2 * np.pi)))
    fade = np.exp(-time / np.float32(DECAYS[timbre]))
    attack = np.minimum(1, time / np.float32(0.005))
    return note * fade * attack
