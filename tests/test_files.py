"""Writes are atomic, locks exclude, hashes depend on content."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medley.errors import InputError, MedleyWarning
from medley.files import (
    locked,
    read_json,
    refuse_existing,
    sha256_of_file,
    sha256_of_json,
    staged_folder,
    write_atomic,
    write_json,
)


def test_writing_replaces_the_whole_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomic(path, "long content")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back(tmp_path):
    document = {"z": [1, 2.5], "a": "Misérables"}
    write_json(tmp_path / "x.json", document)
    assert read_json(tmp_path / "x.json", remedy="") == document
    assert list(json.loads((tmp_path / "x.json").read_text())) == ["z", "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "expected a JSON object, got list"),
    ],
)
def test_bad_json_is_an_input_error_with_the_remedy(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.json.*{message}.*Remedy: dance"):
        read_json(tmp_path / "x.json", remedy="dance")


def test_a_staged_folder_appears_at_the_end(tmp_path):
    with staged_folder(tmp_path / "a" / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a" / "out").exists()
    assert (tmp_path / "a" / "out" / "file").read_text() == "x"
    assert (tmp_path / "a" / "out").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_staged_folder_is_gone_after_an_error_and_the_old_one_stays(tmp_path, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("old")
    with pytest.raises(error), staged_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "file").write_text("new")
        raise error
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_exists_is_only_replaced_on_demand(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"exists already.*overwrite=True"), staged_folder(tmp_path / "out"):
        raise AssertionError("the block must not run")
    with staged_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "file").write_text("new")
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_exists_already_is_called_a_file_or_a_folder(tmp_path):
    (tmp_path / "shop.medley").write_bytes(b"")
    for name, kind in (("shop.medley", "file"), (".", "folder")):
        with pytest.raises(InputError, match=f"the {kind} exists already"):
            refuse_existing(tmp_path / name, overwrite=False)


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_renamed(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("old")
    rename = Path.rename

    def fail(self, target):
        if self.suffix == ".partial":
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk full"), staged_folder(tmp_path / "out", overwrite=True):
        pass
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_hashes_depend_on_content_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a").startswith("ba7816bf")
    assert (
        sha256_of_json({"a": 1, "b": [2]}) == sha256_of_json({"b": [2], "a": 1}) != sha256_of_json({"a": 1, "b": [3]})
    )


def test_a_lock_is_free_again_after_the_block_whatever_happened(tmp_path):
    for error in (None, ValueError, KeyboardInterrupt):
        try:
            with locked(tmp_path / "lock"):
                assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
                with pytest.raises(InputError, match="held by another process"), locked(tmp_path / "lock"):
                    raise AssertionError("the block must not run")
                assert (tmp_path / "lock").exists()
                if error:
                    raise error
        except (ValueError, KeyboardInterrupt) as caught:
            assert type(caught) is error
        assert not list(tmp_path.iterdir())


HOLDER = """
import sys, time
from pathlib import Path
from medley.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_process_that_is_killed_is_free(tmp_path):
    program = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on"), locked(tmp_path / "lock"):
            raise AssertionError("the block must not run")
        holder.kill()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_those_who_wait_for_a_lock_hold_it_one_at_a_time(tmp_path):
    inside: list[int] = []

    def work(number: int) -> int:
        for _ in range(50):
            with locked(tmp_path / "lock", wait=True):
                inside.append(number)
                assert inside == [number]
                inside.remove(number)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_file_system_without_locks_is_named_and_can_be_written(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(MedleyWarning, match="no locks"), locked(tmp_path / "lock"):
        write_atomic(tmp_path / "file", "x")
