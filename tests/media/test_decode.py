"""Media of every usual kind become the right arrays."""

import functools
import io
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image
from tests.media.making import BLUE, GREEN, RED, WHITE, clip, encoded, picture, sounded, tone

from medley.errors import InputError, MissingExtraError
from medley.media.decode import Limits, MediaError, decode_frames, decode_image, decode_sound
from medley.media.video import _Packet, choose


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG", "JPEG2000", "AVIF"])
def test_an_image_of_any_usual_format_comes_back_as_it_was(form, tmp_path):
    if form == "AVIF" and "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow is built without AVIF")
    lossless = {
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 100, "subsampling": 0},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }
    content = encoded(picture(), form, **lossless.get(form, {}))
    path = tmp_path / "image.of-another-kind"
    path.write_bytes(content)
    decoded = decode_image(content)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, decode_image(path))
    np.testing.assert_allclose(decoded.astype(int), picture(), atol=0 if form in ("PNG", "BMP", "TIFF", "PPM") else 12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_images_are_turned_upright_as_pillow_turns_them(orientation, form):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(), form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(decode_image(content), expected)


def test_transparent_pixels_are_white_and_half_transparent_ones_half_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0], pixels[0, 1], pixels[1, 0] = (200, 0, 0, 255), (200, 0, 0, 0), (200, 0, 0, 128)
    decoded = decode_image(encoded(pixels))
    assert decoded[0, 0].tolist() == [200, 0, 0]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    np.testing.assert_allclose(decoded[1, 0], [227, 127, 127], atol=1)


def test_hidden_colours_of_transparent_pixels_do_not_bleed_when_an_image_is_reduced():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 1] = 255  # green, all of it transparent, but for a black left half
    pixels[:, :32] = (0, 0, 0, 255)
    decoded = decode_image(encoded(pixels), Limits(side=16)).astype(int)
    np.testing.assert_allclose(decoded[..., 0], decoded[..., 1], atol=2)  # grey everywhere


def test_a_transparent_colour_of_a_palette_of_grey_or_of_rgb_is_white():
    for mode, colour, transparent in (("P", 1, 1), ("L", 90, 90), ("RGB", (9, 8, 7), (9, 8, 7))):
        image = Image.new(mode, (4, 4), colour)
        if mode == "P":
            image.putpalette([0, 0, 0, 200, 10, 10])
        file = io.BytesIO()
        image.save(file, "PNG", transparency=transparent)
        assert (decode_image(file.getvalue()) == 255).all(), mode


def test_grey_sixteen_bits_one_bit_palette_and_cmyk_become_rgb():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    np.testing.assert_allclose(decode_image(encoded(ramp))[..., 0].astype(int), ramp // 257, atol=1)
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode_image(encoded(grey)), np.repeat(grey[..., None], 3, axis=2))
    bits = grey > 100
    np.testing.assert_array_equal(decode_image(encoded(bits))[..., 1], np.where(bits, 255, 0))
    palette, cmyk = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture()).quantize(16).save(palette, "PNG")
    np.testing.assert_allclose(decode_image(palette.getvalue()).astype(int), picture(), atol=3)
    Image.fromarray(picture()).convert("CMYK").save(cmyk, "JPEG", quality=100)
    np.testing.assert_allclose(decode_image(cmyk.getvalue())[4:8, 4:8].astype(int), picture()[4:8, 4:8], atol=12)


def test_an_image_of_floating_point_numbers_is_refused():
    with pytest.raises(MediaError, match="floating-point"):
        decode_image(encoded(np.ones((4, 4), np.float32), "TIFF"))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_the_first_image_of_an_animation_counts(form):
    file = io.BytesIO()
    first, second = (Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE))
    first.save(file, form, save_all=True, append_images=[second], duration=100)
    np.testing.assert_allclose(decode_image(file.getvalue()).mean(axis=(0, 1)), RED, atol=6)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_large_image_is_reduced_to_the_side_and_keeps_its_shape_and_content(form):
    decoded = decode_image(encoded(picture(1200, 800), form), Limits(side=96))
    assert decoded.shape == (64, 96, 3)
    small = picture(96, 64).astype(int)
    np.testing.assert_allclose(decoded[8:24, 8:40], small[8:24, 8:40], atol=6)
    np.testing.assert_allclose(decoded[40:56, 56:88], small[40:56, 56:88], atol=6)
    assert decode_image(encoded(np.zeros((1, 500, 3), np.uint8)), Limits(side=96)).shape == (1, 96, 3)


