"""Deterministic algorithms of a training, the machine that trains, and the peak memory of the process."""

import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def machine() -> str:
    """Returns the names of processor and GPU."""
    about = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)", about.read_text(), re.M) if about.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{names[0] if names else platform.machine()}, {gpu}"


def peak_gb() -> float:
    """Peak resident memory of this process so far, in GB (2^30 bytes); 0 where it cannot be read (Windows)."""
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
