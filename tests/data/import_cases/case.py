"""One case: a source as people have it, how it is imported, and what the import must say."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Case(NamedTuple):
    name: str
    format: str
    files: Mapping[str, Any]  # name -> text, bytes, array, frame, sparse matrix
    said: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    ok: bool = True
    source: str = ""  # the file that is given; "" is the folder
    counts: tuple[int, int, int] | None = None  # of train, valid, test
    modalities: Mapping[str, int] | None = None  # name -> dimensions
    pairs: int | None = None  # of all splits
    titles: tuple[str, ...] | None = None


def wrong(name: str, format: str, files: Mapping[str, Any], *said: str, source: str = "", **options: Any) -> Case:
    return Case(name, format, files, said, options, ok=False, source=source)