def test_broken_metadata_does_not_spoil_a_sound_image():
    content = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode_image(content).shape == (32, 48, 3)


def test_each_scene_of_a_video_gives_a_frame_in_order():
    frames = decode_frames(clip([RED, GREEN, BLUE, WHITE]))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    for frame, colour in zip(frames, [RED, GREEN, BLUE, WHITE], strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=12)


@pytest.mark.parametrize(
    ("codec", "form"),
    [("mpeg4", "mp4"), ("mpeg4", "avi"), ("libx264", "matroska"), ("mpeg1video", "mpegts"), ("mjpeg", "avi")],
)
def test_codecs_and_containers_give_the_same_scenes(codec, form, tmp_path):
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg is built without {codec}")
    rate = 25 if codec == "mpeg1video" else 10
    path = tmp_path / "no suffix"
    path.write_bytes(clip([RED, GREEN, BLUE], codec=codec, form=form, rate=rate, frames_per_colour=20, every=20))
    frames = decode_frames(path, Limits(max_frames=3))
    assert len(frames) == 3
    for frame, colour in zip(frames, [RED, GREEN, BLUE], strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=14)


def test_scenes_between_two_key_frames_are_found():
    content = clip([RED, GREEN, BLUE, WHITE], every=1000, frames_per_colour=20, options={"bf": "2"})
    with av.open(io.BytesIO(content)) as video:
        assert sum(packet.is_keyframe for packet in video.demux(video=0) if packet.size) == 1
    means = np.array([frame.mean(axis=(0, 1)) for frame in decode_frames(content)])
    for colour in (RED, GREEN, BLUE, WHITE):
        assert np.abs(means - colour).max(axis=1).min() < 14


def test_frames_are_at_most_max_frames_and_spread_over_the_video():
    content = clip([RED, GREEN, BLUE, WHITE, RED, GREEN, BLUE, WHITE, RED], every=2)
    frames = decode_frames(content, Limits(max_frames=3))
    assert len(frames) == 3
    for frame, colour in zip(frames, [RED, RED, RED], strict=True):  # the first, the middle and the last
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=12)
    assert len(decode_frames(content, Limits(max_frames=1))) == 1


def test_the_chosen_frames_are_key_frames_then_scene_changes_then_equal_distances():
    def packets(*sizes: int, key: int = 1000) -> list[_Packet]:
        return [_Packet(float(place), place + 1.0, size == key, size) for place, size in enumerate(sizes)]

    assert choose(packets(1000, 9, 9, 1000, 9, 1000), 8) == [(0, 0), (3, 3), (5, 5)]
    assert choose(packets(1000, 9, 700, 9, 800, 9), 8) == [(0, 0), (2, 0), (4, 0)]
    assert choose(packets(1000, 9, 9, 9, 9, 9, 9, 9, 9), 4) == [(0, 0), (2, 0), (4, 0), (7, 0)]
    assert choose(packets(*[1000] * 9), 3) == [(0, 0), (4, 4), (8, 8)]
    assert choose(packets(9, 9, 1000, 9), 1) == [(2, 2)]
    assert choose(packets(9, 9, 9), 8) == []
    assert choose([], 8) == []


def test_a_long_video_is_entered_at_equal_distances_and_not_read_from_end_to_end():
    colours = [RED, GREEN, BLUE, WHITE]
    content = clip(colours, rate=1, frames_per_colour=900, every=30, size=(32, 32))  # an hour
    file = io.BytesIO(content)
    with av.open(file) as video:
        assert video.duration > 3_500_000_000
    frames = decode_frames(content, Limits(max_frames=4))
    for frame, colour in zip(frames, colours, strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=12)
    frames = decode_frames(content, Limits(max_frames=4, max_video_seconds=900))
    for frame in frames:
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), RED, atol=12)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_video_that_was_filmed_upright_is_turned_upright(quarters):
    # the matrix of a track header turns the picture clockwise: ISO/IEC 14496-12, 8.3.2; 16.16 and 2.30 fixed point
    one, cosine, sine = 1 << 16, (1, 0, -1, 0)[quarters], (0, 1, 0, -1)[quarters]
    matrix = [cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30]
    plain = picture(64, 48)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(plain, format="rgb24")))
        output.mux(stream.encode(None))
    content = bytearray(file.getvalue())
    begin = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    content[begin : begin + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    frame = decode_frames(bytes(content))[0].astype(int)
    expected = np.rot90(plain, -quarters).astype(int)
    assert frame.shape == expected.shape
    np.testing.assert_allclose(frame[8:16, 8:16], expected[8:16, 8:16], atol=25)
    np.testing.assert_allclose(frame[-16:-8, 8:16], expected[-16:-8, 8:16], atol=25)


def test_frames_are_reduced_to_the_side():
    assert decode_frames(clip([RED], size=(640, 480)), Limits(side=64))[0].shape == (48, 64, 3)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "W64", "CAF"])
