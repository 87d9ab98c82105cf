"""Which format the content of a medium has, and PyAV containers that read exactly that format."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from medley.errors import MissingExtraError
from medley.media.limits import MediaError, damage

# Names of FFmpeg's demuxers. The content chooses: FFmpeg's own guess would also try playlists, which may name other
# files and addresses.
PLAIN_SOUND = ("wav", "aiff", "flac", "mp3", "au", "caf", "w64")  # read by libsndfile, where it can
SLACK = 0.25  # seconds; headers round, and encoders pad
HEAD = 1024  # bytes that tell the format
TS_PACKET = 188  # bytes; each begins with 0x47
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # what an MP4 or QuickTime file may begin with
STARTS = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"\x00\x00\x01\xba": "mpeg",
    b"fLaC": "flac",
    b".snd": "au",
    b"caff": "caf",
    b"riff\x2e\x91\xcf\x11": "w64",
    b"#!AMR": "amr",
    b"ID3": "mp3",
}
RIFF = {b"AVI ": "avi", b"WAVE": "wav"}


def sniff(file: BinaryIO) -> str | None:
    """Returns the FFmpeg name of the format of a medium, None for anything but video and sound; rewinds the file."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    for start, name in STARTS.items():
        if head.startswith(start):
            return name
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in BOXES and head[8:12] not in (b"avif", b"avis", b"heic", b"mif1"):  # these are images
        return "mov"
    if len(head) > 2 * TS_PACKET and head[0] == head[TS_PACKET] == head[2 * TS_PACKET] == 0x47:
        return "mpegts"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:
        return "mp3"
    return None


@contextmanager
def container(file: BinaryIO, name: str) -> Iterator[Any]:
    """Opens a medium with PyAV as the format `name`. The medium cannot make FFmpeg open anything else.

    Raises:
        MediaError: the content is broken.
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("Decoding video and sound", "media") from None
    with damage("broken"):
        opened = av.open(file, format=name, metadata_errors="ignore", options={"protocol_whitelist": "none"})
    with opened:
        yield opened


def check_whole(seen: float, expected: float | None) -> None:
    """Raises a MediaError if a track ends long before the length that its header states.

    Args:
        seen: seconds that were there.
        expected: seconds that the header states, None where it does not.
    """
    if expected is not None and seen < expected - SLACK:
        raise MediaError(f"truncated: {seen:.1f} of {expected:.1f} s")
