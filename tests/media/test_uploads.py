"""Uploaded media: encoded as those of the catalogue, or refused with a reason."""

import io

import numpy as np
import pytest
from tests.media import toys

from medley.errors import InputError
from medley.media.extract import extract
from medley.media.uploads import Uploads

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for item in range(4):
        toys.paint(folder, f"{item}.png", seed=item)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    first = extract(toys.catalogue(4), folder, visual=toys.COLOURS, jobs=1).dataset
    return extract(first, text=["title"], textual=toys.CENTRED).dataset


def uploads_of(data, *modalities, wait=True):
    made_by = {m: data.manifest.modalities[m].made_by for m in modalities}
    return Uploads(made_by, {m: data.fitted(m) for m in modalities}, wait=wait)


@pytest.fixture(scope="module")
def uploads(data):
    made = uploads_of(data, "visual", "textual", wait=False)
    yield made
    made.close()


def black() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


def test_an_upload_has_the_vectors_of_the_extraction_and_a_small_jpeg(uploads, data, folder):
    features, picture = uploads.encode(text=data.title(2), image=(folder / "2.png").read_bytes())
    for modality in ("visual", "textual"):
        np.testing.assert_allclose(features[modality], data.features[modality].values[2], atol=1e-5)
    assert Image.open(io.BytesIO(picture)).format == "JPEG"
    assert uploads.encode(text="ab")[1] is None and uploads.reads == {"visual": "image", "textual": "text"}


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        ({"image": b"not a picture"}, "image for visual: not an image"),
        ({"image": b""}, "image for visual: "),
        ({"image": b"\x89PNG\r\n\x1a\n" + bytes(40)}, "image for visual: "),
        ({"image": black()}, "image for visual: "),  # ends the process that decodes it
        ({"video": b"not a video"}, "frames for visual: "),
        ({"text": "  "}, "text for textual: no words"),
        ({"text": "ab", "image": b"not a picture"}, "image for visual: not an image"),
    ],
)
def test_a_medium_that_cannot_be_used_is_refused_and_the_next_upload_works(uploads, folder, media, reason):
    with pytest.raises(InputError, match=f"media of an item: got {reason}.* Remedy: send another file"):
        uploads.encode(**media)
    assert list(uploads.encode(image=(folder / "0.png").read_bytes())[0]) == ["visual"]


@pytest.mark.parametrize(
    ("modality", "refused", "expected"),
    [
        ("visual", {"audio": b"x"}, "image, got sound"),
        ("visual", {"text": "x"}, "image, got text"),
        ("textual", {"image": b"x"}, "text, got image"),
        ("textual", {"video": b"x"}, "text, got video"),
        ("textual", {"text": "ab", "video": b"x"}, "text, got video"),
    ],
)
def test_a_medium_that_nothing_in_the_catalogue_reads_is_refused(data, modality, refused, expected):
    uploads = uploads_of(data, modality)
    with pytest.raises(InputError, match=f"expected media that the catalogue encodes: {expected}"):
        uploads.encode(**refused)
    uploads.close()


def test_a_video_of_which_only_the_sound_is_read_and_that_has_none_is_refused(tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("soundfile")
    from tests.media.making import clip, sounded, tone

    (tmp_path / "0.wav").write_bytes(sounded(tone()))
    uploads = uploads_of(extract(toys.catalogue(2), tmp_path, acoustic="logmel", jobs=1).dataset, "acoustic")
    silent = clip([(250, 20, 20)])
    for video in (silent, b"not a video"):
        with pytest.raises(InputError, match="a video without usable sound"):
            uploads.encode(video=video)
    assert list(uploads.encode(audio=sounded(tone()), video=silent)[0]) == ["acoustic"]
    assert list(uploads.encode(video=clip([(250, 20, 20)], sound=tone()))[0]) == ["acoustic"]
    uploads.close()


def test_encoders_that_cannot_be_loaded_are_refused_at_once_or_by_every_upload(data, monkeypatch):
    monkeypatch.setattr(toys.Colours, "revision", "2")
    with pytest.raises(InputError, match="expected revision 1, got 2"):
        uploads_of(data, "visual")
    late = uploads_of(data, "visual", wait=False)
    for _ in range(2):
        with pytest.raises(InputError, match="expected revision 1, got 2"):
            late.encode(image=b"x")
    late.close()


def test_a_catalogue_without_extracted_modalities_encodes_nothing():
    with pytest.raises(InputError, match="extracted from media: expected at least one, got none"):
        Uploads({"visual": {"by": "somebody"}}, {})
