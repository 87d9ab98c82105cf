"""The device of a training, its deterministic algorithms, and the peak memory of the process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medley.errors import InputError


def pick_device(wanted: str) -> torch.device:
    """Returns the device of a setting; `auto` is a GPU if there is one.

    Raises:
        InputError: the machine has no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=wanted)
        return torch.device(wanted)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        raise InputError("device", got=f"{wanted!r} ({problem})", remedy="choose auto or cpu") from None


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
