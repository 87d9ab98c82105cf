"""Caches expensive graphs on disk, keyed by a hash of everything they depend on.

The key covers the arrays, the parameters and the source code of graphs/ and engine/, so new features or new code never
load an old graph. The folder is MEDLEY_CACHE if it is set, `$XDG_CACHE_HOME/medley` or `~/.cache/medley` if not;
MEDLEY_CACHE=off turns the cache off. Graphs that are built quickly are not written. The folder may be deleted at any
time.
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

MIN_SECONDS = 1.0  # a graph that is built faster is not written
HASH_BYTES = 2**24  # hashed at a time


def folder() -> Path | None:
    """Returns the folder of the cache; None if the cache is off."""
    chosen = os.environ.get("MEDLEY_CACHE")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medley"


def load_or_build(
    build: Callable[[], sp.csr_array], *, arrays: Iterable[np.ndarray], parameters: Mapping[str, object]
) -> sp.csr_array:
    """Returns the graph of `build`, from disk if the graph was built before.

    Args:
        build: builds the graph.
        arrays: all arrays that the graph depends on.
        parameters: all other values that the graph depends on, JSON-able.
    """
    root = folder()
    if root is None:
        return build()
    path = root / "graphs" / f"{_key_of(build, arrays, parameters)}.safetensors"
    cached = _load_graph(path)
    if cached is not None:
        return cached
    began = time.perf_counter()
    graph = build()
    if time.perf_counter() - began >= MIN_SECONDS:
        _save_graph(graph, path, parameters)
    return graph


def _key_of(build: Callable[[], sp.csr_array], arrays: Iterable[np.ndarray], parameters: Mapping[str, object]) -> str:
    described = [__version__, _hash_of_code(), f"{build.__module__}.{build.__qualname__}", dict(parameters)]
    return _hash_of(arrays, json.dumps(described, sort_keys=True))


@functools.cache
def _hash_of_code() -> str:
    """Hashes the source that builds graphs: after any change, all graphs are built again."""
    package = Path(__file__).parents[1]
    files = [file for room in ("engine", "graphs", "scoring") for file in sorted((package / room).glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _hash_of(arrays: Iterable[np.ndarray], described: str = "") -> str:
    digest = hashlib.sha256(described.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        step = max(1, HASH_BYTES // max(1, array[:1].nbytes))  # rows at a time: a memory map is never read as a whole
        for first in range(0, len(array), step):
            digest.update(np.ascontiguousarray(array[first : first + step]).data)
    return digest.hexdigest()


def _save_graph(graph: sp.csr_array, path: Path, parameters: Mapping[str, object]) -> None:
    arrays = {name: getattr(graph, name) for name in ("indptr", "indices", "data")}
    provenance = {
        "shape": json.dumps(graph.shape),
        "digest": _hash_of(arrays.values()),
        "parameters": json.dumps(dict(parameters), sort_keys=True),
        "medley": __version__,
    }
    try:
        write_atomic(path, save(arrays, metadata=provenance))
    except OSError as error:
        remedy = "set MEDLEY_CACHE to a folder that can be written"
        warnings.warn(f"the graph was built but cannot be cached: {error}. Remedy: {remedy}", stacklevel=2)


def _load_graph(path: Path) -> sp.csr_array | None:
    """Reads the graph in a file; None if the file is absent or damaged, and must be written again."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            provenance = file.metadata()
            data, indices, indptr = (file.get_tensor(name) for name in ("data", "indices", "indptr"))
    except (SafetensorError, OSError):
        return None
    if provenance is None or provenance.get("digest") != _hash_of((indptr, indices, data)):
        return None
    return sp.csr_array((data, indices, indptr), shape=tuple(json.loads(provenance["shape"])))
