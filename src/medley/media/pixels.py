"""From a decoded image to what an encoder reads. Only numpy, scipy and Pillow: worker processes run these functions."""

from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any

import numpy as np
from scipy.fft import dctn

CELLS = 8  # per side, for the colour layout
FREQUENCIES = 6  # coefficients (i, j) with i + j < 6 of the colour layout: 21 per plane
LAYOUT_DIM = 3 * (FREQUENCIES * (FREQUENCIES + 1) // 2) + 3
MAX_ASPECT = 16  # of images whose shorter side is resized to a given length: else 1 x 100,000 pixels fill the memory


@dataclass(frozen=True)
class PadToSquare:
    """Pads an image to a square, centred, and resizes the square: nothing is cut off and no shape is distorted.

    Attributes:
        side: pixels of the result.
        fill: grey value of the padding.
    """

    side: int
    fill: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns (1, side, side, 3) uint8."""
        from PIL import Image

        picture = Image.fromarray(image)
        longest = 4 * self.side  # larger images shrink before the padding: the square would take longest^2 pixels
        picture.thumbnail((longest, longest), Image.Resampling.BILINEAR)
        side = max(picture.size)
        square = Image.new("RGB", (side, side), (self.fill,) * 3)
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return np.asarray(square.resize((self.side, self.side), Image.Resampling.BILINEAR))[None]


@dataclass(frozen=True)
class ResizeAndCrop:
    """Resizes an image, and cuts its centre out, as the image processors of the transformers library do.

    Attributes:
        size: (height, width) after resizing; None if `shortest` is given, or nothing is resized.
        shortest: the shorter side after resizing, which keeps the shape; None if `size` is given.
        crop: (height, width) of the centre; None if nothing is cut off.
        resample: Pillow's number of the filter.
        exact: resize in float32 instead of rounding to whole values (DINOv3).
    """

    size: tuple[int, int] | None
    shortest: int | None
    crop: tuple[int, int] | None
    resample: int
    exact: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns (1, height, width, 3), values in [0, 255]: uint8, or float32 if `exact`."""
        height, width = image.shape[:2]
        if self.shortest is not None:
            image = _central(image, min(height, MAX_ASPECT * width), min(width, MAX_ASPECT * height))
            height, width = image.shape[:2]
            longer = int(self.shortest * max(height, width) / min(height, width))
            target = (longer, self.shortest) if width <= height else (self.shortest, longer)
        else:
            target = self.size or (height, width)
        resized = _resize(image, target, self.resample, exact=self.exact)
        return (resized if self.crop is None else _central(resized, *self.crop))[None]


@dataclass(frozen=True)
class Patches:
    """Resizes an image to at most `most` patches of its own shape, as SigLIP 2's processor for any shape does.

    The patches of an image are followed by one row that starts with the numbers of patches down and across.
    """

    side: int
    most: int
    resample: int
    rescale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns (1, most + 1, side * side * 3) float32, zero where an image has fewer patches."""
        down, across = self._patches(*image.shape[:2])
        resized = _resize(image, (down * self.side, across * self.side), self.resample)
        mean, deviation = np.array(self.mean, dtype=np.float32), np.array(self.deviation, dtype=np.float32)
        values = (resized * np.float32(self.rescale) - mean) / deviation
        values = values.reshape(down, self.side, across, self.side, 3).transpose(0, 2, 1, 3, 4)
        pieces = np.zeros((1, self.most + 1, self.side * self.side * 3), dtype=np.float32)
        pieces[0, : down * across] = values.reshape(down * across, -1)
        pieces[0, -1, :2] = down, across
        return pieces

    def _patches(self, height: int, width: int) -> tuple[int, int]:
        """Returns the patches down and across: the largest scale, found by bisection, that gives at most `most`."""

        def at(scale: float) -> tuple[int, int]:
            return max(1, ceil(height * scale / self.side)), max(1, ceil(width * scale / self.side))

        low, high = 1e-6, 100.0  # the library's bounds and precision, 1e-5
        while high - low >= 1e-5:
            middle = (low + high) / 2
            down, across = at(middle)
            low, high = (middle, high) if down * across <= self.most else (low, middle)
        return at(low)


@dataclass(frozen=True)
class LibraryImages:
    """Prepares images by a processor of the transformers library: slower than the classes above, for rarer networks."""

    processor: Any

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns (1, 3, height, width) float32, normalised."""
        out = self.processor(images=[image], input_data_format="channels_last", return_tensors="np")
        return np.asarray(out["pixel_values"], dtype=np.float32)


def colour_layout(image: np.ndarray) -> np.ndarray:
    """Describes where which colours are, by 66 numbers.

    The image is divided into 8 x 8 cells. The mean colour of each cell, averaged in linear light, is written in Oklab
    (B. Ottosson, 2020: distances are near perceived differences), and the three 8 x 8 planes become cosine
    coefficients, of which the 21 of lowest frequency are kept: the coarse arrangement without details, as in MPEG-7's
    colour layout descriptor. Added are the deviations of the three coordinates between cells.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (1, 66) float32.
    """
    cells = oklab(cell_means(image, CELLS))  # (8, 8, 3)
    coefficients = dctn(cells, axes=(0, 1), norm="ortho") / CELLS  # the first one is the mean colour
    i, j = np.indices(coefficients.shape[:2])
    low = coefficients[i + j < FREQUENCIES]  # (21, 3)
    return np.concatenate([low.T.ravel(), cells.std(axis=(0, 1))]).astype(np.float32)[None]


def cell_means(image: np.ndarray, cells: int) -> np.ndarray:
    """Returns (cells, cells, 3) float64: mean linear RGB of each cell; pixels on a border count for both, in parts."""
    down, across = (_overlaps(length, cells) for length in image.shape[:2])
    width = image.shape[1]
    bands = np.zeros((cells, width * 3))
    for first in range(0, len(image), 256):  # rows at a time: large images need little memory
        rows = slice(first, first + 256)
        bands += down[:, rows].astype(np.float32) @ _linear_light()[image[rows]].reshape(-1, width * 3)
    return np.einsum("dwk,cw->dck", bands.reshape(cells, width, 3), across)


def oklab(linear: np.ndarray) -> np.ndarray:
    """Converts linear sRGB, (..., 3), to Oklab; the matrices are those of https://bottosson.github.io/posts/oklab."""
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ to_cones.T) @ to_lab.T


@cache
def _linear_light() -> np.ndarray:
    """Returns (256,) float32: sRGB value -> linear light in [0, 1], IEC 61966-2-1."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _overlaps(length: int, cells: int) -> np.ndarray:
    """Returns (cells, length): the share of each cell that each pixel covers."""
    edges = np.linspace(0, length, cells + 1)
    pixel = np.arange(length)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return covered.clip(0) / (length / cells)


def _central(image: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _resize(image: np.ndarray, target: tuple[int, int], resample: int, *, exact: bool = False) -> np.ndarray:
    """Returns (height, width, 3): uint8, or float32 if `exact`."""
    from PIL import Image

    height, width = target
    if not exact:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), resample))
    planes = [Image.fromarray(np.float32(image[..., c])).resize((width, height), resample) for c in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
