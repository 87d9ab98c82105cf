"""Small media that the tests make: images, clips and sounds."""

import fractions
import io

import av
import numpy as np
import soundfile
from PIL import Image


def picture(width: int = 48, height: int = 32, seed: int = 0) -> np.ndarray:
    """A smooth image (height, width, 3) uint8 whose quarters differ: red, green, blue, grey."""
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    pixels[:top, :left], pixels[:top, left:] = (250, 20, 20), (20, 250, 20)
    pixels[top:, :left], pixels[top:, left:] = (20, 20, 250), (128, 128, 128)
    return np.roll(pixels, seed, axis=1)


def encoded(pixels: np.ndarray, form: str = "PNG", **options) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def tone(seconds: float = 1.0, rate: int = 22_050, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """A sine (n, channels) float32 of amplitude 0.5."""
    time = np.arange(round(seconds * rate)) / rate
    return np.repeat(0.5 * np.sin(2 * np.pi * hertz * time)[:, None], channels, axis=1).astype(np.float32)


def sounded(samples: np.ndarray, rate: int = 22_050, form: str = "WAV", **options) -> bytes:
    """The bytes of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, **options)
    return file.getvalue()


def clip(
    colours: list[tuple[int, int, int]],
    *,
    rate: fractions.Fraction | int = 10,
    frames_per_colour: int = 10,
    size: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
    form: str = "mp4",
    every: int = 10,
    sound: np.ndarray | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a video that shows colours one after the other.

    Args:
        colours: red, green and blue, 0 to 255.
        rate: frames per second.
        frames_per_colour: frames for which a colour is shown.
        size: width and height.
        codec: of the frames.
        form: container.
        every: frames from one key frame to the next.
        sound: (n, 1) float32 at 22,050 Hz, or None for a video without sound.
        options: of the codec.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=form) as output:
        video = output.add_stream(
            codec, rate=rate, options={"g": str(every), "sc_threshold": "1000000000"} | (options or {})
        )
        video.width, video.height = size
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.thread_count = 1
        audio = output.add_stream("aac", rate=22_050, layout="mono") if sound is not None else None
        for colour in colours:
            for _ in range(frames_per_colour):
                pixels = np.full((size[1], size[0], 3), colour, np.uint8)
                output.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(video.encode(None))
        if audio is not None:
            for begin in range(0, len(sound), 1024):
                frame = av.AudioFrame.from_ndarray(sound[begin : begin + 1024].T.copy(), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 22_050, begin
                output.mux(audio.encode(frame))
            output.mux(audio.encode(None))
    return file.getvalue()


RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 220, 30), (30, 30, 220), (250, 250, 250)
