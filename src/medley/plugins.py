"""Additions of other installed packages, by groups of entry points: medley.models, medley.sources, medley.encoders."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from medley.errors import InputError


def installed(group: str) -> dict[str, EntryPoint]:
    """Returns name -> entry point of a group."""
    return {entry.name: entry for entry in entry_points(group=group)}


def with_installed(names: Iterable[str], group: str) -> list[str]:
    """Returns our names, then those that installed packages add."""
    return list(dict.fromkeys([*names, *installed(group)]))


def at_path(path: str, group: str) -> EntryPoint | None:
    """Returns an entry point for an import path such as `mypkg.mymodule:Thing`; None if the text is not such a path."""
    module, colon, attribute = path.partition(":")
    if colon and module and all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        return EntryPoint(path, path, group)
    return None


def load(kind: str, name: str, entry: EntryPoint, *, remedy: str) -> Any:
    """Imports what an entry point names.

    Args:
        kind: model, format, encoder, for the error.
        name: under which the user asked for it.
        entry: the entry point.
        remedy: of an import that fails.

    Raises:
        InputError: the import fails.
    """
    try:
        return entry.load()
    except Exception as error:  # importing another package may raise anything
        raise InputError(f"{kind} {name!r} from {entry.value}", got=repr(error), remedy=remedy) from error
