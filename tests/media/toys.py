"""Small encoders whose calls are counted, and data sets with small media. `find` finds the encoders by import path."""

import time
from pathlib import Path

import numpy as np
from tests.media.toy_pieces import colours, words

from medley.data.dataset import Dataset
from medley.media.encoders import Encoder

COLOURS, WORDS, CENTRED = (f"tests.media.toys:{name}" for name in ("Colours", "Words", "Centred"))
SECONDS = 0.0  # that a batch takes
MATRIX = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
batches: list[int] = []  # the sizes of all batches that were encoded


class Colours(Encoder):
    """Encodes pieces of an image."""

    reads, dim, prepare, revision = "image", 5, staticmethod(colours), "1"

    def __init__(self, spec: str, device: str):
        self.name = spec

    def encode(self, pieces):
        batches.append(len(pieces))
        time.sleep(SECONDS)
        return pieces @ MATRIX

    def about(self):
        return {"encoder": self.name, "revision": self.revision, "preprocessing": {"halves": 2}}


class Words(Encoder):
    """Counts letters; the text `zero` becomes a vector of zeros."""

    reads, dim, prepare = "text", 4, staticmethod(words)

    def __init__(self, spec: str, device: str):
        self.name = spec

    def encode(self, pieces):
        batches.append(len(pieces))
        time.sleep(SECONDS)
        return np.array([[each.count(letter) for letter in "ab c"] for each in pieces], dtype=np.float32)

    def about(self):
        return {"encoder": self.name, "revision": "1", "preprocessing": {}}


class Centred(Words):
    """Letters less their mean in the catalogue: an encoder that is fitted."""

    mean: np.ndarray | None = None

    def fit(self, texts):
        self.mean = super().encode(list(texts)).mean(axis=0)

    def fitted(self):
        return {} if self.mean is None else {"mean": self.mean}

    def restore(self, arrays):
        self.mean = arrays["mean"]

    def encode(self, pieces):
        return super().encode(pieces) - self.mean


def catalogue(num_items: int, out: Path | None = None, **options) -> Dataset:
    """A data set of items 0, 1, ... with a title each, the last item cold."""
    titles = ["a" * (row % 5 + 1) + "b" * (row % 3) for row in range(num_items)]
    log = {
        "user_id": [row % 3 for row in range(num_items)],
        "item_id": list(range(num_items)),
        "split": ["train"] * (num_items - 1) + ["test"],
    }
    items = {"item_id": list(range(num_items)), "title": titles}
    return Dataset.from_frames(log, items=items, out=out, **options)


def paint(folder: Path, name: str, seed: int, side: int = 4) -> Path:
    """Writes a small picture."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 256, size=(side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return folder / name
