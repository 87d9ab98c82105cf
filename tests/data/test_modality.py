"""A modality is added to a data set in one step: whatever happens, the old data set or the new one is there."""

import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medley.data import writer
from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.errors import InputError

OLD = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
NEW = np.array([[9, 8, 7], [6, 5, 4], [3, 2, 1]], dtype=np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "interactions.csv").write_text("user_id,item_id\na,0\na,1\nb,1\nb,2\n")
    np.save(folder / "visual.npy", OLD)
    return folder


@pytest.fixture
def data(source, tmp_path) -> Dataset:
    return import_dataset("csv", source, tmp_path / "data")


def test_a_modality_is_added_and_the_rest_stays(data):
    new = data.with_modality("text", NEW.astype(np.float16), made_by={"encoder": "bert", "revision": "1a2b"})
    assert list(new.features) == ["visual", "text"]
    assert new.features["text"].values.dtype == np.float16
    assert np.array_equal(new.features["text"].values, NEW) and new.features["text"].present.all()
    assert np.array_equal(Dataset(data.folder, verify=True).features["visual"].values, OLD)
    assert new.manifest.modalities["text"].made_by == {"encoder": "bert", "revision": "1a2b"}
    old, parts = data.manifest.parts, new.manifest.parts
    assert {part: parts[part] for part in old} == old and parts.keys() - old.keys() == {"features/text"}
    assert new.manifest.content_hash != data.manifest.content_hash
    assert new.manifest.provenance == data.manifest.provenance


def test_absent_rows_may_hold_anything_and_become_zero(data):
    values = np.array([[1.0, 2], [np.nan, 1e300], [3, 4]])
    text = data.with_modality("text", values, np.array([True, False, True])).features["text"]
    assert (text.values.dtype, text.values.tolist()) == (np.float32, [[1, 2], [0, 0], [3, 4]])
    assert text.present.tolist() == [True, False, True]


def test_blocks_make_the_same_file(data, monkeypatch):
    whole = data.with_modality("whole", NEW).manifest.parts["features/whole"]
    monkeypatch.setattr(writer, "BLOCK", 2)
    assert data.with_modality("blocks", NEW).manifest.parts["features/blocks"] == whole


def test_a_modality_has_the_same_hash_however_it_came_into_the_data_set(data, source, tmp_path):
    np.save(source / "text.npy", NEW)
    imported = import_dataset("csv", source, tmp_path / "imported").manifest
    added = data.with_modality("text", NEW, made_by={"encoder": "x"}).manifest
    assert imported.parts == added.parts
    assert imported.modalities["text"].made_by["file"] == "text.npy"


def test_a_modality_is_replaced_only_on_demand_and_its_old_files_go(data):
    with pytest.raises(InputError, match=r"modality 'visual' exists already.*replace=True"):
        data.with_modality("visual", NEW)
    first = data.with_modality("visual", NEW, replace=True)
    assert first.manifest.modalities["visual"].dim == 3
    second = first.with_modality("visual", OLD, replace=True)
    assert np.array_equal(second.features["visual"].values, OLD)
    assert second.manifest.parts == data.manifest.parts
    assert {f"features/{path.name}" for path in (data.folder / "features").iterdir()} <= second.manifest.files.keys()
    assert second.with_modality("visual", OLD, replace=True).manifest == second.manifest
    Dataset(data.folder, verify=True)
    with pytest.raises(InputError, match="has changed since it was opened"):
        _ = data.features


