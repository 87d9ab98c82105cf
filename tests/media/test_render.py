"""The rendered catalogue: the planted clusters can be seen, heard and read, and nothing else gives them away."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from medley import api
from medley.data.dataset import Dataset
from medley.data.simulate import planted, preset
from medley.errors import InputError, MedleyError, MissingExtraError
from medley.media import clips, render
from medley.media.captions import caption
from medley.media.drawing import draw, look
from medley.media.synthesis import RATE, synthesise, voice

pytest.importorskip("av", reason="needs the extra media")

SETTINGS = preset("demo", num_users=60, num_items=120, num_interactions=1200, num_clusters=6, missing=0.2)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """A simulated data set without features, its rendered media, and their table."""
    out = tmp_path_factory.mktemp("rendered") / "data"
    data = render.simulate_media(out, settings=SETTINGS, seed=3, features=False, jobs=2)
    table = pl.read_parquet(out / "media" / "media.parquet")
    return SimpleNamespace(data=data, folder=out / "media", table=table, clusters=planted(data).item_clusters)


def neighbours_agree(vectors: np.ndarray, cluster: np.ndarray) -> float:
    """The share of rows whose nearest neighbour is of their cluster."""
    vectors = np.asarray(vectors, dtype=float)
    vectors = (vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-9)
    distance = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return float((cluster[distance.argmin(axis=1)] == cluster).mean())


def opened(path: Path):
    import av

    return av.open(str(path))


def picture_of(folder: Path, row: dict) -> np.ndarray | None:
    """The first picture of an item (H, W, 3) uint8, read without Medley's decoders."""
    from PIL import Image

    if row["image"]:
        return np.asarray(Image.open(folder / row["image"]).convert("RGB"))
    if row["video"]:
        with opened(folder / row["video"]) as video:
            return next(video.decode(video=0)).to_ndarray(format="rgb24")
    return None


def sound_of(folder: Path, row: dict) -> np.ndarray | None:
    """The sound of an item (n,) at RATE, read without Medley's decoders."""
    import av

    name = row["audio"] or row["video"]
    if not name:
        return None
    with opened(folder / name) as file:
        if not file.streams.audio:
            return None
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        blocks = [each.to_ndarray()[0] for frame in file.decode(audio=0) for each in resampler.resample(frame)]
    return np.concatenate(blocks)


def colours(picture: np.ndarray) -> np.ndarray:
    """A histogram of hues, weighted by saturation (24,)."""
    rgb = picture.reshape(-1, 3).astype(float) / 255
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    a = 2 * rgb[:, 0] - rgb[:, 1] - rgb[:, 2]
    hue = np.arctan2(np.sqrt(3) * (rgb[:, 1] - rgb[:, 2]), a)
    return np.histogram(hue, bins=24, range=(-np.pi, np.pi), weights=high - low)[0] / len(rgb)


