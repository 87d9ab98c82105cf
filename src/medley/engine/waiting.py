"""How long idle OpenMP threads spin before they sleep, set before torch loads its OpenMP library.

Imports nothing but the standard library: `medley/__init__.py` calls `bound_spinning` before torch is imported. Why and
what was measured: docs/decisions/0004-busy-machines.md.
"""

import os
import sys

BOUNDS = {
    "GOMP_SPINCOUNT": "100000",  # GNU: about 1 ms, longer than the gap between two operators; its default is 3 ms
    "KMP_BLOCKTIME": "0",  # LLVM and Intel, ms: one millisecond is already as slow as the default of 200
}
CHOICES = (*BOUNDS, "OMP_WAIT_POLICY", "KMP_LIBRARY")
"""Variables by which a user says how threads wait; whoever sets one of them decides alone."""


def bound_spinning() -> None:
    """Sets the bounds in the environment, for this process and its children, unless they would be too late or unwanted.

    Too late: torch is loaded, and its OpenMP library has read the environment. Unwanted: the user has set a variable.
    """
    if "torch" not in sys.modules and not chosen_by_user():
        os.environ.update(BOUNDS)


def chosen_by_user() -> bool:
    """Whether the user has set one of `CHOICES`; the bounds, which child processes inherit, do not count."""
    return any(name in os.environ and os.environ[name] != BOUNDS.get(name) for name in CHOICES)
