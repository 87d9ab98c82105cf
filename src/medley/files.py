"""Atomic writes, locks and content hashes of files."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from medley.errors import InputError

UNREADABLE_SECONDS = 5.0  # after which a lock without a readable owner is one whose process was killed as it wrote it


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replaces `path` in one step: a reader finds the old file or the new file, also after a crash, never a part."""
    with staged_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def staged_file(path: Path) -> Iterator[IO[bytes]]:
    """Yields an empty file that replaces `path` in one step; after an error `path` stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: object) -> None:
    """Replaces `path` in one step by a JSON document, indented, keys in the given order."""
    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *, remedy: str) -> dict:
    """Reads a JSON object; `remedy`, in the error, says how to get a good file.

    Raises:
        InputError: the file is absent or does not hold a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("the file does not exist", file=path, remedy=remedy) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError("not valid JSON", file=path, got=str(error), remedy=remedy) from None
    if not isinstance(document, dict):
        raise InputError(
            "the document", file=path, expected="a JSON object", got=type(document).__name__, remedy=remedy
        )
    return document


def sync_folder(folder: Path) -> None:
    """Makes sure that new, renamed and removed names in a folder survive a loss of power."""
    if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a new folder that becomes `target` when the block ends well, and is removed when the block raises.

    Raises:
        InputError: `target` exists and `overwrite` is false; nothing is changed.
    """
    refuse_existing(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent.absolute()))
    try:
        staging.chmod(0o755)
        yield staging
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
            target.rename(old / "replaced")
            try:
                staging.rename(target)
            except BaseException:
                (old / "replaced").rename(target)
                old.rmdir()
                raise
            shutil.rmtree(old)
        else:
            staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Raises an InputError if `target` exists and must not be overwritten."""
    if target.exists() and not overwrite:
        kind = "folder" if target.is_dir() else "file"
        raise InputError(
            f"the {kind} exists already", file=target, remedy="choose another name, or pass overwrite=True"
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path` while the block runs.

    Raises:
        InputError: the lock is held, or was left by a process that was killed; the message says which of the two.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        raise _held(path) from None
    try:
        with os.fdopen(handle, "w") as file:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, file)
        yield
    finally:
        path.unlink(missing_ok=True)


def _held(path: Path) -> InputError:
    try:
        owner = json.loads(path.read_text())
        pid, host, since = int(owner["pid"]), owner["host"], owner["since"]
    except (OSError, ValueError, KeyError, TypeError):  # just made or just removed, or the process was killed
        remedy = "try again; if the error stays and no other process writes here, remove the file"
        return InputError("the lock is held by another process", file=path, remedy=remedy)
    got = f"process {pid} on {host} since {since}"
    if host == socket.gethostname() and not _runs(pid):
        return InputError("the lock is stale: its process has ended", file=path, got=got, remedy="remove the file")
    remedy = "wait until the process ends; if it has ended, remove the file"
    return InputError("the lock is held by another process", file=path, got=got, remedy=remedy)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        return True
    return True


def release_stale(lock: Path) -> None:
    """Removes a lock that `files.locked` made for a process of this host that has ended."""
    content = _read_lock(lock)
    if content is None or not _is_stale(lock, content):
        return
    aside = lock.with_name(f"{lock.name}.{os.getpid()}.stale")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    if aside.read_bytes() != content:  # another process was faster, and this is its new lock
        with suppress(FileExistsError):
            os.link(aside, lock)
    aside.unlink()


def _read_lock(lock: Path) -> bytes | None:
    try:
        return lock.read_bytes()
    except FileNotFoundError:
        return None


def _is_stale(lock: Path, content: bytes) -> bool:
    try:
        owner = json.loads(content)
        pid, host = int(owner["pid"]), owner["host"]
    except (ValueError, KeyError, TypeError):
        while _read_lock(lock) == content:
            if time.time() - lock.stat().st_mtime > UNREADABLE_SECONDS:
                return True
            time.sleep(0.1)
        return False
    if host != socket.gethostname():
        return False
    return not _runs(pid)


def sha256_of_file(path: Path) -> str:
    """Returns the hex digest of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(document: object) -> str:
    """Returns the hex digest of a JSON-able document; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
