"""What took long to build is kept on disk, under a name made of all that it depends on.

The name is a hash of the arrays, the parameters and the source code that builds, so new features never meet an old
graph. The folder is MEDLEY_CACHE if it is set, `$XDG_CACHE_HOME/medley` or `~/.cache/medley` if not;
MEDLEY_CACHE=off keeps nothing. What is quicker to build than to keep is not kept. It is always safe to delete the
folder.
"""

import functools
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from medley.files import write_atomic
from medley.version import __version__

MIN_SECONDS = 1.0  # of building, for a graph to be kept
HASH_BYTES = 2**24  # read at a time


def folder() -> Path | None:
    """Where graphs are kept; None if nothing is to be kept."""
    chosen = os.environ.get("MEDLEY_CACHE")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medley"


def load_or_build(
    build: Callable[[], sp.csr_array], *, arrays: Iterable[np.ndarray], parameters: Mapping[str, object]
) -> sp.csr_array:
    """The graph that `build` returns, from disk if it was built before.

    Args:
        build: makes the graph.
        arrays: all data that the graph depends on.
        parameters: all else that it depends on, JSON-able.
    """
    root = folder()
    if root is None:
        return build()
    path = root / "graphs" / f"{_key(build, arrays, parameters)}.safetensors"
    kept = _load(path)
    if kept is not None:
        return kept
    began = time.perf_counter()
    graph = build()
    if time.perf_counter() - began >= MIN_SECONDS:
        _keep(graph, path, parameters)
    return graph


def _key(build: Callable[[], sp.csr_array], arrays: Iterable[np.ndarray], parameters: Mapping[str, object]) -> str:
    described = [__version__, _code(), f"{build.__module__}.{build.__qualname__}", dict(parameters)]
    return _digest(arrays, json.dumps(described, sort_keys=True))


@functools.cache
def _code() -> str:
    """Hash of the source of this room: whatever changes in it, all graphs are built anew."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _digest(arrays: Iterable[np.ndarray], described: str = "") -> str:
    digest = hashlib.sha256(described.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        step = max(1, HASH_BYTES // max(1, array[:1].nbytes))  # rows: a memory map is never read as a whole
        for first in range(0, len(array), step):
            digest.update(np.ascontiguousarray(array[first : first + step]).data)
    return digest.hexdigest()


def _keep(graph: sp.csr_array, path: Path, parameters: Mapping[str, object]) -> None:
    arrays = {name: getattr(graph, name) for name in ("indptr", "indices", "data")}
    provenance = {
        "shape": json.dumps(graph.shape),
        "digest": _digest(arrays.values()),
        "parameters": json.dumps(dict(parameters), sort_keys=True),
        "medley": __version__,
    }
    try:
        write_atomic(path, save(arrays, metadata=provenance))
    except OSError as error:
        warnings.warn(f"the graph was built but cannot be kept: {error}. Set MEDLEY_CACHE to a folder", stacklevel=2)


def _load(path: Path) -> sp.csr_array | None:
    """None if the file is absent or not what was written; it is then built and written again."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            provenance = file.metadata()
            data, indices, indptr = (file.get_tensor(name) for name in ("data", "indices", "indptr"))
    except (SafetensorError, OSError):
        return None
    if provenance is None or provenance.get("digest") != _digest((indptr, indices, data)):
        return None
    return sp.csr_array((data, indices, indptr), shape=tuple(json.loads(provenance["shape"])))