def spectrum(sound: np.ndarray) -> np.ndarray:
    """The logarithm of the mean spectrum in 48 bands of equal ratio (48,)."""
    frames = sound[: len(sound) // 2048 * 2048].reshape(-1, 2048) * np.hanning(2048)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0)
    edges = np.geomspace(5, 1024, 49).astype(int)
    bands = np.array([power[a : max(b, a + 1)].mean() for a, b in pairwise(edges)])
    return np.log(bands / bands.sum() + 1e-6)


def test_every_item_has_media_of_exactly_the_modalities_that_were_planted(made):
    assert made.table["item_id"].to_list() == made.data.items.raw.to_list()
    for row, (visual, acoustic, textual) in zip(made.table.to_dicts(), made.clusters, strict=True):
        assert (picture_of(made.folder, row) is not None) == (visual >= 0)
        assert (sound_of(made.folder, row) is not None) == (acoustic >= 0)
        assert (row["text"] is not None) == (textual >= 0)
    named = {name for column in ("image", "video", "audio") for name in made.table[column].drop_nulls()}
    assert {path.name for path in made.folder.iterdir()} == {*named, "media.parquet"}


def test_all_formats_occur_and_clips_take_two_seconds(made):
    suffixes = Counter(path.suffix for path in made.folder.iterdir())
    assert set(suffixes) == {*clips.CLIPS, *clips.SOUNDS, *clips.PICTURES, ".parquet"}
    for row in made.table.to_dicts():
        sound, picture = sound_of(made.folder, row), picture_of(made.folder, row)
        assert sound is None or len(sound) / RATE == pytest.approx(clips.SECONDS, abs=0.15)
        assert sound is None or 0.1 < np.abs(sound).max() < 2  # codecs overshoot
        assert picture is None or (picture.shape == (128, 128, 3) and picture.std() > 10)
        if row["video"]:
            with opened(made.folder / row["video"]) as video:
                assert sum(1 for _ in video.decode(video=0)) == clips.FRAMES


@pytest.mark.parametrize(("modality", "read", "describe"), [(0, picture_of, colours), (1, sound_of, spectrum)])
def test_plain_descriptors_find_the_planted_clusters(made, modality: int, read, describe):
    found = [read(made.folder, row) for row in made.table.to_dicts()]
    there = [n for n, each in enumerate(found) if each is not None]
    agreement = neighbours_agree([describe(found[n]) for n in there], made.clusters[there, modality])
    assert agreement > 0.8  # chance: about 0.2
    others = made.clusters[there, 1 - modality]
    known = others >= 0
    vectors = np.array([describe(found[n]) for n in there])[known]
    assert neighbours_agree(vectors, others[known]) < 0.4  # nothing of the other modality


def test_the_default_encoders_find_the_planted_clusters(tmp_path):
    for package in ("efficientnet_lite_pytorch", "sentence_transformers"):
        pytest.importorskip(package, reason="needs the extra media")
    small = SETTINGS.model_copy(
        update={"num_users": 30, "num_items": 60, "num_interactions": 300, "clusters_per_user": 1}
    )
    data = render.simulate_media(tmp_path / "data", settings=small, seed=0, features=False, jobs=2)
    media = tmp_path / "data" / "media" / "media.parquet"
    data = api.extract(data, media, limits={"max_frames": 1}, progress=False, jobs=2).dataset
    clusters = planted(data).item_clusters
    assert list(data.features) == ["visual", "acoustic", "textual"]
    for m, features in enumerate(data.features.values()):
        there = features.present
        assert np.array_equal(there, clusters[:, m] >= 0)
        assert neighbours_agree(features.values[there], clusters[there, m]) > 0.8  # chance: about 0.2


def test_captions_name_their_cluster_and_differ_within_it(made):
    words = [set(text.lower().replace(",", "").split()) if text else None for text in made.table["text"]]
    there = [n for n, each in enumerate(words) if each]
    vocabulary = sorted(set().union(*(words[n] for n in there)))
    counts = np.array([[word in words[n] for word in vocabulary] for n in there])
    assert neighbours_agree(counts, made.clusters[there, 2]) > 0.7
    texts = made.table["text"].drop_nulls()
    assert texts.n_unique() > 0.9 * len(texts)


def test_media_are_the_only_trace_of_the_clusters_beside_titles(made):
    assert made.data.manifest.modalities == {}
    assert made.data.features == {}
    assert {path.name for path in made.data.folder.iterdir()} == {
        *("manifest.json", "users.parquet", "items.parquet", "interactions.parquet", "features", "planted", "media")
    }
    kinds = [Path(row["video"] or row["image"] or "none").suffix for row in made.table.to_dicts()]
    for cluster in range(6):  # formats are drawn alike in all clusters
        of_cluster = Counter(kind for kind, z in zip(kinds, made.clusters[:, 0], strict=True) if z == cluster)
        assert len(of_cluster) > 3


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(made, tmp_path):
    render.render(made.data, tmp_path / "again", jobs=1)
    for path in made.folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_another_seed_gives_other_media_and_features_change_nothing_else(made, tmp_path):
    small = SETTINGS.model_copy(update={"num_items": 60, "num_interactions": 600})
    one = render.simulate_media(tmp_path / "one", settings=small, seed=1, jobs=2)
    two = render.simulate_media(tmp_path / "two", settings=small, seed=2, features=False, jobs=2)
    tables = [pl.read_parquet(each.folder / "media" / "media.parquet") for each in (one, two)]
    assert not tables[0].equals(tables[1])
    plain = api.simulate(tmp_path / "plain", settings=small, seed=1)
    assert one.manifest.content_hash == plain.manifest.content_hash
    assert Dataset(two.folder, verify=True).log.equals(api.simulate(tmp_path / "p2", settings=small, seed=2).log)


def test_a_folder_of_media_is_replaced_only_on_request_and_other_folders_never(made, tmp_path):
    with pytest.raises(InputError, match="exists already"):
        render.render(made.data, made.folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InputError, match="not a folder of rendered media"):
        render.render(made.data, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "file").exists()


def test_an_item_that_cannot_be_rendered_is_named_and_nothing_is_left(made, tmp_path, monkeypatch):
    items = render._items(made.data)
    monkeypatch.setattr(render, "_items", lambda data: [items[0]._replace(raw_id="no/such/folder", textual="x y")])
    with pytest.raises(MedleyError, match="item no/such/folder cannot be rendered"):
        render.render(made.data, tmp_path / "media", jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_only_simulated_data_with_known_modalities_can_be_rendered(tmp_path):
    with pytest.raises(InputError, match="modalities to render: expected visual, acoustic, textual, got mood"):
        render.simulate_media(
            tmp_path / "data", settings=SETTINGS.model_copy(update={"modalities": {"mood": 3}}), seed=0
        )
    assert not (tmp_path / "data").exists()
    plain = Dataset.from_frames({"user_id": ["a", "b"], "item_id": ["x", "y"]}, split="random")
    with pytest.raises(InputError, match="not a simulated data set"):
        render.render(plain, tmp_path / "media")


def test_a_missing_package_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"medley-rec\[media\]"):
        render.simulate_media(tmp_path / "data", settings=SETTINGS, seed=0)
    assert not (tmp_path / "data").exists()


def test_as_many_clusters_as_promised_look_and_sound_different():
    assert len({look(cluster) for cluster in range(2520)}) == 2520
    assert len({voice(cluster) for cluster in range(420)}) == 420
    draws = [draw(cluster, np.random.default_rng(0)) for cluster in (0, 420)]
    assert np.abs(draws[0].astype(int) - draws[1]).mean() > 5
    assert np.isfinite(synthesise(419, np.random.default_rng(0), 0.5)).all()


def test_captions_of_names_without_a_topic_repeat_the_name():
    texts = {caption("textual 65", np.random.default_rng(n)) for n in range(20)}
    assert all("textual 65" in text for text in texts) and len(texts) > 5