@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_sound_of_any_usual_format_comes_back_at_the_rate_that_is_asked_for(form, rate, tmp_path):
    content = sounded(tone(), form=form)
    path = tmp_path / "no suffix"
    path.write_bytes(content)
    sound = decode_sound(content, rate)
    assert sound.dtype == np.float32
    np.testing.assert_array_equal(sound, decode_sound(path, rate))
    assert len(sound) == pytest.approx(rate, rel=0.06)  # MP3 pads
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) * rate / len(sound) == pytest.approx(440, abs=3)
    assert np.abs(sound[rate // 4 : rate // 2]).max() == pytest.approx(0.5, abs=0.03)


def test_a_resampled_tone_is_the_tone():
    sound = decode_sound(sounded(tone(rate=44_100), 44_100, subtype="FLOAT"), 16_000)
    assert len(sound) == pytest.approx(16_000, abs=2)
    middle = slice(1000, 15_000)
    np.testing.assert_allclose(sound[middle], tone(rate=16_000)[:, 0][: len(sound)][middle], atol=2e-3)


def test_the_channels_are_averaged():
    both = np.concatenate([tone(), 0.2 * tone(hertz=880)], axis=1)
    np.testing.assert_allclose(decode_sound(sounded(both, subtype="FLOAT"), 22_050), both.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"])
def test_every_way_to_store_samples_gives_the_same_sound(subtype):
    sound = decode_sound(sounded(tone(), subtype=subtype), 22_050)
    np.testing.assert_allclose(sound[200 : len(tone())], tone()[200:, 0][: len(sound) - 200], atol=0.04)


def test_the_track_of_a_video_is_its_sound():
    sound = decode_sound(clip([RED] * 2, sound=tone(2.0)), 22_050)
    assert len(sound) == pytest.approx(2 * 22_050, abs=3000)  # AAC pads
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * 22_050 / len(sound) == pytest.approx(440, abs=3)
    assert np.abs(sound[8000:12_000]).max() == pytest.approx(0.5, abs=0.05)


def test_sound_ends_at_max_seconds():
    content = sounded(tone(3.0))
    limited = decode_sound(content, 22_050, Limits(max_seconds=0.5))
    np.testing.assert_array_equal(limited, decode_sound(content, 22_050)[: 22_050 // 2])
    assert len(decode_sound(content, 16_000, Limits(max_seconds=0.5))) == 8_000


def test_a_rate_out_of_range_is_an_error_of_the_caller():
    with pytest.raises(InputError, match="rate of a sound"):
        decode_sound(sounded(tone()), 0)


@pytest.mark.parametrize(
    ("package", "decode", "content"),
    [
        ("PIL", decode_image, encoded(picture())),
        ("av", decode_frames, clip([RED])),
        ("av", functools.partial(decode_sound, rate=16_000), sounded(tone())),
        ("soundfile", functools.partial(decode_sound, rate=16_000), sounded(tone())),
    ],
)
def test_a_missing_package_names_the_extra(package, decode, content, monkeypatch):
    assert len(decode(content))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medley-rec\[media\]'"):
        decode(content)


def test_the_room_is_imported_without_the_packages_of_the_extra_and_decoders_without_torch():
    code = (
        "import sys, medley.media.decode, medley.media.workers; assert 'torch' not in sys.modules; "
        "import medley.media.files; assert not {'PIL', 'av', 'soundfile'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_clips_give_frames_and_sound(data_folder):
    for path in sorted((data_folder / "clips").glob("*.mp4")):
        frames = decode_frames(path)
        assert 3 <= len(frames) <= 8
        assert all(frame.shape == frames[0].shape and max(frame.shape) <= 1024 for frame in frames)
        with av.open(str(path)) as video:
            seconds = video.duration / 1_000_000
        assert len(decode_sound(path, 16_000)) / 16_000 == pytest.approx(seconds, abs=0.1)
