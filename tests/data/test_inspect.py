"""Statistics of a data set equal a count by hand."""

import json

import numpy as np
import polars as pl
import pytest

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.inspect import inspect_dataset
from medley.data.writer import MEDIA_COLUMNS, DatasetWriter


@pytest.fixture
def odd(tmp_path):
    """4 users, 4 items. Test holds a cold user (2) and a cold item (2, twice); user 3 and item 3 are isolated."""
    rows = [
        (0, 0, "train"),
        (0, 1, "train"),
        (1, 0, "train"),
        (1, 1, "valid"),
        (0, 2, "test"),
        (2, 2, "test"),
        (2, 0, "test"),
    ]
    log = pl.DataFrame(rows, schema=["user", "item", "split"], orient="row")
    ids = pl.Series([str(n) for n in range(4)])
    with DatasetWriter(tmp_path / "odd", name="odd") as writer:
        writer.write_tables(pl.DataFrame({"user_id": ids}), pl.DataFrame({"item_id": ids}), log)
        values = np.array([[1, 0], [0, 0], [0, 2], [9, 9]], dtype=np.float16)
        writer.write_features("scent", values, np.array([True, True, True, False]))
        writer.finish(provenance={}, oddities={"duplicates": 12_345})
    return inspect_dataset(Dataset(tmp_path / "odd"))


def test_the_statistics_are_those_of_the_papers(odd):
    assert (odd.interactions, odd.users, odd.items, odd.sparsity) == (7, 4, 4, 1 - 7 / 16)
    assert odd.tables()["odd"] == [
        ("interactions", "items", "users", "sparsity", "dimensions"),
        ("7", "4", "4", "56.250%", "scent 2"),
    ]


def test_cold_isolated_missing_and_zero_are_counted(odd):
    assert odd.splits["test"]._asdict() == {
        "interactions": 3,
        "users": 2,
        "items": 2,
        "cold_users": 1,
        "cold_items": 1,
        "interactions_of_cold_users": 2,
        "interactions_of_cold_items": 2,
    }
    assert odd.modalities["scent"] == (2, "float16", 3, 1, 1, "", {}, 0)
    assert odd.oddities() == {
        "duplicates": 12_345,
        "test: users never in train": 1,
        "test: interactions with users never in train": 2,
        "test: items never in train": 1,
        "test: interactions with items never in train": 2,
        "scent: items that lack it": 1,
        "scent: items whose features are all zero": 1,
        "users without any interaction": 1,
        "users without a train interaction": 2,
        "items without any interaction": 1,
    }


def test_every_table_is_rectangular_text_and_the_whole_is_json(odd):
    for rows in odd.tables().values():
        assert len({len(row) for row in rows}) == 1
        assert all(isinstance(cell, str) for row in rows for cell in row)
    assert ("duplicates", "12,345") in odd.tables()["what is odd"]
    assert json.loads(json.dumps(odd.as_dict()))["splits"]["test"]["cold_items"] == 1


@pytest.mark.parametrize(
    ("made_by", "shown"),
    [
        (None, "-"),
        ({"file": "image_feat.npy", "sha256": "ab"}, "image_feat.npy"),
        ({"encoder": "clip", "scale": "none"}, "clip"),
        ({"encoder": "clip", "scale": "standard"}, "clip, scaled: standard"),
        ({"simulator": {}, "seed": 1}, "simulator"),
    ],
)
def test_who_made_a_modality_is_shown(made_by, shown):
    data = Dataset.from_frames({"user_id": [0, 0], "item_id": [0, 1], "split": ["train", "test"]})
    data = data.with_modality("scent", np.ones((2, 3)), made_by=made_by)
    header, row = inspect_dataset(data).tables()["modalities"]
    assert dict(zip(header, row, strict=True))["made by"] == shown


def test_media_that_failed_are_counted_by_reason_with_examples():
    data = Dataset.from_frames({"user_id": [0, 0], "item_id": [7, 8], "split": ["train", "test"]})
    rows = [
        *((0, f"{n}.jpg", "", 1, "failed", f"not an image: {n}") for n in range(4)),
        (1, "a.jpg", "", 1, "stopped", "takes longer than 60 s"),
        (1, "b.jpg", "", 1, "failed", "9 x 9 pixels: a side is longer than 5"),
        (1, "c.jpg", "", 1, "ok", ""),
    ]
    media = pl.DataFrame(rows, schema=MEDIA_COLUMNS, orient="row")
    found = inspect_dataset(data.with_modality("scent", np.ones((2, 3)), media=media))
    assert found.modalities["scent"].failures == {
        "not an image": (4, ["7: 0.jpg", "7: 1.jpg", "7: 2.jpg"]),
        "a side is longer than 5": (1, ["8: b.jpg"]),
        "takes longer than 60 s": (1, ["8: a.jpg"]),
    }
    assert json.loads(json.dumps(found.as_dict()))["modalities"]["scent"]["failures"]["not an image"]["count"] == 4
    assert found.tables()["media that could not be used"][1][:3] == ("scent", "not an image", "4")


def test_tiktok_has_449_test_interactions_with_340_cold_items(data_folder, tmp_path):
    tiktok = inspect_dataset(import_dataset("csv", data_folder / "tiktok", tmp_path / "out"))
    assert (tiktok.interactions, tiktok.items, tiktok.users) == (68_722, 6_710, 9_308)
    assert (tiktok.splits["test"].interactions_of_cold_items, tiktok.splits["test"].cold_items) == (449, 340)
    assert (tiktok.splits["valid"].cold_users, tiktok.splits["test"].cold_users) == (5, 5)
    assert tiktok.tables()["tiktok"][1] == ("68,722", "6,710", "9,308", "99.890%", "acoustic 128, visual 128")
