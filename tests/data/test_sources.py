"""Every format is read, cleaned and written; a failed import leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.sources import SOURCES
from medley.data.writer import DatasetWriter
from medley.errors import InputError


def write(folder: Path, **files: str) -> Path:
    """A folder of text files; train_csv="..." becomes train.csv."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_csv", ".csv").replace("_txt", ".txt").replace("_json", ".json")).write_text(content)
    return folder


def pairs(dataset: Dataset, split: str) -> set[tuple[str, str]]:
    part = dataset.interactions(split)
    return {(dataset.users.raw_id(u), dataset.items.raw_id(i)) for u, i in zip(part.user, part.item, strict=True)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(
        tmp_path / "shop",
        train_csv="user_id,item_id\nann,0\nann,1\nbob,1\n",
        valid_csv="user_id,item_id\nbob,2\n",
        test_csv="user_id,item_id\nann,3\neve,0\n",
    )


def test_tiktok_is_read_without_any_option(data_folder, tmp_path):
    dataset = import_dataset("csv", data_folder / "tiktok", tmp_path / "out")
    assert dataset.manifest.num_interactions == {"train": 59_541, "valid": 3_051, "test": 6_130}
    assert (len(dataset.users), len(dataset.items)) == (9_308, 6_710)
    for modality, features in dataset.features.items():
        original = np.load(data_folder / "tiktok" / f"{modality}.npy")
        assert features.values.dtype == np.float16
        assert np.array_equal(features.values, original)
    assert dataset.items.raw_id(6_709) == "6709"
    Dataset(tmp_path / "out", verify=True)


def test_ml_100k_is_thresholded_and_has_titles(data_folder, tmp_path):
    dataset = import_dataset("recbole", data_folder / "ml-100k", tmp_path / "out", rating_threshold=4)
    log = pl.read_csv(data_folder / "ml-100k" / "ml-100k.inter", separator="\t")
    assert sum(dataset.manifest.num_interactions.values()) == (log["rating:float"] >= 4).sum()
    assert dataset.manifest.oddities["below_rating_threshold"] == (log["rating:float"] < 4).sum()
    assert dataset.title(dataset.items.row("543")) == "Misérables, Les"
    assert dataset.item_table.columns == ["item_id", "title", "release_year", "class"]
    assert dataset.log["timestamp"].dtype == pl.Int64


def test_a_given_split_is_kept_with_its_cold_users_and_items(source, tmp_path):
    dataset = import_dataset("csv", source, tmp_path / "out")
    assert pairs(dataset, "train") == {("ann", "0"), ("ann", "1"), ("bob", "1")}
    assert pairs(dataset, "valid") == {("bob", "2")}
    assert pairs(dataset, "test") == {("ann", "3"), ("eve", "0")}


def test_items_with_features_but_no_interaction_are_kept(source, tmp_path):
    np.save(source / "scent.npy", np.arange(10.0).reshape(5, 2))
    dataset = import_dataset("csv", source, tmp_path / "out")
    assert dataset.items.raw.to_list() == ["0", "1", "2", "3", "4"]
    assert dataset.features["scent"].values.dtype == np.float32
    assert np.array_equal(dataset.features["scent"].values, np.arange(10).reshape(5, 2))


def test_rows_marked_absent_may_hold_anything_and_become_zero(source, tmp_path):
    np.save(source / "scent.npy", np.array([[1.0], [np.nan], [3.0], [4.0]], dtype=np.float16))
    np.save(source / "scent.present.npy", np.array([True, False, True, True]))
    scent = import_dataset("csv", source, tmp_path / "out").features["scent"]
    assert scent.values.ravel().tolist() == [1, 0, 3, 4]
    assert scent.present.tolist() == [True, False, True, True]


def test_feature_rows_follow_the_item_table_where_there_is_one(source, tmp_path):
    write(
        source, items_csv='item_id,film_title,note\n3,"Three, ""quoted""\nover two lines",\n2,Two,x\n1,One,\n0,Nil,y\n'
    )
    np.save(source / "scent.npy", np.array([[3.0], [2.0], [1.0], [0.0]]))
    dataset = import_dataset("csv", source, tmp_path / "out")
    assert dataset.items.raw.to_list() == ["0", "1", "2", "3"]
    assert dataset.features["scent"].values.ravel().tolist() == [0, 1, 2, 3]
    assert dataset.title(3) == 'Three, "quoted"\nover two lines'
    assert dataset.item_table["note"].to_list() == ["y", None, "x", None]


@pytest.mark.parametrize("layout", ["list", "columns"])
def test_parquet_features_are_matched_by_id_and_may_lack_items(source, tmp_path, layout):
    ids = pl.Series("item_id", [3, 0, 9])
    values = [[3.0, 30.0], [0.0, 1.0], [9.0, 90.0]]
    frame = pl.DataFrame({"item_id": ids, "v": values})
    if layout == "columns":
        frame = pl.DataFrame({"item_id": ids, "a": [row[0] for row in values], "b": [row[1] for row in values]})
    frame.write_parquet(source / "mood.parquet")
    dataset = import_dataset("csv", source, tmp_path / "out")
    assert dataset.items.raw.to_list() == ["0", "1", "2", "3", "9"]
    mood = dataset.features["mood"]
    assert mood.present.tolist() == [True, False, False, True, True]
    assert mood.values.tolist() == [[0, 1], [0, 0], [0, 0], [3, 30], [9, 90]]


def test_parquet_logs_give_the_same_data_as_csv(source, tmp_path):
    for split in ("train", "valid", "test"):
        pl.read_csv(source / f"{split}.csv").write_parquet(source / f"{split}.parquet")
    one, two = (import_dataset(format, source, tmp_path / format) for format in ("csv", "parquet"))
    assert one.manifest.content_hash == two.manifest.content_hash


def test_the_order_of_the_log_does_not_change_the_data(tmp_path):
    rows = [f"u{n % 7},i{n % 11},{n % 5}" for n in range(60)]
    for name, lines in (("a", rows), ("b", rows[::-1])):
        write(tmp_path / name, interactions_csv="\n".join(["user_id,item_id,timestamp", *lines]))
    a, b = (import_dataset("csv", tmp_path / n, tmp_path / f"out-{n}", split="time-user", seed=3) for n in "ab")
    assert a.manifest.content_hash == b.manifest.content_hash


def test_a_single_file_a_tsv_other_names_and_iso_times_are_read(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text("who\twhat\twhen\nann\tx\t2024-01-01T00:00:01Z\nbob\tx\t2024-01-01T00:00:00Z\n")
    columns = {"user_column": "who", "item_column": "what", "timestamp_column": "when"}
    dataset = import_dataset("csv", path, tmp_path / "out", split="time", ratios=(1, 0, 1), **columns)
    assert dataset.log["timestamp"].to_list() == [1_704_067_201, 1_704_067_200]
    assert pairs(dataset, "test") == {("ann", "x")}
    assert dataset.manifest.name == "log"


def test_a_split_column_is_a_given_split(tmp_path):
    folder = write(tmp_path / "s", interactions_csv="user_id,item_id,split\na,x,train\na,y,valid\na,z,test\n")
    dataset = import_dataset("csv", folder, tmp_path / "out")
    assert [pairs(dataset, split) for split in ("train", "valid", "test")] == [{("a", "x")}, {("a", "y")}, {("a", "z")}]


def test_ids_lose_white_space_and_blank_lines_are_skipped(tmp_path):
    folder = write(tmp_path / "s", interactions_csv="user_id, item_id\n a , x\n\na,y\n\n")
    dataset = import_dataset("csv", folder, tmp_path / "out")
    assert dataset.users.raw.to_list() == ["a"]
    assert dataset.items.raw.to_list() == ["x", "y"]
    assert dataset.manifest.oddities == {"trimmed_ids": 1}


def test_the_earliest_duplicate_stays_and_all_are_counted(tmp_path):
    folder = write(tmp_path / "s", interactions_csv="user_id,item_id,timestamp\na,x,9\na,x,2\na,y,1\na,x,5\n")
    dataset = import_dataset("csv", folder, tmp_path / "out")
    assert dataset.log["timestamp"].to_list() == [2, 1]
    assert dataset.manifest.oddities == {"duplicates": 2}


def test_a_duplicate_across_splits_stays_in_the_earliest_split(source, tmp_path):
    write(source, test_csv="user_id,item_id\nann,0\nann,3\nann,3\nbob,2\n")
    dataset = import_dataset("csv", source, tmp_path / "out")
    assert pairs(dataset, "test") == {("ann", "3")}
    assert dataset.manifest.oddities == {"duplicates_within_a_split": 1, "duplicates_across_splits": 2}


def test_a_k_core_drops_users_items_and_their_features(tmp_path):
    core = [f"u{u},{i}" for u in range(3) for i in range(3)]
    folder = write(tmp_path / "s", interactions_csv="\n".join(["user_id,item_id", *core, "lone,0", "u0,3"]))
    np.save(folder / "scent.npy", np.arange(5.0)[:, None])
    dataset = import_dataset("csv", folder, tmp_path / "out", kcore=3)
    assert dataset.users.raw.to_list() == ["u0", "u1", "u2"]
    assert dataset.features["scent"].values.ravel().tolist() == [0, 1, 2]
    assert dataset.manifest.oddities == {"outside_kcore": 2, "users_left_out": 1, "items_left_out": 1}


def test_recbole_float_sequences_become_features_and_users_are_read(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny.inter").write_text("user_id:token\titem_id:token\na\tx\nb\ty\n")
    (folder / "tiny.item").write_text(
        'item_id:token\ttitle:token_seq\tmood:float_seq\nx\t"Odd\t1.5 2\ny\tFine\t\nz\t\t0 1\n'
    )
    (folder / "tiny.user").write_text("user_id:token\tage:float\na\t30\nb\t\nc\t5\n")
    dataset = import_dataset("recbole", folder, tmp_path / "out")
    assert dataset.title(0) == '"Odd'
    assert dataset.features["mood"].values.tolist() == [[1.5, 2], [0, 0], [0, 1]]
    assert dataset.features["mood"].present.tolist() == [True, False, True]
    users = pl.read_parquet(dataset.folder / "users.parquet")
    assert users.rows() == [("a", 30.0), ("b", None), ("c", 5.0)]


def test_mmrec_labels_and_feature_names_are_understood(tmp_path):
    folder = tmp_path / "baby"
    folder.mkdir()
    (folder / "baby.inter").write_text(
        "userID\titemID\trating\ttimestamp\tx_label\n0\t0\t5\t1\t0\n0\t1\t4\t2\t1\n1\t2\t3\t3\t2\n"
    )
    for stem in ("image", "text", "audio", "tag"):
        np.save(folder / f"{stem}_feat.npy", np.ones((3, 2)))
    (folder / "user_graph_dict.npy").write_bytes(b"\x80\x04.")  # a graph that MMRec stores as a pickle
    dataset = import_dataset("mmrec", folder, tmp_path / "out")
    assert pairs(dataset, "test") == {("1", "2")}
    assert sorted(dataset.features) == ["acoustic", "tag", "textual", "visual"]


def test_lists_keep_users_without_items_and_carve_validation_from_train(tmp_path):
    train = "\n".join(f"{u} " + " ".join(str(i) for i in range(u, u + 9)) + " " for u in range(20)) + "\n20\n"
    folder = write(tmp_path / "s", train_txt=train, test_txt="0 40\n1\n20 41\n")
    dataset = import_dataset("lists", folder, tmp_path / "out", ratios=(3, 1, 0), seed=1)
    assert dataset.manifest.num_interactions == {"train": 135, "valid": 45, "test": 2}
    assert len(dataset.users) == 21
    assert dataset.manifest.provenance["options"]["ratios"] == [0.75, 0.25, 0]
    assert (dataset.train.items_per_user()[:20] > 0).all()


def test_mmssl_json_is_read(tmp_path):
    splits = {"train_json": {"0": [0, 1], "1": []}, "val_json": {"0": [2]}, "test_json": {"1": [0]}}
    folder = write(tmp_path / "s", **{name: json.dumps(document) for name, document in splits.items()})
    (folder / "train_mat").write_bytes(b"\x80\x04.")  # not needed, so not read
    np.save(folder / "image_feat.npy", np.ones((4, 2), dtype=np.float16))
    dataset = import_dataset("mmssl", folder, tmp_path / "out")
    assert pairs(dataset, "train") == {("0", "0"), ("0", "1")}
    assert pairs(dataset, "valid") == {("0", "2")}
    assert pairs(dataset, "test") == {("1", "0")}
    assert list(dataset.features) == ["visual"]


def test_provenance_names_files_options_and_seed(source, tmp_path):
    provenance = import_dataset("csv", source, tmp_path / "out", seed=7, kcore=1).manifest.provenance
    assert [file["name"] for file in provenance["files"]] == ["train.csv", "valid.csv", "test.csv"]
    assert all(len(file["sha256"]) == 64 and file["bytes"] for file in provenance["files"])
    assert (provenance["format"], provenance["seed"], provenance["options"]["kcore"]) == ("csv", 7, 1)


def test_every_format_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    assert [name for name in SOURCES if f"`{name}`" not in text] == []


def test_an_exception_in_the_middle_leaves_no_folder(source, tmp_path, monkeypatch):
    def fail(self, **_):
        assert (self.folder / "interactions.parquet").exists()
        raise OSError("disk full")

    monkeypatch.setattr(DatasetWriter, "finish", fail)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="disk full"):
        import_dataset("csv", source, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_kill_in_the_middle_leaves_no_target_and_the_next_import_works(source, tmp_path):
    program = """
import os, signal, sys
from medley.data.writer import DatasetWriter
from medley.data.importing import import_dataset
DatasetWriter.finish = lambda self, **_: os.kill(os.getpid(), signal.SIGKILL)
import_dataset("csv", sys.argv[1], sys.argv[2])
"""
    done = subprocess.run([sys.executable, "-c", program, source, tmp_path / "out"], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert len(import_dataset("csv", source, tmp_path / "out").train) == 3


def test_overwrite_replaces_only_what_succeeds(source, tmp_path, monkeypatch):
    import_dataset("csv", source, tmp_path / "out")
    write(source, train_csv="user_id,item_id\nnew,0\n")
    with pytest.raises(InputError, match=r"exists already.*overwrite=True"):
        import_dataset("csv", source, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "finish", lambda self, **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_dataset("csv", source, tmp_path / "out", overwrite=True)
    assert len(Dataset(tmp_path / "out", verify=True).train) == 3
    import_dataset("csv", source, tmp_path / "out", overwrite=True)
    assert len(Dataset(tmp_path / "out", verify=True).train) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shop"]


def test_overwrite_never_replaces_the_source_or_a_folder_that_is_not_a_data_set(source, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "photo").write_text("me")
    for out, message in (
        (source, "replace the source"),
        (tmp_path, "replace the source"),
        (tmp_path / "precious", "not a data set"),
    ):
        with pytest.raises(InputError, match=message):
            import_dataset("csv", source, out, overwrite=True)
    assert (tmp_path / "precious" / "photo").read_text() == "me"
    assert (source / "train.csv").exists()
