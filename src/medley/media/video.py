"""Frames that stand for a video, with PyAV.

Candidates are the codec's key frames, and scene changes between them: encoders put most key frames where scenes change,
and a frame whose packet is nearly as large as that of the key frame before it was coded nearly afresh. Finding both
takes the sizes of packets only, no decoding. Where fewer than FEW candidates are found, frames at equal distances join
them. A long video is not read from end to end: it is entered at equal distances, at the key frame before each.
Which frames are chosen depends on the content and the limits only, never on the speed of the machine.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from medley.media.containers import check_whole, container, sniff
from medley.media.limits import Clock, Limits, MediaError, Source, check_shape, damage, opened, reduced

SHORT = 120.0  # seconds; longer videos are entered at equal distances
MAX_PACKETS = 30_000  # of a video without times; 120 s at 240 frames per second
FEW = 3  # candidates; below, frames at equal distances join them
SCENE = 0.5  # bytes of a frame that begins a scene, as a share of the bytes of the key frame before it
APART = 1.0  # seconds between a scene change and the candidate before it, at least
ATTACHED = "attached_pic"  # the cover of a song, which containers hold as a video track


class _Packet(NamedTuple):
    time: float  # seconds, when it is shown
    end: float  # seconds
    is_key: bool
    size: int  # bytes


def decode_frames(source: Source, limits: Limits = Limits()) -> list[np.ndarray]:  # noqa: B008 (immutable)
    """Decodes at most `limits.max_frames` frames of a video, spread over it, upright, in order of time.

    Args:
        source: a file or its content; the content decides the format.
        limits: of size and time.

    Returns:
        One to `limits.max_frames` arrays (H, W, 3) uint8 RGB, the longer side at most `limits.side`.

    Raises:
        MediaError: no video, no frames, broken, truncated, or above a limit.
        MissingExtraError: PyAV is not installed.
    """
    clock = Clock(limits)
    with opened(source, limits.max_bytes) as file:
        name = sniff(file)
        if name is None:
            raise MediaError("not a video")
        with container(file, name) as video:
            track = _track(video, limits)
            length = _length(video, track)
            if length is not None and length > SHORT:
                frames = list(_entered(video, track, min(length, limits.max_video_seconds), limits, clock))
            else:
                packets = _packets(video, track, limits, clock)
                if packets and track.duration is not None and limits.max_video_seconds >= SHORT:
                    check_whole(max(each.end for each in packets) - min(each.time for each in packets), length)
                frames = list(_picked(video, track, choose(packets, limits.max_frames), limits, clock))
    if not frames:
        raise MediaError("0 frames")
    return frames


def choose(packets: list[_Packet], count: int) -> list[tuple[float, float]]:
    """Chooses at most `count` frames by the sizes of the packets of a video.

    Args:
        packets: in the order of the file, which is the order of decoding.
        count: frames at most.

    Returns:
        Ascending (time of the frame, time of the key frame from which it is decoded).
    """
    key: _Packet | None = None
    last = 0.0  # time of the last candidate
    candidates: dict[float, float] = {}  # time of a frame -> time of its key frame
    others: dict[float, float] = {}
    for packet in packets:
        if packet.is_key:
            key = packet
        if key is None:
            continue  # what precedes the first key frame cannot be decoded
        if packet.is_key or (packet.size >= SCENE * key.size and packet.time >= last + APART):
            candidates[packet.time] = key.time
            last = packet.time
        else:
            others[packet.time] = key.time
    if len(candidates) < min(FEW, count) and others:
        everything = sorted((candidates | others).items())
        times = [time for time, _ in everything]
        missing = count - len(candidates)
        wanted = times[0] + (np.arange(missing) + 0.5) / missing * (times[-1] - times[0])
        for place in np.unique(np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)):
            candidates.setdefault(*everything[place])
    ordered = sorted(candidates.items())
    if len(ordered) <= count:
        return ordered
    return [ordered[place] for place in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def _track(video: Any, limits: Limits) -> Any:
    tracks = [each for each in video.streams.video if ATTACHED not in str(each.disposition)]
    if not tracks:
        raise MediaError("no video track")
    track = tracks[0]
    context = track.codec_context
    if context is None:
        raise MediaError("a video of an unknown codec")
    check_shape(context.width, context.height, limits)
    track.thread_count = 1
    context.options = {"max_pixels": str(limits.max_pixels)}  # the size may change within the track
    return track


def _length(video: Any, track: Any) -> float | None:
    """Seconds that the header states."""
    if track.duration is not None:
        return float(track.duration * track.time_base)
    return video.duration / 1_000_000 if video.duration is not None else None


def _demuxed(video: Any, track: Any, clock: Clock) -> Iterator[Any]:
    """Yields the packets that hold something."""
    packets = video.demux(track)
    while True:
        clock.check()
        with damage("broken video"):
            packet = next(packets, None)
        if packet is None:
            return
        if packet.is_corrupt:
            raise MediaError("broken video: a damaged packet")
        if packet.size:
            yield packet


def _time(packet: Any, number: int) -> float:
    """Seconds; of packets without times, their number."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return float(stamp * packet.time_base) if stamp is not None else float(number)


