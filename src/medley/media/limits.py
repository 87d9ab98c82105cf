"""What a medium may cost, and how a medium is opened: every decoder reads through `opened`."""

import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from medley.errors import MedleyError

Source = Path | bytes  # a file, or its content


class MediaError(MedleyError):
    """This medium cannot be used. The message is the short reason for the report: "silent", "no audio track", ..."""


class NoSoundTrack(MediaError):
    """The medium may be whole, but it has no sound track."""


class Limits(BaseModel):
    """What one medium may cost at most. A medium above a limit of size or time is refused, never cut in silence;
    `max_seconds` and `max_video_seconds` say how much of a long medium is read, `max_frames` and `side` how much of it
    is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_bytes: int = Field(default=2**31, ge=1)  # of a file; 2 GiB: an hour of video
    max_image_bytes: int = Field(default=2**27, ge=1)  # of an image file: some formats are read whole
    max_pixels: int = Field(default=64_000_000, ge=1, le=178_956_970)  # width x height; Pillow refuses more than le
    max_side: int = Field(default=20_000, ge=1)  # pixels, width or height
    side: int = Field(default=1024, ge=16)  # pixels; larger images and frames are scaled down to it; encoders use less
    max_seconds: float = Field(default=300, gt=0)  # of sound, from the start; a whole song or trailer
    max_video_seconds: float = Field(default=7200, gt=0)  # of video, from the start; frames are spread over them
    max_frames: int = Field(default=8, ge=1)  # key frames per video
    max_text_bytes: int = Field(default=2**20, ge=1)  # of a text file; encoders read some hundred words
    seconds: float = Field(default=60, gt=0)  # wall clock per file
    memory: int = Field(default=1024, ge=64)  # MiB per worker process, above what it holds when it starts


class Clock:
    """The wall clock of one medium."""

    def __init__(self, limits: Limits):
        self.seconds = limits.seconds
        self._end = time.monotonic() + limits.seconds

    def check(self) -> None:
        """Raises a MediaError if the time is over."""
        if time.monotonic() > self._end:
            raise MediaError(too_slow(self.seconds))


def too_slow(seconds: float) -> str:
    """The reason of a medium that takes more time than it may."""
    return f"takes longer than {seconds:g} s"


@contextmanager
def opened(source: Source, max_bytes: int) -> Iterator[BinaryIO]:
    """Opens a medium for reading; the block may use the file as it likes.

    Raises:
        MediaError: no regular file, unreadable, empty, or larger than `max_bytes`.
    """
    if isinstance(source, bytes):
        _check_size(len(source), max_bytes)
        yield io.BytesIO(source)
        return
    try:
        # not blocking, because the other end of a named pipe may never come
        handle = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise MediaError(f"unreadable: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise MediaError("not a regular file")
        _check_size(status.st_size, max_bytes)
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def _check_size(size: int, max_bytes: int) -> None:
    if size == 0:
        raise MediaError("empty file")
    if size > max_bytes:
        raise MediaError(f"a file of {size:,} bytes, more than {max_bytes:,}")


def check_shape(width: int, height: int, limits: Limits) -> None:
    """Raises a MediaError for an image or a frame that is too large, before it is decoded."""
    if width < 1 or height < 1:
        raise MediaError("0 pixels")
    if max(width, height) > limits.max_side:
        raise MediaError(f"{width:,} x {height:,} pixels: a side is longer than {limits.max_side:,}")
    if width * height > limits.max_pixels:
        raise MediaError(f"{width:,} x {height:,} pixels, more than {limits.max_pixels:,} in all")


def reduced(width: int, height: int, side: int) -> tuple[int, int]:
    """Returns the width and height of an image whose longer side is at most `side` pixels."""
    longer = max(width, height)
    if longer <= side:
        return width, height
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Turns all that a decoder raises for bad content into a MediaError; decoders raise errors of a dozen types."""
    try:
        yield
    except (MedleyError, MemoryError):
        raise
    except Exception as error:
        text = str(getattr(error, "strerror", None) or error).strip().removeprefix("Error : ")  # libsndfile
        first = text.splitlines()[0][:200] if text else type(error).__name__
        raise MediaError(f"{what}: {first}") from None


def kind_and_line(error: Exception) -> str:
    """Returns the type of an error and the first line of its message, for errors that libraries raise."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"
