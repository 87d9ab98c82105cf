"""From one medium to the pieces that an encoder reads. Worker processes import this file, so it imports no torch.

A picture gives one piece, a video one per key frame, a sound one per window, a text one.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medley.media.decode import Limits, MediaError, NoSoundTrack, Source, decode_frames, decode_image, decode_sound
from medley.media.limits import opened

OBJECT = re.compile(r" *<[^<>]*(\bat 0x|name=)[^<>]*>")  # in errors of libraries: another one in each process
SETTLED = 2.0  # seconds; the time stamp of a file that is younger may not change with the next write


class Medium(NamedTuple):
    """One medium and how it is read."""

    kind: str  # image, frames, sound or text
    source: Source | str  # a file, its content, or a text


class Prepare(NamedTuple):
    """What a worker needs of an encoder."""

    prepare: Callable[[Any], Any]
    rate: int = 0  # Hz, of sound


class Task(NamedTuple):
    """A medium to be prepared for the encoder of a modality."""

    modality: str
    medium: Medium


class State(NamedTuple):
    """What a medium was when it was read."""

    sha256: str  # of the content; empty where it was too large to be read
    bytes: int
    modified: int  # ns; 0 if the time stamp cannot tell whether the file has changed since


class Made(NamedTuple):
    """The result for one medium."""

    state: State
    pieces: Any  # (p, ...) array or a list with one text; None if the medium cannot be used
    error: str  # why not; empty if it can
    lacks_sound: bool = False  # the error is that the medium has no sound track


class Preparation:
    """Decodes a medium and prepares it for one encoder."""

    def __init__(self, prepare: Prepare, limits: Limits):
        """Args:
        prepare: of the encoder.
        limits: what one medium may cost.
        """
        self.prepare, self.limits = prepare, limits

    def __call__(self, medium: Medium) -> Made:
        """Returns the pieces and the state of a medium, or why it cannot be used."""
        state = State("", 0, 0)
        try:
            state = state_of(medium.source, self.limits)
            pieces = self.pieces(medium)
            if isinstance(medium.source, Path) and not looks_as(medium.source, state):
                raise MediaError("changed while it was read")
        except MediaError as error:
            return Made(state, None, OBJECT.sub("", str(error)), isinstance(error, NoSoundTrack))
        return Made(state, pieces, "")

    def pieces(self, medium: Medium) -> np.ndarray | list[str]:
        """Returns the pieces of a medium.

        Raises:
            MediaError: the medium cannot be used.
        """
        (kind, source), (prepare, rate) = medium, self.prepare
        if isinstance(source, str):
            return prepare(source)
        if kind == "sound":
            return prepare(decode_sound(source, rate, self.limits))
        if kind == "image":
            return prepare(decode_image(source, self.limits))
        return np.concatenate([prepare(frame) for frame in decode_frames(source, self.limits)])


class Preparations:
    """Decodes and prepares media for several modalities: the function that workers run."""

    def __init__(self, by_modality: Mapping[str, Preparation]):
        self.by_modality = dict(by_modality)

    def __call__(self, task: Task) -> Made:
        """Returns the pieces of a medium for a modality."""
        return self.by_modality[task.modality](task.medium)


def state_of(source: Source | str, limits: Limits) -> State:
    """Returns size, time and content hash of a medium.

    Raises:
        MediaError: the file cannot be read, or is not a regular file.
    """
    if not isinstance(source, Path):
        data = source.encode() if isinstance(source, str) else source
        return State(hashlib.sha256(data).hexdigest(), len(data), 0)
    try:
        status = source.stat()
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise MediaError(f"unreadable: {getattr(error, 'strerror', None) or error}") from None
    if not 0 < status.st_size <= limits.max_bytes:  # decoding says so
        return State("", status.st_size, status.st_mtime_ns)
    with opened(source, limits.max_bytes) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    settled = time.time() - status.st_mtime > SETTLED
    return State(digest, status.st_size, status.st_mtime_ns if settled else 0)


def looks_as(path: Path, state: State) -> bool:
    """Whether size and time of a file are those of a state; a state without a time is compared by size only."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_size == state.bytes and state.modified in (0, status.st_mtime_ns)