@pytest.mark.parametrize(
    ("name", "values", "options", "message"),
    [
        ("text", NEW[:2], {}, "rows of features: expected 3 .one per item., got 2"),
        ("text", NEW[0], {}, "expected shape .items, dimensions., numbers, got shape"),
        ("text", NEW[:, :0], {}, "got shape .3, 0."),
        ("text", NEW.astype(complex), {}, "numbers, got .* complex128"),
        ("text", NEW.astype(str), {}, "numbers"),
        ("text", [[1], [1, 2], [3]], {}, "the values: expected an array"),
        ("text", np.where(NEW == 5, np.nan, NEW), {}, r"features\['text'\], row 1: .* column 1: .* got nan"),
        ("text", NEW, {"present": np.ones(3)}, "presence mask: expected bool .* got float64"),
        ("text", NEW, {"present": np.ones(2, dtype=bool)}, "presence mask: expected bool .3,."),
        ("text", NEW, {"made_by": {"path": Path("x")}}, "made_by: expected a JSON object"),
        ("text", NEW, {"made_by": [1]}, "made_by: expected names with values"),
        ("a/b", NEW, {}, "name of a modality"),
        ("keys", NEW, {}, "name of a modality"),
        (3, NEW, {}, "name of a modality"),
    ],
)
def test_a_wrong_modality_is_refused_and_changes_nothing(data, name, values, options, message):
    before = {path: path.read_bytes() for path in data.folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        data.with_modality(name, values, **options)
    assert {path: path.read_bytes() for path in data.folder.rglob("*") if path.is_file()} == before


def media(*statuses: str) -> pl.DataFrame:
    """A table of one file per item."""
    rows = [(item, f"{item}.jpg", "ab" * 32, 5, status, "") for item, status in enumerate(statuses)]
    return pl.DataFrame(rows, schema=writer.MEDIA_COLUMNS, orient="row")


BESIDE = {  # what lies beside the arrays OLD and NEW
    OLD.shape: {"media": media("ok", "ok", "ok"), "fitted": {"scale.mean": OLD.mean(axis=0)}},
    NEW.shape: {"media": media("ok", "failed", "ok"), "fitted": {"scale.mean": NEW.mean(axis=0)}},
}


def test_media_and_fitted_arrays_lie_beside_a_modality_and_are_verified(data):
    plain = data.with_modality("text", NEW)
    assert plain.media("text") is None and plain.fitted("text") == {}
    new = data.with_modality("text", NEW, **BESIDE[NEW.shape], replace=True)
    assert new.media("text").equals(media("ok", "failed", "ok"))
    assert np.array_equal(new.fitted("text")["scale.mean"], NEW.mean(axis=0))
    assert new.manifest.parts == plain.manifest.parts and new.manifest.content_hash == plain.manifest.content_hash
    with pytest.raises(InputError, match="modality: expected visual or text, got 'sound'"):
        new.media("sound")
    for name in new.manifest.modalities["text"].beside().values():
        content = (data.folder / name).read_bytes()
        (data.folder / name).write_bytes(content[:-1] + b"?")
        with pytest.raises(InputError, match="the content differs from the manifest"):
            Dataset(data.folder, verify=True)
        (data.folder / name).write_bytes(content)
    assert new.with_modality("text", NEW, replace=True).manifest == plain.manifest
    assert not [path for path in (data.folder / "features").iterdir() if "media" in path.name or "fitted" in path.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"media": [1]}, "media: expected a polars data frame of item, file, .* got list"),
        ({"media": media("ok").drop("error")}, "got item, file, sha256, bytes, status$"),
        ({"media": media("ok").with_columns(item=pl.lit("x"))}, "media: expected columns of their types"),
        ({"media": media("ok").with_columns(item=pl.lit(3))}, "items of media: expected rows from 0 to 2"),
        ({"fitted": {"mean": np.array(["a"])}}, "fitted: expected names with arrays of numbers"),
    ],
)
def test_wrong_files_beside_a_modality_are_refused_and_change_nothing(data, options, message):
    before = {path: path.read_bytes() for path in data.folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        data.with_modality("text", NEW, **options)
    assert {path: path.read_bytes() for path in data.folder.rglob("*") if path.is_file()} == before


class Stop(BaseException):
    pass


def interrupt(data: Dataset, at: int, how) -> None:
    """Replaces a modality and calls `how` at one line of the functions that write."""
    steps = 0

    def trace(frame, event, _):
        nonlocal steps
        if Path(frame.f_code.co_filename).name not in ("writer.py", "files.py"):
            return None
        steps += event == "line"
        if steps == at:
            sys.settrace(None)
            how()
        return trace

    sys.settrace(trace)
    try:
        data.with_modality("visual", NEW, **BESIDE[NEW.shape], replace=True)
    finally:
        sys.settrace(None)


def is_old_or_new(folder: Path) -> str:
    found = Dataset(folder, verify=True)
    values = found.features["visual"].values
    assert np.array_equal(values, OLD) or np.array_equal(values, NEW)
    assert found.media("visual").equals(BESIDE[values.shape]["media"])
    assert np.array_equal(found.fitted("visual")["scale.mean"], values.mean(axis=0))
    return "old" if values.shape == OLD.shape else "new"


def test_an_exception_at_any_line_leaves_the_old_data_set_or_the_new_one(data):
    def stop():
        raise Stop

    found = []
    for at in range(1, 1000, 2):
        data.with_modality("visual", OLD, **BESIDE[OLD.shape], replace=True)
        try:
            interrupt(data, at, stop)
        except Stop:
            found.append(is_old_or_new(data.folder))
        else:
            break
    assert found == sorted(found, reverse=True) and {"old", "new"} <= set(found)
    assert not list(data.folder.rglob("*.partial"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_line_leaves_the_old_data_set_or_the_new_one(data, monkeypatch):
    beside = {3: writer._beside(**BESIDE[NEW.shape], num_items=3), 2: writer._beside(**BESIDE[OLD.shape], num_items=3)}
    mean = "scale.mean"  # its length tells OLD from NEW; polars may not be used in a fork
    monkeypatch.setattr(writer, "_beside", lambda _, fitted, __: beside[len(fitted[mean])])
    found = []
    for at in range(1, 1000, 3):
        data.with_modality("visual", OLD, **BESIDE[OLD.shape], replace=True)
        child = os.fork()
        if child == 0:
            try:
                interrupt(data, at, lambda: os.kill(os.getpid(), signal.SIGKILL))
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            break
        found.append(is_old_or_new(data.folder))
    assert found == sorted(found, reverse=True) and {"old", "new"} <= set(found)
    last = data.with_modality("visual", OLD, **BESIDE[OLD.shape], replace=True)  # and removes what the kills left
    assert {f"features/{path.name}" for path in (data.folder / "features").iterdir()} <= last.manifest.files.keys()


def test_a_second_writer_is_refused_while_the_first_writes(data, monkeypatch):
    write_manifest = writer._write_manifest

    def second(folder, manifest):
        with pytest.raises(
            InputError, match=rf"\.lock: the lock is held by another process: got process {os.getpid()}"
        ):
            Dataset(folder).with_modality("other", OLD)
        write_manifest(folder, manifest)

    monkeypatch.setattr(writer, "_write_manifest", second)
    assert list(data.with_modality("text", NEW).features) == ["visual", "text"]
    assert not (data.folder / ".lock").exists()


def test_two_writers_one_after_the_other_lose_nothing(data):
    other = Dataset(data.folder)
    data.with_modality("text", NEW)
    assert list(other.with_modality("sound", OLD).features) == ["visual", "text", "sound"]


def test_a_data_set_that_was_replaced_in_between_is_refused(data, source):
    (source / "interactions.csv").write_text("user_id,item_id\na,0\na,1\nb,2\n")
    (source / "items.csv").write_text("item_id\n2\n0\n1\n")
    import_dataset("csv", source, data.folder, overwrite=True)
    assert "text" in data.with_modality("text", NEW).features  # the items are the same
    (source / "items.csv").write_text("item_id\n2\n0\n4\n1\n")
    np.save(source / "visual.npy", np.ones((4, 2)))
    import_dataset("csv", source, data.folder, overwrite=True)
    with pytest.raises(InputError, match="the items have changed since the data set was opened"):
        data.with_modality("text", NEW)


def test_a_reader_between_two_manifests_reads_again(data, monkeypatch):
    """The first manifest is read, then another process replaces the modality."""
    check, calls = Dataset._check_files, []

    def once(self, verify):
        if not calls:
            calls.append(1)
            data.with_modality("visual", NEW, replace=True)
        check(self, verify)

    monkeypatch.setattr(Dataset, "_check_files", once)
    assert np.array_equal(Dataset(data.folder).features["visual"].values, NEW)


def test_names_of_files_carry_the_hash(data):
    record = data.with_modality("text", NEW).manifest.modalities["text"]
    assert re.fullmatch(r"text\.[0-9a-f]{16}", record.file)
