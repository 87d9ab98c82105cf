"""A data set folder is read as it was written; a damaged folder is refused."""

import json

import numpy as np
import polars as pl
import pytest

from medley.data.dataset import Dataset
from medley.data.writer import DatasetWriter
from medley.errors import InputError


def log(*rows: tuple[int, int, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["user", "item", "split"], orient="row")


def write(out, interactions=None, *, items=("x", "y", "z"), oddities=None, provenance=None, **options) -> Dataset:
    interactions = log((0, 0, "train"), (1, 2, "train"), (0, 2, "test")) if interactions is None else interactions
    with DatasetWriter(out, name="tiny", **options) as writer:
        titles = pl.DataFrame({"item_id": list(items), "title": [item.upper() for item in items]})
        writer.write_tables(pl.DataFrame({"user_id": ["a", "b"]}), titles, interactions)
        writer.write_features("visual", np.eye(3, dtype=np.float16), np.array([True, False, True]))
        writer.finish(provenance=provenance or {}, oddities=oddities)
    return Dataset(out)


def test_what_was_written_is_read(tmp_path):
    dataset = write(tmp_path / "d", oddities={"duplicates": 4}, provenance={"seed": 3})
    assert repr(dataset) == "Dataset(tiny: 2 users, 3 items, 2 / 0 / 1 interactions; visual 3-d)"
    assert dataset.train.csr().toarray().tolist() == [[1, 0, 0], [0, 0, 1]]
    assert (dataset.train.user.dtype, dataset.train.item.dtype) == (np.int32, np.int32)
    assert dataset.test.csr().toarray().tolist() == [[0, 0, 1], [0, 0, 0]]
    assert len(dataset.valid) == 0
    assert (dataset.title(1), dataset.items.row("z"), dataset.users.raw_id(1)) == ("Y", 2, "b")
    assert (dataset.manifest.oddities, dataset.manifest.provenance["seed"]) == ({"duplicates": 4}, 3)
    assert "polars" in dataset.manifest.provenance["versions"]


def test_features_are_memory_mapped_and_absent_rows_are_zero(tmp_path):
    visual = write(tmp_path / "d").features["visual"]
    assert isinstance(visual.values, np.memmap)
    assert visual.values.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert visual.present.tolist() == [True, False, True]


def test_inputs_hold_nothing_of_test(tmp_path):
    inputs = write(tmp_path / "d").inputs()
    assert inputs.train.csr().sum() == 2
    assert list(inputs.features) == ["visual"]


def test_the_split_hash_depends_on_the_split_alone(tmp_path):
    rows = [(0, 0, "train"), (1, 2, "train"), (0, 2, "test")]
    one = write(tmp_path / "1", log(*rows)).manifest
    shuffled = write(tmp_path / "2", log(*rows[::-1]), items=("p", "q", "r")).manifest
    moved = write(tmp_path / "3", log(*rows[:2], (0, 2, "valid"))).manifest
    assert one.split_hash == shuffled.split_hash != moved.split_hash
    assert one.content_hash != shuffled.content_hash


def test_the_content_hash_does_not_depend_on_dates_or_provenance(tmp_path):
    hashes = {write(tmp_path / f"{seed}", provenance={"seed": seed}).manifest.content_hash for seed in range(2)}
    assert len(hashes) == 1


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected train or valid or test, got 'dev'"):
        write(tmp_path / "d").interactions("dev")


def test_a_folder_that_is_not_a_data_set_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"not a data set folder: got no manifest\.json. Remedy: give a .* import_dataset"
    ):
        Dataset(tmp_path)


def test_a_broken_manifest_names_the_field(tmp_path):
    path = write(tmp_path / "d").folder / "manifest.json"
    document = json.loads(path.read_text())
    for field, value, message in (("num_users", "many", "num_users"), ("format_version", 99, "expected 1, got 99")):
        path.write_text(json.dumps({**document, field: value}))
        with pytest.raises(InputError, match=message):
            Dataset(tmp_path / "d")


def test_a_missing_a_cut_and_a_changed_file_are_found(tmp_path):
    path = write(tmp_path / "d").folder / "features" / "visual.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    Dataset(tmp_path / "d")  # same size: only the hash differs
    with pytest.raises(InputError, match=r"visual.npy: the content differs"):
        Dataset(tmp_path / "d", verify=True)
    path.write_bytes(content[:-1])
    with pytest.raises(
        InputError, match=rf"cut short or changed: expected {len(content)} bytes, got {len(content) - 1}"
    ):
        Dataset(tmp_path / "d")
    path.unlink()
    with pytest.raises(InputError, match="the file is missing"):
        Dataset(tmp_path / "d")


def test_leaving_the_writer_early_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match=r"without finish\(\)"), DatasetWriter(tmp_path / "d", name="d"):
        pass
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "d", name="d"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_interactions_must_be_distinct(tmp_path):
    with pytest.raises(AssertionError, match="distinct"):
        write(tmp_path / "d", log((0, 0, "train"), (0, 0, "test")))


def test_only_a_data_set_is_overwritten(tmp_path):
    write(tmp_path / "d")
    write(tmp_path / "d", log((0, 1, "train")), overwrite=True)
    assert len(Dataset(tmp_path / "d").train) == 1
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="not a data set folder"):
        write(tmp_path / "other", overwrite=True)


@pytest.mark.parametrize("name", ["a.b", "../up", "", "two words", "_x", "-x", "type", "training", "id", "history"])
def test_a_name_of_a_modality_that_a_file_a_model_or_a_score_cannot_have_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="name of a modality"), DatasetWriter(tmp_path / "data", name="x") as writer:
        writer.create_features(name, num_items=1, dim=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", [pl.DataFrame({"user_id": [1]}), 3, None, b"x"])
def test_anything_but_a_path_is_refused_as_a_folder(other):
    with pytest.raises(InputError, match="data set folder: expected a path"):
        Dataset(other)


def test_a_log_where_a_folder_is_expected_says_how_to_import_it(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\na,x\n")
    with pytest.raises(InputError, match=r"log\.csv: not a data set folder: got a file. Remedy: import it first"):
        Dataset(tmp_path / "log.csv")
