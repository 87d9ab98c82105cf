"""Atomic writes, locks and content hashes of files."""

import errno
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from medley.errors import InputError, MedleyWarning


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
        InputError: the file is absent, cannot be read or does not hold a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("the file does not exist", file=path, remedy=remedy) from None
    except OSError as error:
        raise InputError("the file cannot be read", file=path, got=error.strerror, remedy=remedy) from None
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
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock file `path` while the block runs, and removes it. The lock of a process that is killed is free.

    Args:
        path: the lock file; its folder exists.
        wait: wait until no other process holds the lock.

    Raises:
        InputError: another process holds the lock, and `wait` is false.
    """
    while True:
        with path.open("a+", encoding="utf-8") as file:
            if not _lock(file, path, wait=wait):
                raise _held(path)
            if not _is_at(file, path):  # the process that held the lock has removed the file
                continue
            file.truncate(0)
            since = datetime.now(UTC).isoformat(timespec="seconds")
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, file)
            file.flush()
            try:
                yield
            finally:
                with suppress(PermissionError):  # Windows removes no file that is open
                    path.unlink(missing_ok=True)
            return


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _held(path: Path) -> InputError:
    what, remedy = "the lock is held by another process", "wait until the process ends"
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        got = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # the process has just taken the lock, or just ended
        return InputError(what, file=path, remedy=remedy)
    return InputError(what, file=path, got=got, remedy=remedy)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str], path: Path, *, wait: bool) -> bool:
        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                return True
            except OSError:  # held by another process, for ten seconds if this one waits
                if not wait:
                    return False

else:
    import fcntl

    def _lock(file: IO[str], path: Path, *, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            text = f"{path}: this file system has no locks: let one process at a time write here"
            warnings.warn(text, MedleyWarning, stacklevel=2)
        return True


def sha256_of_file(path: Path) -> str:
    """Returns the hex digest of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(document: object) -> str:
    """Returns the hex digest of a JSON-able document; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
