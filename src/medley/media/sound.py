"""Sound, from audio files with libsndfile and from all others, videos included, with PyAV."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from medley.errors import InputError, MissingExtraError
from medley.media.containers import PLAIN_SOUND, check_whole, container, sniff
from medley.media.limits import Clock, Limits, MediaError, NoSoundTrack, Source, damage, opened

RATES = (1_000, 1_000_000)  # Hz; others are damage, not sound
BLOCK = 2**18  # numbers that are decoded at once, whatever the number of channels
MAX_CHANNELS = 64


def decode_sound(source: Source, rate: int, limits: Limits = Limits()) -> np.ndarray:  # noqa: B008 (immutable)
    """Decodes the sound of an audio file, or of the first audio track of a video: the mean of its channels.

    Reads block by block, so memory is bounded by `limits.max_seconds`, whatever a header states.

    Args:
        source: a file or its content; the content decides the format.
        rate: samples per second of the result.
        limits: of size and time.

    Returns:
        (n,) float32, n >= 1, at most `limits.max_seconds` from the start.

    Raises:
        NoSoundTrack: a container without an audio track.
        MediaError: neither sound nor video, broken, truncated, silent (each sample 0), or above a limit.
        MissingExtraError: PyAV or soundfile is not installed.
        InputError: the rate is out of range.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError("rate of a sound", expected=f"{RATES[0]:,} to {RATES[1]:,} Hz", got=rate)
    clock = Clock(limits)
    with opened(source, limits.max_bytes) as file:
        name = sniff(file)
        if name is None:
            raise MediaError("neither sound nor video")
        blocks = _blocks(file, name)
        wanted, parts, count = round(limits.max_seconds * rate) or 1, [], 0
        for block in _resampled(blocks, rate):
            clock.check()
            parts.append(block[: wanted - count])
            count += len(parts[-1])
            if count >= wanted:
                break
    if not count:
        raise MediaError("0 seconds of sound")
    sound = np.concatenate(parts)
    if not np.isfinite(sound).all():
        raise MediaError("samples that are not finite numbers")
    if not sound.any():
        raise MediaError("silent")
    return sound


def _blocks(file: BinaryIO, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (samples per second, mono samples (n,) float32)."""
    if name in PLAIN_SOUND or name == "ogg":
        stream = _sndfile(file)
        if stream is not None:
            _check_size(file)
            return _plain(stream)
        file.seek(0)
    return _track(file, name)


def _sndfile(file: BinaryIO) -> Any:
    """Opens an audio file with libsndfile; None if it cannot read the format, which PyAV then may."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, its library is not
        raise MissingExtraError("Decoding sound", "media") from None
    try:
        return soundfile.SoundFile(_Lenient(file))  # pyrefly: ignore[bad-argument-type]
    except (soundfile.SoundFileError, RuntimeError, TypeError):
        return None


class _Lenient:
    """A file for libsndfile, which seeks before the beginning of broken files and cannot be told by an exception."""

    def __init__(self, file: BinaryIO):
        self.read, self.readinto, self.tell = file.read, file.readinto, file.tell  # type: ignore[attr-defined]
        self._file = file

    def seek(self, offset: int, whence: int = 0) -> int:
        with suppress(OSError, ValueError):
            self._file.seek(offset, whence)
        return self._file.tell()


def _check_size(file: BinaryIO) -> None:
    """Refuses a WAV or AIFF file that is shorter than it states; libsndfile would read the part."""
    position = file.tell()
    file.seek(0)
    head = file.read(8)
    size = file.seek(0, 2)
    file.seek(position)
    order = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}.get(head[:4])
    if order is None:
        return
    stated = int.from_bytes(head[4:8], order)  # pyrefly: ignore[bad-argument-type]
    if stated not in (0, 0xFFFFFFFF) and stated + 8 > size + 1:  # these two: the recorder did not know the size
        raise MediaError(f"truncated: {size:,} of {stated + 8:,} bytes")


def _plain(stream: Any) -> Iterator[tuple[int, np.ndarray]]:
    with stream:
        rate, channels = _checked(stream.samplerate, stream.channels)
        stated, count = stream.frames, 0
        while True:
            with damage("broken sound"):
                block = stream.read(max(1, BLOCK // channels), dtype="float32", always_2d=True)  # (n, channels)
            if not len(block):
                break
            count += len(block)
            yield rate, block.mean(axis=1, dtype=np.float32)
        if stream.format in ("FLAC", "WAV", "WAVEX", "AIFF") and count < stated:  # others only estimate
            raise MediaError(f"truncated: {count:,} of {stated:,} samples")


def _track(file: BinaryIO, name: str) -> Iterator[tuple[int, np.ndarray]]:
    with container(file, name) as opened_container:
        if not opened_container.streams.audio:
            raise NoSoundTrack("no audio track")
        track = opened_container.streams.audio[0]
        track.thread_count = 1
        expected = float(track.duration * track.time_base) if track.duration is not None else None
        samples, seconds = 0, 0.0
        for frame in _frames(opened_container, track):
            rate, _ = _checked(frame.sample_rate, frame.layout.nb_channels)
            samples += frame.samples
            seconds += frame.samples / rate
            yield rate, _mono(frame)
        if samples:
            check_whole(seconds, expected)


def _frames(opened_container: Any, track: Any) -> Iterator[Any]:
    packets = opened_container.demux(track)
    while True:
        with damage("broken sound"):
            packet = next(packets, None)
            if packet is None:
                return
            frames = track.decode(packet)
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            raise MediaError("broken sound: a damaged packet")
        yield from frames


def _mono(frame: Any) -> np.ndarray:
    """Returns (n,) float32, the mean of the channels of a block of any sample format."""
    values = frame.to_ndarray()  # (channels, n), or (1, n * channels) if channels alternate
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        return (values.mean(axis=0, dtype=np.float32) - 128) / 128
    mean = values.mean(axis=0, dtype=np.float64 if values.dtype.itemsize > 2 else np.float32)
    scale = 1.0 if values.dtype.kind == "f" else -float(np.iinfo(values.dtype).min)
    return (mean / scale).astype(np.float32)


def _checked(rate: int, channels: int) -> tuple[int, int]:
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"a sound of {rate:,} samples per second")
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(f"a sound of {channels:,} channels")
    return rate, channels


def _resampled(blocks: Iterator[tuple[int, np.ndarray]], rate: int) -> Iterator[np.ndarray]:
    """Brings blocks to `rate` samples per second, with FFmpeg's resampler."""
    try:
        import av
    except ImportError:
        raise MissingExtraError("Decoding sound", "media") from None
    resampler, found = None, None
    for original, block in blocks:
        if found is not None and original != found:
            raise MediaError(f"a sound of {found:,} and then of {original:,} samples per second")
        if original == rate:
            found = original
            yield block
            continue
        if resampler is None:
            found, resampler = original, av.AudioResampler(format="fltp", layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
        frame.sample_rate = original
        yield from _arrays(resampler, frame)
    if resampler is not None:
        yield from _arrays(resampler, None)


def _arrays(resampler: Any, frame: Any) -> Iterator[np.ndarray]:
    for each in resampler.resample(frame):
        yield each.to_ndarray()[0]
