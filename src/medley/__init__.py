"""Medley: multi-modal graph recommendation. The interface is described in `medley.api`."""

from typing import TYPE_CHECKING, Any

from medley.version import __version__

if TYPE_CHECKING:
    from medley.api import *  # noqa: F403
    from medley.api import __all__ as _exported

    __all__ = ["__version__", *_exported]


def __getattr__(name: str) -> Any:
    """Imports the interface, and with it torch, when it is first used: `medley --help` need not wait for it."""
    from importlib import import_module

    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'medley' has no attribute {name!r}")
    api = import_module("medley.api")
    if name == "__all__":
        return ["__version__", *api.__all__]
    if name not in api.__all__:
        raise AttributeError(f"module 'medley' has no attribute {name!r}")
    return getattr(api, name)
