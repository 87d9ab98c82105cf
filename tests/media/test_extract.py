"""Extraction: what it writes, what it encodes again, what it refuses, and that kills do not matter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.media import kills, toys
from tests.media.toy_pieces import colours

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.inspect import inspect_dataset
from medley.errors import InputError
from medley.files import sha256_of_file
from medley.media import extract as extracting
from medley.media import journal, update
from medley.media.decode import Limits
from medley.media.extract import extract
from medley.media.pieces import Medium, Preparation, Prepare

pytest.importorskip("PIL")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path) -> Dataset:
    return toys.catalogue(7, tmp_path / "data")


@pytest.fixture
def media(tmp_path) -> Path:
    """Pictures of items 0 to 5, two of item 2; item 6 has none."""
    for name in ("0.png", "1.png", "2_1.png", "2_2.png", "3.png", "4.png", "5.png"):
        old = toys.paint(tmp_path / "media", name, seed=len(name) + ord(name[0]) + ord(name[2]))
        os.utime(old, (1e9, 1e9))  # settled, so that size and time are enough to know it again
    return tmp_path / "media"


def visual(data: Dataset, media: Path, **options):
    return extract(data, media, visual=toys.COLOURS, jobs=1, **options)


def vector(path: Path) -> np.ndarray:
    """The vector of a picture, by hand."""
    from PIL import Image

    pixels = np.asarray(Image.open(path)).astype(np.float64)
    return pixels.reshape(-1, 3).mean(axis=0) @ toys.MATRIX  # both halves are of one size


def all_bytes(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".extraction" not in path.parts}


def test_vectors_are_means_over_pieces_and_media(data, media):
    done = visual(data, media, batch=3)
    values, present = done.dataset.features["visual"]
    assert present.tolist() == [True] * 6 + [False]
    assert not values[6].any() and values[:6].any(axis=1).all()
    expected = np.mean([vector(media / "2_1.png"), vector(media / "2_2.png")], axis=0)
    np.testing.assert_allclose(values[2], expected, rtol=1e-5)
    np.testing.assert_allclose(values[0], vector(media / "0.png"), rtol=1e-5)
    report = done.modalities["visual"]
    assert report[2:7] == (6, 1, 0, 6, True) and done.changed


def test_provenance_comes_back_from_the_manifest(data, media):
    visual(data, media, scale="standard", limits={"max_side": 99})
    found = Dataset(data.folder, verify=True)
    made_by = found.manifest.modalities["visual"].made_by
    assert made_by["encoder"] == toys.COLOURS and made_by["about"]["revision"] == "1"
    assert made_by["limits"]["max_side"] == 99 and {"pillow", "numpy", "medley"} <= made_by["versions"].keys()
    table = found.media("visual")
    assert table["item"].to_list() == [0, 1, 2, 2, 3, 4, 5] and set(table["status"]) == {"ok"}
    assert table["sha256"].to_list() == [sha256_of_file(media / name) for name in table["file"]]
    assert table["bytes"].to_list() == [(media / name).stat().st_size for name in table["file"]]
    values, present = found.features["visual"]
    np.testing.assert_allclose(values[present].mean(axis=0), 0, atol=1e-5)
    assert found.fitted("visual").keys() == {"scale.mean", "scale.deviation"}


def test_the_scale_is_fitted_to_items_of_train(data):
    values = extract(data, text="title", textual=toys.WORDS).dataset.features["textual"].values
    scaled = extract(data, text="title", textual=toys.WORDS, scale="standard").dataset
    assert np.array_equal(scaled.fitted("textual")["scale.mean"], values[:6].mean(axis=0))  # item 6 is cold


def test_nothing_is_done_again_and_a_changed_file_is_encoded_alone(data, media, monkeypatch):
    monkeypatch.setattr(update, "CHUNK", 3)
    before = visual(data, media).dataset.features["visual"].values.copy()
    whole = all_bytes(data.folder)
    toys.batches.clear()
    again = visual(Dataset(data.folder), media)
    assert not again.changed and toys.batches == [] and again.modalities["visual"].num_encoded == 0
    os.utime(media / "3.png", (2e9, 2e9))  # another time, the same content
    assert not visual(Dataset(data.folder), media).changed and toys.batches == []
    assert all_bytes(data.folder) == whole
    toys.paint(media, "3.png", seed=99)
    changed = visual(Dataset(data.folder), media)
    assert toys.batches == [2] and changed.modalities["visual"].num_encoded == 1  # one picture, two pieces
    after = changed.dataset.features["visual"].values
    assert (after != before).any(axis=1).tolist() == [row == 3 for row in range(7)]
    np.testing.assert_allclose(after[3], vector(media / "3.png"), rtol=1e-5)


def test_files_that_come_and_go_are_followed(data, media):
    visual(data, media)
    toys.batches.clear()
    (media / "0.png").unlink()
    (media / "2_1.png").unlink()
    toys.paint(media, "6.png", seed=6)
    new = visual(Dataset(data.folder), media).dataset
    assert new.features["visual"].present.tolist() == [False] + [True] * 6
    np.testing.assert_allclose(new.features["visual"].values[2], vector(media / "2_2.png"), rtol=1e-5)
    assert sum(toys.batches) == 4  # items 2 and 6


@pytest.mark.parametrize("change", ["scale", "encoder", "limits"])
def test_another_scale_encodes_nothing_and_another_encoder_or_limit_everything(data, media, change, monkeypatch):
    old = visual(data, media).dataset
    toys.batches.clear()
    options = {"scale": {"scale": "l2"}, "limits": {"limits": {"side": 64}}}.get(change, {})
    if change == "encoder":
        monkeypatch.setattr(toys.Colours, "revision", "2")
    new = visual(Dataset(data.folder), media, **options)
    assert sum(toys.batches) == (0 if change == "scale" else 14)
    before, after = (each.manifest.modalities["visual"].made_by for each in (old, new.dataset))
    assert new.changed and before != after
    assert len(list((data.folder / ".extraction/visual").iterdir())) == 1  # nothing is left of other encoders


def test_an_encoder_that_is_fitted_is_fitted_again_when_a_text_changes(data):
    table = pl.DataFrame({"item_id": ["0", "1", "2"], "text": ["a", "bb", "a b"]})
    first = extract(data, table, textual=toys.CENTRED).dataset
    np.testing.assert_allclose(first.features["textual"].values[:3].sum(axis=0), 0, atol=1e-6)
    assert first.fitted("textual")["encoder.mean"].tolist() == pytest.approx([2 / 3, 1, 1 / 3, 0])
    assert not extract(Dataset(data.folder), table, textual=toys.CENTRED).changed
    other = extract(Dataset(data.folder), table.with_columns(text=pl.lit("c a") + pl.col("text")), textual=toys.CENTRED)
    assert other.modalities["textual"].num_encoded == 3 and other.changed


def test_broken_media_fail_alone_and_are_reported(data, media):
    from PIL import Image

    whole = visual(data, media).dataset.features["visual"].values.copy()
    (media / "1.png").write_bytes((media / "1.png").read_bytes()[:40])
    (media / "2_1.png").write_bytes(b"not a picture")
    Image.new("RGB", (4, 4)).save(media / "4.png")  # black: the toy kills its process
    (media / "5.png").write_bytes(b"")
    done = visual(Dataset(data.folder), media)
    values, present = done.dataset.features["visual"]
    assert present.tolist() == [True, False, True, True, False, False, False] and not values[~present].any()
    assert np.array_equal(values[[0, 3]], whole[[0, 3]])
    np.testing.assert_allclose(values[2], vector(media / "2_2.png"), rtol=1e-5)  # the other picture of the item
    report = done.modalities["visual"]
    assert (report.num_items, report.num_without, report.num_failed) == (3, 1, 3)
    failed = {example: why for why, one in report.failures.items() for example in one.examples}
    assert failed.keys() == {"1: 1.png", "2: 2_1.png", "4: 4.png", "5: 5.png"}
    assert "crashed (SIGKILL)" in failed["4: 4.png"] and failed["5: 5.png"] == "empty file"
    table = done.dataset.media("visual")
    statuses = dict(table.select("file", "status").rows())
    assert statuses["1.png"] == "failed" and statuses["4.png"] == "stopped" and statuses["2_2.png"] == "ok"
    toys.paint(media, "4.png", seed=4)
    toys.batches.clear()
    assert visual(Dataset(data.folder), media).dataset.features["visual"].present[4] and sum(toys.batches) == 2
    assert json.loads(json.dumps(done.as_dict()))["modalities"]["visual"]["failures"]


def test_a_clip_without_a_sound_track_lacks_sound_and_is_not_a_failure(data, tmp_path):
    pytest.importorskip("av")
    from tests.media.making import BLUE, RED, clip, sounded, tone

    clips = tmp_path / "clips"
    clips.mkdir()
    for item, sound in ((0, tone()), (1, None), (2, None), (3, None)):
        (clips / f"{item}.mp4").write_bytes(clip([RED, BLUE], sound=sound))
    (clips / "3_2.mp4").write_bytes(b"not a clip")
    (clips / "2.wav").write_bytes(sounded(tone(hertz=880)))  # a sound file counts in place of the clip's track
    done = extract(data, clips, acoustic="logmel", jobs=1)
    report = done.modalities["acoustic"]
    assert done.dataset.features["acoustic"].present.tolist() == [True, False, True, False] + [False] * 3
    assert (report.num_items, report.num_without, report.num_no_sound, report.num_failed) == (2, 3, 1, 1)
    assert [one.examples for one in report.failures.values()] == [["3: 3_2.mp4"]]
    rows = done.dataset.media("acoustic").select("file", "status", "error").rows()
    assert ("1.mp4", "no sound", "no audio track") in rows and ("0.mp4", "ok", "") in rows
    found = inspect_dataset(done.dataset)
    assert found.oddities()["acoustic: items whose clips have no sound track"] == 1
    assert found.modalities["acoustic"].missing == 5
    assert not extract(Dataset(data.folder), clips, acoustic="logmel", jobs=1).changed
    for name in ("0.mp4", "2.wav", "3_2.mp4"):
        (clips / name).unlink()
    with pytest.raises(InputError, match="clips without a sound track, of 3 items"):
        extract(Dataset(data.folder), clips, acoustic="logmel", jobs=1)


def test_what_was_stopped_is_tried_again_and_what_failed_is_not(data, media, monkeypatch):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(media / "4.png")
    (media / "5.png").write_bytes(b"not a picture")
    visual(data, media)
    again = visual(Dataset(data.folder), media)
    assert again.modalities["visual"].num_encoded == 1 and not again.changed


def test_a_text_that_says_nothing_is_never_a_row_of_zeros(data):
    table = pl.DataFrame({"item_id": ["0", "1"], "text": ["aa", "zero"]})
    done = extract(data, table, textual=toys.WORDS)
    assert done.dataset.features["textual"].present.tolist() == [True] + [False] * 6
    assert list(done.modalities["textual"].failures) == ["the encoder found nothing"]


def test_without_usable_media_nothing_is_written(data, media):
    for path in media.iterdir():
        path.write_bytes(b"not a picture")
    before = all_bytes(data.folder)
    with pytest.raises(InputError, match=r"visual: none of the media could be used: .* of 6 items: "):
        visual(data, media)
    with pytest.raises(InputError, match="nothing to encode: no sound belongs to an item"):
        extract(data, media, acoustic="logmel")
    assert all_bytes(data.folder) == before


def test_without_encoders_every_kind_of_medium_has_its_default(data, media, monkeypatch):
    defaults = {"image": toys.COLOURS, "sound": "logmel", "text": toys.WORDS}
    monkeypatch.setattr(extracting, "DEFAULTS", defaults)
    done = extract(data, media, text=["title"], jobs=1)
    assert list(done.dataset.features) == ["visual", "textual"]
    for path in media.iterdir():
        path.write_bytes(b"not a picture")
    other = extract(toys.catalogue(7), media, text=["title"], jobs=1)
    assert list(other.dataset.features) == ["textual"] and "visual: left out" in other.notes[-1]


def test_a_modality_of_another_origin_is_replaced_only_on_demand(data, media):
    other = data.with_modality("visual", np.ones((7, 2)))
    with pytest.raises(InputError, match=r"'visual' exists already, and was not extracted.*overwrite=True"):
        visual(other, media)
    named = visual(other, media, name="look").dataset
    assert list(named.features) == ["visual", "look"]
    assert visual(named, media, overwrite=True).dataset.features["visual"].values.shape == (7, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "option 'batch' of extract: expected 1 or more, got 0"),
        ({"jobs": 0}, "option 'jobs' of extract: expected 1 or more, got 0"),
        ({"scale": "big"}, "option 'scale' of extract: expected none, l2, standard"),
        ({"limits": {"pixels": 3}}, "unknown option 'pixels' of the limits of extract"),
        ({"name": "look"}, "the name 'look': expected exactly one encoder.*got 0"),
        ({"name": "look", "visual": "x", "textual": "y"}, "expected exactly one encoder.*got 2"),
        ({"name": "keys", "visual": "x"}, "name of a modality"),
        ({"visual": "no-such"}, "unknown encoder"),
        ({"visual": toys.WORDS}, "expected an encoder that reads image, got text"),
    ],
)
def test_a_wrong_call_is_refused_and_leaves_no_trace(data, media, options, message):
    with pytest.raises(InputError, match=message):
        extract(data, media, **options)
    assert not (data.folder / ".extraction").exists()


def test_a_second_extraction_is_refused_and_what_is_left_of_a_lock_is_not(data, media):
    with journal.only_one(data.folder), pytest.raises(InputError, match="the lock is held by another process"):
        visual(data, media)
    for folder in (data.folder / ".extraction", data.folder):
        (folder / ".lock").write_text('{"pid": 1')  # of a process that was killed
    assert visual(data, media).changed
    assert not list(data.folder.rglob("*lock*"))


def test_a_damaged_journal_is_made_again(data, media):
    whole = visual(data, media).dataset.features["visual"].values.copy()
    (chunk,) = (data.folder / ".extraction").glob("visual/*/*.safetensors")
    chunk.write_bytes(chunk.read_bytes()[:-7])
    again = visual(Dataset(data.folder), media)
    assert again.modalities["visual"].num_encoded == 6 and not again.changed
    assert np.array_equal(again.dataset.features["visual"].values, whole)


def test_a_data_set_in_memory_is_extended_too(media):
    done = visual(toys.catalogue(7), media)
    assert done.dataset.features["visual"].present.sum() == 6
    assert visual(done.dataset, media).changed is False


def test_batches_do_not_cross_chunks_and_are_never_too_large(data, media, monkeypatch):
    monkeypatch.setattr(update, "CHUNK", 3)
    toys.batches.clear()
    visual(data, media, batch=3)
    assert toys.batches == [3, 3, 2, 3, 3]  # 4 pictures of items 0 to 2, then 3 of items 3 to 5: two pieces each


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_twenty_random_moments_extraction_gives_the_same_bytes(tmp_path):
    toys.catalogue(14, tmp_path / "data")
    for item in range(0, 14, 2):
        toys.paint(tmp_path / "media", f"{item}.png", seed=item)
    program = [sys.executable, "-m", kills.__name__, str(tmp_path)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["killed"] == 20 and result["ends"] and all(result["ends"])
    assert len(result["chunks"]) > 3  # the kills found it at different stages
    assert sum(name.startswith("visual") for name in result["files"]) == 4


def test_the_reason_of_a_failure_is_the_same_in_every_process(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with (tmp_path / "a.png").open():  # so that the next file has another number
        first = Preparation(Prepare(colours), Limits())(Medium("image", tmp_path / "a.png"))
    second = Preparation(Prepare(colours), Limits())(Medium("image", (tmp_path / "a.png").read_bytes()))
    assert first.error == second.error and "not an image" in first.error and "0x" not in first.error


def test_a_hundred_of_the_thousand_articles_of_hm_get_a_vector_and_the_repair_of_ids_is_said(data_folder, tmp_path):
    columns = {"user_column": "customer_id", "item_column": "article_id", "timestamp_column": "t_dat"}
    files = {"interactions": "transactions.parquet", "items": "articles.parquet"}
    data = import_dataset("parquet", data_folder / "hm", tmp_path / "hm", **columns, **files)
    done = extract(data, data_folder / "hm/images", visual="colour-layout", jobs=2)
    report = done.modalities["visual"]
    assert (report.num_items, report.num_without, report.num_failed) == (100, 900, 0) and not done.unmatched
    assert any("100 of 100" in note and "leading zeros" in note for note in done.notes)
    text = extract(done.dataset, text=["prod_name", "product_type_name", "detail_desc"], textual="hashing")
    assert text.modalities["textual"].num_items == 1_000
