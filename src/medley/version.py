"""The version of this package, and of what it stands on: written into everything that is saved."""

import platform
from collections.abc import Mapping
from importlib.metadata import version

__version__ = "0.2.0.dev0"


def versions() -> dict[str, str]:
    """Versions that can change a result, for the provenance of files and runs."""
    libraries = ("torch", "numpy", "scipy", "numba", "polars")
    return {
        "medley": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def listed(numbers: Mapping[str, str]) -> str:
    """Returns what `versions` returns as text for a page."""
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