def _packets(video: Any, track: Any, limits: Limits, clock: Clock) -> list[_Packet]:
    packets: list[_Packet] = []
    first = None
    for number, packet in enumerate(_demuxed(video, track, clock)):
        time = _time(packet, number)
        first = time if first is None else first
        if time - first > min(limits.max_video_seconds, SHORT) or number >= MAX_PACKETS:
            break
        end = time + float((packet.duration or 0) * packet.time_base) if packet.time_base else time
        packets.append(_Packet(time, end, bool(packet.is_keyframe), packet.size))
    return packets


def _picked(
    video: Any, track: Any, chosen: list[tuple[float, float]], limits: Limits, clock: Clock
) -> Iterator[np.ndarray]:
    """Decodes the chosen frames in one pass; of a group of pictures only what precedes its last chosen frame."""
    groups: dict[float, list[float]] = {}  # time of a key frame -> times of frames, ascending
    for time, key in chosen:
        groups.setdefault(key, []).append(time)
    _rewind(video, track, 0)
    wanted: list[float] = []  # times of frames of the group that is being decoded
    for number, packet in enumerate(_demuxed(video, track, clock)):
        time = _time(packet, number)
        if packet.is_keyframe:
            if wanted:
                yield from _due(_rest(track), track, wanted, limits)
            if not groups:
                return
            wanted = groups.pop(time, [])
        if wanted:
            alone = packet.is_keyframe and wanted == [time]  # nothing after the key frame is needed
            frames = _decoded(track, packet) + (_rest(track) if alone else [])
            yield from _due(frames, track, wanted, limits)
    if wanted:
        yield from _due(_rest(track), track, wanted, limits)


def _due(frames: list[Any], track: Any, wanted: list[float], limits: Limits) -> Iterator[np.ndarray]:
    """Yields the frames that are due; `wanted`, ascending times, loses theirs."""
    for frame in frames:  # `frame.time` is missing where the decoder was drained
        if wanted and (frame.pts is None or float(frame.pts * track.time_base) >= wanted[0]):
            wanted.pop(0)
            yield _pixels(frame, limits)


def _entered(video: Any, track: Any, length: float, limits: Limits, clock: Clock) -> Iterator[np.ndarray]:
    """Decodes the key frame before the middle of each of `max_frames` equal parts; one that comes twice, once."""
    start = float((track.start_time or 0) * track.time_base)
    seen: set[float] = set()
    for part in range(limits.max_frames):
        target = (part + 0.5) / limits.max_frames * length
        _rewind(video, track, start + target)
        packet = next((each for each in _demuxed(video, track, clock) if each.is_keyframe), None)
        if packet is None:
            raise MediaError(f"truncated: nothing at {target:.1f} of {length:.1f} s")
        time = _time(packet, part)
        if time in seen:
            continue
        seen.add(time)
        frames = _decoded(track, packet) + _rest(track)
        yield from (_pixels(frame, limits) for frame in frames[:1])


def _rewind(video: Any, track: Any, seconds: float) -> None:
    with damage("broken video: cannot be entered"):
        video.seek(round(seconds / track.time_base), stream=track, backward=True)
    track.codec_context.flush_buffers()


def _decoded(track: Any, packet: Any) -> list[Any]:
    with damage("broken video"):
        frames = track.codec_context.decode(packet)
    if any(frame.is_corrupt for frame in frames):
        raise MediaError("broken video: a damaged frame")
    return frames


def _rest(track: Any) -> list[Any]:
    """Returns the frames that the decoder still holds, and makes it ready for another key frame."""
    frames = _decoded(track, None)
    track.codec_context.flush_buffers()
    return frames


def _pixels(frame: Any, limits: Limits) -> np.ndarray:
    check_shape(frame.width, frame.height, limits)
    width, height = reduced(frame.width, frame.height, limits.side)
    with damage("broken video"):
        small = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
        pixels = small.to_ndarray()
    quarter_turns = round(frame.rotation / 90) % 4  # counterclockwise
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))
