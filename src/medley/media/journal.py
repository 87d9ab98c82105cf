"""What an extraction has encoded so far: kept beside the data, so that it resumes and repeats nothing.

<data set>/.extraction/.lock                              held while a process extracts
<data set>/.extraction/<modality>/<key>/journal.json      what the key is a hash of, and versions
<data set>/.extraction/<modality>/<key>/<row>.safetensors the vectors and media of CHUNK item rows from <row> on

The key is a hash of all that determines a vector apart from its medium. A chunk is written in one step. Vectors are not
scaled, so another scale needs no encoder. The folder may be deleted at any time between two extractions.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from medley.errors import InputError
from medley.files import locked, read_json, sha256_of_json, write_atomic, write_json
from medley.media.pieces import State

FOLDER, LOCK, RECORD, SUFFIX = ".extraction", ".lock", "journal.json", ".safetensors"
VERSION = 1  # of this format
CHUNK = 128  # item rows that are written together, and lost at most by a kill: some seconds of work
KEY_DIGITS = 16


class Entry(NamedTuple):
    """What became of one medium."""

    item: int  # row
    file: str
    state: State
    status: str  # ok; no sound; failed: unusable content; stopped: too slow, too large or crashed, tried again
    error: str


class Chunk(NamedTuple):
    """The vectors and media of some items."""

    rows: np.ndarray  # (n,) int32 item rows that have a vector, ascending
    vectors: np.ndarray  # (n, d) float32
    entries: list[Entry]  # by item row


class Journal:
    """The chunks of one modality under one key."""

    def __init__(self, dataset: Path, modality: str, key: Mapping[str, Any]):
        self.folder = dataset / FOLDER / modality / sha256_of_json({"version": VERSION, **key})[:KEY_DIGITS]
        self._key = key

    def begin(self, versions: Mapping[str, str]) -> dict[str, str]:
        """Makes the folder; returns the versions of the packages that the first chunk was made with."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in [*self.folder.glob(".*"), *self.folder.glob("*.npy")]:  # by a kill in the middle of a write
            left.unlink()
        path = self.folder / RECORD
        if not path.exists():
            write_json(path, {"version": VERSION, "key": dict(self._key), "versions": dict(versions)})
        return read_json(path, remedy=f"delete the folder {self.folder}")["versions"]

    def read(self, start: int) -> Chunk | None:
        """Returns a chunk; None if it is not there, or damaged: then it is made again."""
        try:
            with safe_open(self._path(start), framework="numpy") as file:
                entries = json.loads(file.metadata()["entries"])
                rows, vectors = file.get_tensor("rows"), file.get_tensor("vectors")
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        return Chunk(rows, vectors, [Entry(item, file, State(*state), *rest) for item, file, state, *rest in entries])

    def write(self, start: int, chunk: Chunk) -> None:
        """Writes a chunk in one step; an empty one is removed."""
        if not chunk.entries:
            self._path(start).unlink(missing_ok=True)
            return
        tensors = {"rows": chunk.rows, "vectors": chunk.vectors}
        write_atomic(self._path(start), save(tensors, metadata={"entries": json.dumps(chunk.entries)}))

    def starts(self) -> set[int]:
        """The first rows of all chunks that are there."""
        return {int(path.stem) for path in self.folder.glob(f"*{SUFFIX}") if path.stem.isdigit()}

    @contextmanager
    def array(self, shape: tuple[int, int]) -> Iterator[np.ndarray]:
        """Yields a float32 array of zeros in a file, which is deleted when the block ends."""
        handle, name = tempfile.mkstemp(suffix=".npy", dir=self.folder)
        os.close(handle)
        try:
            yield np.lib.format.open_memmap(name, mode="w+", dtype=np.float32, shape=shape)
        finally:
            Path(name).unlink(missing_ok=True)

    def remove_others(self) -> None:
        """Removes what was encoded for this modality under other keys."""
        for path in self.folder.parent.iterdir():
            if path != self.folder:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:08d}{SUFFIX}"


@contextmanager
def only_one(dataset: Path) -> Iterator[None]:
    """Holds the extraction lock of a data set while the block runs. What a killed process had written is whole.

    Raises:
        InputError: another process extracts, or the folder cannot be written.
    """
    try:
        (dataset / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError("the data set cannot be written", file=dataset, got=error.strerror) from None
    with locked(dataset / FOLDER / LOCK):
        yield
