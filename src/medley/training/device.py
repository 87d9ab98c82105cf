"""Deterministic algorithms of a training, and the peak memory of the process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Uses torch's deterministic algorithms inside the block, and the caller's choice again afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def peak_gb() -> float:
    """Peak resident memory of this process so far, in GB (2^30 bytes); 0 where it cannot be read (Windows)."""
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
