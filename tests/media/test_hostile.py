"""Broken, huge and odd media: a MediaError with a short reason, never a crash, a partial result or unbounded memory."""

import functools
import io
import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.media.making import BLUE, GREEN, RED, clip, encoded, picture, sounded, tone
from tests.media.tasks import decoded

from medley.media.decode import Limits, MediaError, decode_frames, decode_image, decode_sound
from medley.media.workers import Failed, Workers

DECODERS = {
    "image": decode_image,
    "frames": decode_frames,
    "sound": functools.partial(decode_sound, rate=16_000),
}
MEMORY = 512  # MiB
KIND = "not an image|not a video|neither sound nor video"
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the system counts the memory of a process")


@pytest.fixture(scope="module")
def workers():
    with Workers(decoded, jobs=2, seconds=30, memory=MEMORY) as workers:
        yield workers


def _png(width: int, height: int) -> bytes:
    """A PNG file whose header states a size; its pixels compress a thousandfold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(bytes(min(width * height, 10**6)))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _webp(kind: bytes, width: int, height: int) -> bytes:
    """The header of a WebP file of one of the three kinds, and noise."""
    if kind == b"VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    else:
        body = bytes(3) + b"\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little")
    body += bytes(40)
    return b"RIFF" + (len(body) + 12).to_bytes(4, "little") + b"WEBP" + kind + len(body).to_bytes(4, "little") + body


def _wav(rate: int = 8000, channels: int = 1, data: bytes = b"\x01\x00" * 100, size: int | None = None) -> bytes:
    """A WAV file of 16 bits; `size` is what the header states."""
    size = len(data) if size is None else size
    width = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * width % 2**32, width % 2**16, 16)
    head = b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + data


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\0", KIND),
        (b"\0" * 4096, KIND),
        (b"hello world, this is text" * 50, KIND),
        (b"%PDF-1.7", KIND),
    ],
    ids=["empty", "one zero", "zeros", "text", "pdf"],
)
def test_what_is_no_medium_is_refused(decoder, content, reason, tmp_path):
    path = tmp_path / "file.mp4"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(MediaError, match=reason):
            DECODERS[decoder](source)


@pytest.mark.parametrize("decoder", DECODERS)
def test_missing_files_folders_pipes_and_devices_are_refused_at_once(decoder, tmp_path):
    pipe = tmp_path / "pipe.jpg"
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
    sources = [tmp_path / "absent.jpg", tmp_path, pipe, tmp_path / "a\0b"]
    for source in sources + ([Path("/dev/zero")] if Path("/dev/zero").exists() else []):
        with pytest.raises(MediaError, match=r"unreadable|not a regular file"):
            DECODERS[decoder](source)


def test_a_file_above_the_limit_of_bytes_is_not_read(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.write(encoded(picture()))
        file.truncate(2**34)
    for decode in DECODERS.values():
        with pytest.raises(MediaError, match="a file of 17,179,869,184 bytes, more than"):
            decode(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_png(100_000, 100_000), "100,000 x 100,000 pixels"),
        (_png(100_000, 1), "a side is longer than 20,000"),
        (_png(15_000, 15_000), "15,000 x 15,000 pixels"),
        (_png(9_000, 9_000), "more than 64,000,000 in all"),
        (_webp(b"VP8X", 100_000, 100_000), "100,000 x 100,000 pixels"),
        (_webp(b"VP8L", 16_000, 16_000), "more than 64,000,000 in all"),
        (_webp(b"VP8 ", 16_000, 16_000), "more than 64,000,000 in all"),
    ],
)
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(content, reason):
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match=r"pixels|exceeds limit") as error:
            decode_image(content)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    assert reason in str(error.value) or "exceeds limit" in str(error.value)


@ON_LINUX
def test_an_image_at_the_limits_fits_the_memory_of_a_worker(workers):
    jpeg, png = (
        encoded(np.zeros((8000, 7900, 3), np.uint8), "JPEG"),
        encoded(np.zeros((6000, 6000, 4), np.uint8), compress_level=1),
    )
    for (what, shape, peak), expected in zip(
        workers.map([("image", jpeg), ("image", png)]), [(1024, 1011, 3), (1024, 1024, 3)], strict=True
    ):
        assert what == "image"
        assert shape == expected
        assert 16 < peak < MEMORY  # what a mapped library takes counts too


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_image_gives_no_partial_image(form):
    content = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8), form)
    for share in (0.01, 0.1, 0.5, 0.9):
        with pytest.raises(MediaError):
            decode_image(content[: int(len(content) * share)])


def test_a_medium_of_another_kind_is_refused_whatever_its_name(tmp_path):
    contents = {"image": encoded(picture()), "sound": sounded(tone()), "video": clip([RED])}
    for decoder, kinds in {
        "image": ("sound", "video"),
        "frames": ("image", "sound"),
        "sound": ("image", "video"),
    }.items():
        for kind in kinds:
            path = tmp_path / {"image": "a.jpg", "frames": "a.mp4", "sound": "a.wav"}[decoder]
            path.write_bytes(contents[kind])
            with pytest.raises(MediaError, match=r"not a|no video track|neither sound|no audio track"):
                DECODERS[decoder](path)


def test_a_playlist_cannot_name_other_files(tmp_path):
    (tmp_path / "secret.mp4").write_bytes(clip([RED], sound=tone()))
    path = tmp_path / "list.mp4"
    for content in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n",
    ):
        path.write_text(content)
        for decoder in ("frames", "sound"):
            with pytest.raises(MediaError):
                DECODERS[decoder](path)


def test_a_video_without_frames_or_without_sound_says_so():
    with pytest.raises(MediaError, match="no audio track"):
        decode_sound(clip([RED]), 16_000)
    without_samples = clip([RED]).replace(b"mdat", b"free")
    with pytest.raises(MediaError):
        decode_frames(without_samples[: without_samples.index(b"free") + 4])
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        output.start_encoding()
    with pytest.raises(MediaError, match=r"0 frames|0 pixels|broken|cannot be entered"):
        decode_frames(file.getvalue())


def test_silence_and_no_samples_are_no_sound():
    zeros = np.zeros((22_050, 2), np.float32)
    for content in (sounded(zeros), sounded(zeros, form="FLAC"), sounded(zeros, subtype="FLOAT")):
        with pytest.raises(MediaError, match=r"^silent$"):
            decode_sound(content, 16_000)
    with pytest.raises(MediaError, match=r"^0 seconds of sound$"):
        decode_sound(sounded(zeros[:0]), 16_000)
    with pytest.raises(MediaError, match=r"^silent$"):  # opposite channels
        decode_sound(sounded(np.concatenate([tone(), -tone()], axis=1), subtype="FLOAT"), 22_050)


def test_samples_that_are_not_finite_are_refused():
    for value in (np.nan, np.inf):
        samples = tone()
        samples[100] = value
        with pytest.raises(MediaError, match="not finite"):
            decode_sound(sounded(samples, subtype="FLOAT"), 22_050)


def test_headers_that_state_odd_rates_channels_and_sizes_cost_no_memory():
    for content, reason in (
        (_wav(rate=1), "a sound of 1 samples per second"),
        (_wav(rate=2**31), "samples per second|neither|broken|no audio"),
        (_wav(channels=1000, data=bytes(4000)), "channels|broken|no audio"),
        (_wav(size=2**31), "truncated"),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(MediaError, match=reason):
                decode_sound(content, 16_000)
            assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
        finally:
            tracemalloc.stop()


def test_a_wav_file_of_unknown_size_as_recorders_write_it_is_read():
    assert len(decode_sound(_wav(size=2**32 - 1), 8000)) == 100


@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF"])
def test_a_truncated_sound_gives_no_part_of_it(form):
    content = sounded(np.random.default_rng(0).uniform(-0.5, 0.5, (22_050, 1)), form=form)
    for share in (0.001, 0.1, 0.5, 0.9):
        with pytest.raises(MediaError):
            decode_sound(content[: int(len(content) * share)], 16_000)


def test_a_truncated_video_gives_no_part_of_it(tmp_path):
    content = clip([RED, GREEN, BLUE], form="mp4", sound=tone(3.0))
    whole = _index_first(content, tmp_path)
    assert len(decode_frames(whole)) == 3
    for share in (0.01, 0.3, 0.6, 0.8):
        for decoder in ("frames", "sound"):
            for source in (content, whole):
                with pytest.raises(MediaError):
                    DECODERS[decoder](source[: int(len(source) * share)])


def _index_first(content: bytes, folder: Path) -> bytes:
    """The same video with its index before its data, as the web has it: its first part can be opened."""
    path = folder / "index first.mp4"
    with (
        av.open(io.BytesIO(content)) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as output,
    ):
        streams = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)
    return path.read_bytes()


def test_a_video_larger_than_the_limits_is_refused_before_it_is_decoded():
    content = clip([RED], size=(640, 480))
    with pytest.raises(MediaError, match="640 x 480 pixels, more than 1,000 in all"):
        decode_frames(content, Limits(max_pixels=1000))
    with pytest.raises(MediaError, match="a side is longer than 600"):
        decode_frames(content, Limits(max_side=600))


def test_a_medium_ends_by_the_clock():
    for decode, content in (
        (decode_frames, clip([RED, GREEN])),
        (functools.partial(decode_sound, rate=16_000), sounded(tone())),
    ):
        with pytest.raises(MediaError, match="takes longer than 1e-09 s"):
            decode(content, limits=Limits(seconds=1e-9))


IMAGES = {form: encoded(picture(24, 24), form) for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")}
SOUNDS = {form: sounded(tone(0.1), form=form) for form in ("WAV", "FLAC", "OGG", "MP3", "AIFF")}
CLIPS = {
    form: clip([RED, GREEN], form=form, frames_per_colour=4, size=(32, 32), sound=tone(0.5) if form != "avi" else None)
    for form in ("mp4", "matroska", "avi")
}
MEDIA = (
    [("image", content) for content in IMAGES.values()]
    + [("sound", content) for content in (*SOUNDS.values(), CLIPS["mp4"], CLIPS["matroska"])]
    + [("frames", content) for content in CLIPS.values()]
)


@st.composite
def damaged(draw):
    """A medium that is cut, has wrong bits, or whose bytes are replaced."""
    kind, content = draw(st.sampled_from(MEDIA))
    damaged = bytearray(content)
    for place, bit in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 7)), max_size=12)):
        damaged[place] ^= 1 << bit
    for place, value in draw(
        st.lists(st.tuples(st.integers(0, len(content) - 4), st.binary(min_size=4, max_size=4)), max_size=2)
    ):
        damaged[place : place + 4] = value
    end = draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    return kind, bytes(damaged[:end])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(media=st.lists(damaged(), min_size=4, max_size=4))
def test_damaged_media_give_whole_arrays_or_a_reason_in_bounded_memory(workers, media):
    for (kind, _), result in zip(media, workers.map(media), strict=True):
        if isinstance(result, Failed):
            assert result.reason
            assert "crashed" not in result.reason, result
            assert "\n" not in result.reason
            continue
        what, shape, peak = result
        assert what == kind
        assert all(shape)
        assert peak < MEMORY


def test_undamaged_media_of_the_fuzzing_are_all_decoded(workers):
    assert not [result for result in workers.map(MEDIA) if isinstance(result, Failed)]
