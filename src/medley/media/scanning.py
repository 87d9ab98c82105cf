"""Lists the media files of a folder, and says what is ignored. Opens nothing, and never leaves the folder."""

import os
from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from medley.data.sources.finding import JUNK

SUFFIXES = {
    "image": "jpg jpeg jpe jfif png gif webp bmp tif tiff avif jp2",
    "video": "mp4 m4v mov mkv webm avi mpg mpeg ts m2ts flv wmv 3gp ogv",
    "audio": "wav mp3 flac ogg oga opus m4a aac aif aiff wma au caf amr",
    "text": "txt",
}
KINDS = {f".{suffix}": kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()}
OTHERS = 5  # kinds of other files that one note names


class File(NamedTuple):
    """A file that looks like a medium by its suffix; the content has the last word later."""

    path: Path
    kind: str  # image, video, audio or text
    relative: str  # to the folder; with / between folders
    name: str
    stem: str
    folders: tuple[str, ...]  # below the folder that is searched, the nearest first


class _Ignored:
    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._example: dict[str, str] = {}
        self.others: Counter[str] = Counter()

    def add(self, what: str, example: str) -> None:
        self._count[what] += 1
        self._example.setdefault(what, example)

    def notes(self) -> list[str]:
        notes = [
            f"{what} ignored: {count:,}, for example {shown(self._example[what])}"
            for what, count in sorted(self._count.items())
        ]
        if self.others:
            kinds = ", ".join(f"{kind or 'no suffix'} ({count:,})" for kind, count in self.others.most_common(OTHERS))
            more = len(self.others) - OTHERS
            more_kinds = f" and {more:,} more kinds" if more > 0 else ""
            notes.append(f"files of other kinds ignored: {self.others.total():,}, namely {shown(kinds)}{more_kinds}")
        return notes


def scan(folder: Path, ids: Container[str]) -> tuple[list[File], list[str]]:
    """Lists the media of a folder and its subfolders, by path.

    Args:
        folder: where to look.
        ids: a subfolder that looks like a medium by its suffix is searched only if its name is one of these.

    Returns:
        (the files, notes about what is ignored: hidden files, links that leave the folder, devices, other kinds)
    """
    root = os.path.realpath(folder)
    files: list[File] = []
    ignored = _Ignored()
    waiting: list[tuple[str, ...]] = [()]  # folders, from the top
    while waiting:
        parents = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, *parents)) as listing:  # noqa: PTH118 (a million files)
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            ignored.add("unreadable folders", "/".join(parents) or str(folder))
            continue
        prefix = "".join(f"{parent}/" for parent in parents)
        for entry in entries:
            what = _kind(entry, root, ids)
            if what == "folder":
                waiting.append((*parents, entry.name))
            elif what is None:
                stem, dot, suffix = entry.name.rpartition(".")
                kind = KINDS.get(f".{suffix.lower()}") if dot and stem else None
                if kind is None:
                    ignored.others[f".{suffix.lower()}" if dot and stem else ""] += 1
                    continue
                path = Path(entry.path)
                files.append(File(path, kind, prefix + entry.name, entry.name, stem, parents[::-1]))
            else:
                ignored.add(what, prefix + entry.name)
    return sorted(files, key=lambda file: file.relative), ignored.notes()


def _kind(entry: "os.DirEntry[str]", root: str, ids: Container[str]) -> str | None:
    """Returns None for a file, `folder`, or why the entry is ignored."""
    if entry.name.startswith(".") or entry.name.lower() in JUNK:
        return "hidden files"
    try:
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if os.path.commonpath((target, root)) != root:
                return "links that leave the folder"
            if not os.path.isfile(target):  # noqa: PTH113
                return "links to folders" if entry.is_dir() else "broken links"
            return None
        if entry.is_dir():
            looks_like_a_file = Path(entry.name).suffix.lower() in KINDS and entry.name not in ids
            return "folders with names like files" if looks_like_a_file else "folder"
        return None if entry.is_file() else "devices, pipes and sockets"
    except (OSError, ValueError):
        return "unreadable files"


def shown(name: str) -> str:
    """A file name for people: bytes that are not UTF-8, which no report can hold, become question marks."""
    return os.fsencode(name).decode("utf-8", "replace")
