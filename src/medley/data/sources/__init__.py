"""Readers of public formats, by name: a written dict, and what installed packages add. docs/data.md shows the formats.

Another package adds a format by an entry point in the group `medley.sources`: a function (path, options) -> RawLog. The
whole of a simple one:

    def read(path: Path, options: ReadOptions) -> RawLog:
        return raw_log({path: read_log(read_table(path, options.form), options.columns)})
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from medley import plugins
from medley.data.sources.folders import read_csv, read_json, read_parquet
from medley.data.sources.lists import read_lists
from medley.data.sources.mmrec import read_mmrec
from medley.data.sources.mmssl import read_mmssl
from medley.data.sources.pairs import read_pairs
from medley.data.sources.raw import RawLog
from medley.data.sources.reading import ReadOptions
from medley.data.sources.recbole import read_recbole
from medley.data.sources.sequences import read_sequences
from medley.errors import InputError

Reader = Callable[[Path, ReadOptions], RawLog]

SOURCES: Mapping[str, Reader] = {
    "csv": read_csv,
    "parquet": read_parquet,
    "recbole": read_recbole,
    "mmrec": read_mmrec,
    "lists": read_lists,
    "mmssl": read_mmssl,
    "json": read_json,
    "sequences": read_sequences,
    "pairs": read_pairs,
}

ENTRY_POINTS = "medley.sources"  # the group under which another package lists its readers


def names() -> list[str]:
    """The names of all formats: ours, then those that installed packages add."""
    return plugins.with_installed(SOURCES, ENTRY_POINTS)


def find(format: str) -> Reader:
    """Returns the reader of a format.

    Raises:
        InputError: no such format, or the package that adds the format is broken.
    """
    if not isinstance(format, str):
        raise InputError("format", expected=" or ".join(names()), got=type(format).__name__)
    if format in SOURCES:
        return SOURCES[format]
    entry = plugins.installed(ENTRY_POINTS).get(format)
    if entry is None:
        raise InputError("format", expected=" or ".join(names()), got=repr(format))
    remedy = f"mend or remove the package that adds the format to {ENTRY_POINTS}"
    reader = plugins.load("format", format, entry, remedy=remedy)
    if not callable(reader):
        expected = "a function (path, options) -> RawLog"
        raise InputError(f"format {format!r} from {entry.value}", expected=expected, got=repr(reader), remedy=remedy)
    return reader
