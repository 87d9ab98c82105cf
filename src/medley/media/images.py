"""Still images with Pillow."""

import warnings
from typing import Any

import numpy as np

from medley.errors import MissingExtraError
from medley.media.limits import Limits, MediaError, Source, check_shape, damage, opened, reduced

# Formats of photographs and drawings. Others stay out: EPS runs a program, TGA cannot be told from noise, and the rest
# have rarely tested readers.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
ORIENTATION = 0x0112  # tag of EXIF
ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}
GAP = 3.0  # Pillow: averages whole blocks first, down to 3 times the size, and then filters; indistinguishable


def decode_image(source: Source, limits: Limits = Limits()) -> np.ndarray:  # noqa: B008 (immutable)
    """Decodes a still image, or the first image of an animation, upright and on white where it is transparent.

    Args:
        source: a file or its content; the content decides the format.
        limits: of size and time.

    Returns:
        (H, W, 3) uint8 RGB, the longer side at most `limits.side`.

    Raises:
        MediaError: not an image, broken, truncated, or above a limit.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("Decoding images", "media") from None
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]  # AVIF needs a recent Pillow
    with opened(source, min(limits.max_bytes, limits.max_image_bytes)) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns where `check_shape` refuses, and of oddities in metadata
        _check_webp(file.read(30), limits)
        file.seek(0)
        with damage("not an image, or a broken one"):
            image = Image.open(file, formats=known)
        width, height = image.size
        check_shape(width, height, limits)
        with damage("broken or truncated image"):
            return _pixels(image, limits)


def _check_webp(head: bytes, limits: Limits) -> None:
    """Refuses a huge WebP image, for which Pillow takes memory before it tells the size.

    The three headers: https://developers.google.com/speed/webp/docs/riff_container
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return
    if head[12:16] == b"VP8X":
        check_shape(1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little"), limits)
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        check_shape(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), limits)
    elif head[12:16] == b"VP8 ":
        width, height = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        check_shape(width & 0x3FFF, height & 0x3FFF, limits)


def _pixels(image: Any, limits: Limits) -> np.ndarray:
    width, height = image.size
    target = reduced(width, height, limits.side)
    image.draft(None, target)  # JPEG: decodes at 1/2, 1/4 or 1/8, never below the target
    image.load()
    image = _eight_bits(image)
    if image.mode in ALPHA or "transparency" in image.info:
        # premultiplied, so that the colour of transparent pixels does not bleed into their neighbours
        if image.mode not in ("RGBA", "RGBa"):
            image = image.convert("RGBA")
        image = _resized(image.convert("RGBa"), target)
        pixels = np.asarray(image)
        white = 255 - pixels[..., 3:].astype(np.int16)
        pixels = np.minimum(pixels[..., :3] + white, 255).astype(np.uint8)
    else:
        pixels = np.asarray(_resized(image.convert("RGB"), target))
    return np.ascontiguousarray(_upright(pixels, _orientation(image)))


def _eight_bits(image: Any) -> Any:
    """Scales 16 bits per pixel to 8; Pillow's own conversion clips."""
    from PIL import Image

    if image.mode == "F":
        raise MediaError("an image of floating-point numbers, whose range is unknown")
    if image.mode != "I" and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise MediaError("an image of 32 bits per pixel, whose range is unknown")
    eight = Image.fromarray((values >> 8).astype(np.uint8))
    eight.info = {key: value for key, value in image.info.items() if key == "exif"}
    return eight


def _resized(image: Any, size: tuple[int, int]) -> Any:
    from PIL import Image

    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=GAP)


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken metadata of a sound image
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image as EXIF says: 1 to 8, where row 0 and column 0 of the stored pixels belong."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)  # quarter turns, counterclockwise
    return np.rot90(pixels, turns)
