"""Writing so that nothing is ever half-written, and hashing so that nothing is ever mistaken for another."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medley.errors import InputError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replaces `path` in one step: a reader, or a crash, sees the old file or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: object) -> None:
    """`write_atomic` of a JSON document, indented, keys in the given order."""
    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *, remedy: str) -> dict:
    """A JSON object from a file; `remedy` tells the user how to get a good one.

    Raises:
        InputError: the file is absent or holds no JSON object.
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


@contextmanager
def staged_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A new folder that becomes `target` only when the block ends well; otherwise it is gone without a trace.

    Raises:
        InputError: `target` exists and `overwrite` is false. Without it nothing that is there is touched.
    """
    if target.exists() and not overwrite:
        raise InputError("the folder exists already", file=target, remedy="choose another name or pass --overwrite")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        staging.chmod(0o755)
        yield staging
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
            target.rename(old / "replaced")
            staging.rename(target)
            shutil.rmtree(old)
        else:
            staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(document: object) -> str:
    """Hex digest of a JSON-able document, the same for the same content whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
