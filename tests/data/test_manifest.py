"""The manifest: hashes of parts, names of modalities, and manifests of version 0.1."""

import json

import numpy as np
import polars as pl
import pytest

from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS, TEST, TRAIN, VALID
from medley.data.writer import DatasetWriter
from medley.errors import InputError
from medley.files import sha256_of_file


def write(out, *, title="X", split="test", value=1.0, present=True, made_by=None) -> Dataset:
    with DatasetWriter(out, name="tiny") as writer:
        log = pl.DataFrame({"user": [0, 0], "item": [0, 1], "split": ["train", split]})
        items = pl.DataFrame({"item_id": ["x", "y"], "title": [title, "Y"]})
        writer.write_tables(pl.DataFrame({"user_id": ["a"]}), items, log)
        values = np.array([[value], [2.0]], dtype=np.float32)
        writer.write_features("visual", values, np.array([True, present]), made_by=made_by)
        writer.finish(provenance={})
    return Dataset(out)


def test_a_part_has_another_hash_when_and_only_when_its_content_differs(tmp_path):
    base = write(tmp_path / "0").manifest.parts
    assert list(base) == ["log", "users", "items", "features/visual"]
    changes = [{"split": "valid"}, {"title": "Z"}, {"value": 3.0}, {"present": False}, {"made_by": {"encoder": "x"}}]
    changed = []
    for number, change in enumerate(changes, start=1):
        parts = write(tmp_path / f"{number}", **change).manifest.parts
        changed.append([part for part in base if parts[part] != base[part]])
    assert changed == [["log"], ["items"], ["features/visual"], ["features/visual"], []]


def test_a_manifest_of_version_0_1_has_parts_and_takes_modalities(tmp_path):
    data = write(tmp_path / "d")
    path = data.folder / "manifest.json"
    document = json.loads(path.read_text())
    for record in document["modalities"].values():
        del record["made_by"], record["file"]
    path.write_text(json.dumps(document))
    old = Dataset(data.folder, verify=True)
    assert old.manifest == data.manifest
    assert old.manifest.parts["log"] == sha256_of_file(data.folder / "interactions.parquet")
    assert list(old.with_modality("text", np.ones((2, 2))).features) == ["visual", "text"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_users": "many"}, "field 'num_users' of the manifest: expected a whole number, got 'many'"),
        ({"files": {}}, "expected a record of users.parquet in files"),
        ({"format_version": 99}, "format_version of the data set: expected 1, got 99"),
        ({"modalities": {"v": {"dim": 1, "dtype": "f4", "num_present": 1, "file": "../v"}}}, "modalities.v.file"),
        ({"modalities": {"v": {"dim": 1, "dtype": "f4", "num_present": 1}}}, "a record of features/v.npy in files"),
    ],
)
def test_a_damaged_manifest_names_the_field(tmp_path, change, message):
    path = write(tmp_path / "d").folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"manifest\.json: .*{message}"):
        Dataset(tmp_path / "d")


def test_codes_are_positions_of_the_splits():
    assert [SPLITS[code] for code in (TRAIN, VALID, TEST)] == ["train", "valid", "test"]
