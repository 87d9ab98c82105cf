"""Writes the media of one simulated item: a clip, or a picture and a sound, and a caption. Runs in worker processes.

Formats are drawn per item, so that a catalogue exercises all decoders. Codecs run with one thread and write neither
times nor random marks, so the same item gives the same bytes.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medley.errors import MissingExtraError
from medley.media.captions import caption
from medley.media.drawing import draw
from medley.media.synthesis import RATE, synthesise

FRAMES, FRAME_RATE = 12, 6  # a clip takes two seconds
SECONDS = FRAMES / FRAME_RATE
CLIPS = {  # suffix -> video codec, its options, audio codec
    ".mp4": ("libx264", {"preset": "veryfast", "crf": "24"}, "aac"),
    ".mkv": ("libx264", {"preset": "veryfast", "crf": "24"}, "libopus"),
    ".webm": (
        "libvpx",
        {"deadline": "good", "cpu-used": "5", "crf": "10"},
        "libopus",
    ),  # realtime: bytes depend on load
    ".avi": ("mpeg4", {"qscale": "4"}, "libmp3lame"),
}
SOUNDS = {".wav": "pcm_s16le", ".flac": "flac", ".ogg": "libopus", ".mp3": "libmp3lame", ".m4a": "aac"}
PICTURES: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 90},
    ".png": {"compress_level": 3},
    ".webp": {"quality": 90, "method": 0},
}
WITH_SOUND, SILENT = 0.7, 0.5  # share of clips among items with picture and sound, and with a picture alone
VISUAL, ACOUSTIC, TEXTUAL, FORMAT = range(4)  # streams of random numbers of an item


class Item(NamedTuple):
    """What is known of an item before its media are made."""

    row: int
    raw_id: str
    visual: int | None  # cluster; None: no picture
    acoustic: int | None
    textual: str | None  # name of the cluster


class ItemRenderer:
    """Renders items into a folder; can be sent to worker processes."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed

    def __call__(self, item: Item) -> dict[str, Any]:
        """Writes the files of one item. Returns a row of the table: item_id, image, video, audio, text."""
        form = self._rng(item, FORMAT)
        clip = form.random() < (SILENT if item.acoustic is None else WITH_SOUND)
        row: dict[str, Any] = dict.fromkeys(("image", "video", "audio", "text"))
        sound = None
        if item.acoustic is not None:
            sound = synthesise(item.acoustic, self._rng(item, ACOUSTIC), SECONDS)
        if item.visual is not None:
            frames = draw(item.visual, self._rng(item, VISUAL), FRAMES if clip else 1)
            if clip:
                row["video"] = self._path(item, CLIPS, form)
                write_clip(self.folder / row["video"], frames, sound)
            else:
                row["image"] = self._path(item, PICTURES, form)
                write_picture(self.folder / row["image"], frames[0])
        if sound is not None and row["video"] is None:
            row["audio"] = self._path(item, SOUNDS, form)
            write_sound(self.folder / row["audio"], sound)
        if item.textual is not None:
            row["text"] = caption(item.textual, self._rng(item, TEXTUAL))
        return {"item_id": item.raw_id, **row}

    def _rng(self, item: Item, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, item.row, stream])

    def _path(self, item: Item, formats: dict[str, Any], rng: np.random.Generator) -> str:
        return f"{item.raw_id}{list(formats)[rng.integers(len(formats))]}"


def check_codecs() -> None:
    """Imports the codecs, so that an absent package is told before any work.

    Raises:
        MissingExtraError: PyAV or Pillow is not installed.
    """
    try:
        import av  # noqa: F401
        import PIL.Image  # noqa: F401
    except ImportError:
        raise MissingExtraError("rendering media", "media") from None


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB as an image whose format is that of the suffix, one of PICTURES."""
    from PIL import Image

    Image.fromarray(picture).save(path, **PICTURES[path.suffix])


def write_clip(path: Path, frames: np.ndarray, sound: np.ndarray | None) -> None:
    """Writes a clip.

    Args:
        path: whose suffix, one of CLIPS, decides container and codecs.
        frames: (F, H, W, 3) uint8 RGB.
        sound: (n,) float32; None: the clip has no sound track.
    """
    import av

    codec, options, audio_codec = CLIPS[path.suffix]
    with _opened(path) as container:
        video: Any = container.add_stream(codec, rate=FRAME_RATE, options={**options, "threads": "1"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else _audio_track(container, audio_codec)
        for n, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = n
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            _encode_sound(container, audio, sound)


def write_sound(path: Path, sound: np.ndarray) -> None:
    """Writes (n,) float32 as a sound whose format is that of the suffix, one of SOUNDS."""
    with _opened(path) as container:
        _encode_sound(container, _audio_track(container, SOUNDS[path.suffix]), sound)


def _opened(path: Path) -> Any:
    import av

    return av.open(str(path), "w", container_options={"fflags": "+bitexact"})


def _audio_track(container: Any, codec: str) -> Any:
    return container.add_stream(codec, rate=RATE, layout="mono", options={"flags": "+bitexact", "threads": "1"})


def _encode_sound(container: Any, track: Any, sound: np.ndarray) -> None:
    import av

    samples = np.rint(sound * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    container.mux(track.encode(frame))
    container.mux(track.encode(None))
