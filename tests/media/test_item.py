"""The vectors of one item are those of the batch, by encoders that are made again from the manifest."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.media import toys

from medley.errors import InputError
from medley.media.decode import MediaError
from medley.media.extract import extract
from medley.media.files import ItemMedia
from medley.media.item import ItemEncoder, media_of
from medley.media.pieces import Medium

pytest.importorskip("PIL")


@pytest.fixture
def media(tmp_path) -> Path:
    for item in range(6):
        toys.paint(tmp_path / "media", f"{item}.png", seed=item)
    toys.paint(tmp_path / "media", "5_2.png", seed=77)
    return tmp_path / "media"


@pytest.fixture
def data(media):
    first = extract(toys.catalogue(7), media, visual=toys.COLOURS, scale="pca-whitening-3", batch=4, jobs=1).dataset
    return extract(first, text=["title"], textual=toys.CENTRED, scale="standard").dataset


def media_of_item(data, media, item: int) -> ItemMedia:
    files = data.media("visual").filter(pl.col("item") == item)["file"]
    return ItemMedia(images=tuple(media / file for file in files), texts=(data.title(item),))


def test_every_item_has_the_vectors_of_the_batch(data, media):
    encoder = ItemEncoder.of(data)
    for item in range(6):
        vectors = encoder.encode(media_of_item(data, media, item))
        assert list(vectors) == ["visual", "textual"]
        for modality, vector in vectors.items():
            assert vector.dtype == np.float32
            np.testing.assert_allclose(vector, data.features[modality].values[item], atol=1e-5)


def test_contents_and_workers_give_the_same_vectors(data, media):
    encoder = ItemEncoder.of(data)
    plain = encoder.encode(media_of_item(data, media, 5))
    contents = tuple(path.read_bytes() for path in (media / "5.png", media / "5_2.png"))
    with encoder.workers() as workers:
        isolated = encoder.encode(ItemMedia(images=contents, texts=(data.title(5),)), workers=workers)
    for modality, vector in plain.items():
        assert np.array_equal(isolated[modality], vector)


def test_an_item_without_a_kind_of_medium_lacks_the_modality(data, media):
    encoder = ItemEncoder.of(data)
    assert list(encoder.encode(ItemMedia(texts=("ab",)))) == ["textual"]
    assert encoder.encode(ItemMedia()) == {}
    assert encoder.reads == {"visual": "image", "textual": "text"}


def test_a_broken_medium_is_an_error_or_left_out_as_in_the_batch(data, media):
    encoder = ItemEncoder.of(data)
    good = encoder.encode(ItemMedia(images=(media / "0.png",)))["visual"]
    broken = ItemMedia(images=(media / "0.png", b"not a picture"))
    with pytest.raises(MediaError, match="image for visual: not an image"):
        encoder.encode(broken)
    assert np.array_equal(encoder.encode(broken, skip_broken=True)["visual"], good)
    assert encoder.encode(ItemMedia(images=(b"no",), texts=(" ",)), skip_broken=True) == {}


def test_the_sound_of_a_video_is_read_only_where_there_is_no_sound_file():
    both = ItemMedia(images=(b"i",), videos=(b"v",), audios=(b"a",), texts=("t",))
    assert media_of(both, "image") == [Medium("image", b"i"), Medium("frames", b"v")]
    assert media_of(both, "sound") == [Medium("sound", b"a")]
    assert media_of(ItemMedia(videos=(b"v",)), "sound") == [Medium("sound", b"v")]
    assert media_of(both, "text") == [Medium("text", "t")]


def test_every_modality_keeps_the_limits_of_its_extraction(data, media):
    options = {"visual": toys.COLOURS, "name": "small", "limits": {"max_side": 3}}
    toys.paint(media, "6.png", seed=6, side=2)
    encoder = ItemEncoder.of(extract(data, media, jobs=1, **options).dataset)
    assert {name: limits.max_side for name, limits in encoder.limits.items()} == {
        "visual": 20_000,
        "textual": 20_000,
        "small": 3,
    }
    picture = ItemMedia(images=(media / "0.png",))
    assert list(encoder.encode(picture, skip_broken=True)) == ["visual"]
    assert list(encoder.encode(ItemMedia(images=(media / "6.png",)))) == ["visual", "small"]


def test_another_encoder_than_that_of_the_batch_is_refused(data, monkeypatch):
    monkeypatch.setattr(toys.Colours, "revision", "2")
    with pytest.raises(InputError, match=r"encoder of 'visual' is not the one .* expected revision 1, got 2"):
        ItemEncoder.of(data)


def test_a_data_set_without_extracted_modalities_is_refused():
    plain = toys.catalogue(3).with_modality("visual", np.ones((3, 2)), made_by={"encoder": "x"})
    with pytest.raises(InputError, match="modalities that were extracted from media: expected at least one, got none"):
        ItemEncoder.of(plain)


def test_clips_become_vectors_of_look_and_sound_and_one_clip_has_those_of_the_batch(data_folder, tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("scipy")
    clips = sorted(path for path in (data_folder / "clips").iterdir() if path.suffix in (".mp4", ".webm", ".mkv"))
    table = pl.DataFrame({"item_id": [str(row) for row in range(len(clips))], "video": [str(clip) for clip in clips]})
    options = {"visual": "colour-layout", "acoustic": "logmel", "scale": "l2", "jobs": 2}
    done = extract(toys.catalogue(len(clips) + 1), table, **options)
    data, encoder = done.dataset, ItemEncoder.of(done.dataset)
    assert len(clips) >= 2 and {"visual", "acoustic"} == data.features.keys()
    vectors = encoder.encode(ItemMedia(videos=(clips[0],)))
    for modality, (values, present) in data.features.items():
        assert present.tolist() == [True] * len(clips) + [False]
        np.testing.assert_allclose(np.linalg.norm(values[present], axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(vectors[modality], values[0], atol=1e-5)
        assert (values[0] != values[1]).any()
