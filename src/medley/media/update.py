"""Brings the journal of one modality up to date: encodes the items whose media are not in it or have changed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medley.data.writer import NO_SOUND
from medley.engine.threads import sharing_cores
from medley.media.decode import Limits, MediaError
from medley.media.encoders import Encoder
from medley.media.item import Batches, mean_of
from medley.media.journal import CHUNK, Chunk, Entry, Journal
from medley.media.pieces import Made, Medium, Preparation, State, Task, looks_as, state_of
from medley.media.progress import ExtractProgress
from medley.media.workers import Failed, Workers
from medley.version import versions

DECODERS = ("pillow", "av", "soundfile")
OK, FAILED, STOPPED = "ok", "failed", "stopped"


class _Planned(NamedTuple):
    """A chunk of item rows that is to be written."""

    start: int
    kept: list[Entry]  # the media of items that stay as they are
    pending: list[int]  # item rows to encode


@dataclass
class Modality:
    """One modality on its way."""

    name: str
    encoder: Encoder
    fitted: dict[str, np.ndarray]  # of the encoder
    preparation: Preparation
    journal: Journal
    media: dict[int, list[Medium]]  # item row -> its media of this kind
    made_by: dict[str, Any]
    asked: bool = True  # false: it has its encoder by default
    root: Path | None = None  # the names of files are relative to it
    num_encoded: int = 0


def update(
    modality: Modality, workers: Workers[Task, Made], *, batch: int, num_items: int, progress: ExtractProgress
) -> None:
    """Brings the journal of one modality up to date.

    Args:
        modality: whose media are encoded.
        workers: run `preparation` for images and sound; texts are prepared here.
        batch: pieces that are encoded at a time.
        num_items: of the data set.
        progress: is told of every medium.
    """
    modality.made_by["versions"] = modality.journal.begin(_versions())
    planned = list(_plan(modality, num_items))
    total = sum(len(modality.media[row]) for chunk in planned for row in chunk.pending)
    modality.num_encoded = sum(len(chunk.pending) for chunk in planned)
    todo = (medium for chunk in planned for row in chunk.pending for medium in modality.media[row])
    if modality.encoder.reads == "text":
        results: Iterator[Made | Failed] = map(modality.preparation, todo)
    else:
        results = workers.map(Task(modality.name, medium) for medium in todo)
    if total:
        progress.start(modality.name, modality.encoder.name, total)
    try:
        with sharing_cores():  # with the processes that decode: else they and the network's idle threads fight for them
            for chunk in planned:
                made = _made(modality, chunk.pending, results, batch, progress)
                modality.journal.write(chunk.start, _joined(modality.journal.read(chunk.start), chunk.kept, made))
    finally:
        if total:
            progress.stop()


def _plan(modality: Modality, num_items: int) -> Iterator[_Planned]:
    """Yields the chunks that differ from the journal."""
    there = modality.journal.starts()
    limits, root = modality.preparation.limits, modality.root
    for start in range(0, num_items, CHUNK):
        rows = [row for row in range(start, min(start + CHUNK, num_items)) if row in modality.media]
        old = modality.journal.read(start) if start in there else None
        if old is None:
            if rows or start in there:
                yield _Planned(start, [], rows)
            continue
        entries: dict[int, list[Entry]] = {}
        for entry in old.entries:
            entries.setdefault(entry.item, []).append(entry)
        same = {row: _unchanged(modality.media[row], entries.get(row, []), limits, root) for row in rows}
        kept = [entry for row in rows for entry in same[row] or ()]
        pending = [row for row in rows if same[row] is None]
        if pending or kept != old.entries:
            yield _Planned(start, kept, pending)


def _unchanged(media: list[Medium], entries: list[Entry], limits: Limits, root: Path | None) -> list[Entry] | None:
    """Returns the entries of an item, with the times of its files now; None if it is to be encoded again."""
    if [entry.file for entry in entries] != [_name(medium.source, root) for medium in media]:
        return None
    now: list[Entry] = []
    for medium, entry in zip(media, entries, strict=True):
        if entry.status == STOPPED:
            return None
        state = entry.state
        if not (isinstance(medium.source, Path) and state.modified and looks_as(medium.source, state)):
            try:
                state = state_of(medium.source, limits)
            except MediaError:
                return None
            if not state.sha256 or state.sha256 != entry.state.sha256:
                return None
        now.append(entry._replace(state=state))
    return now


def _made(
    modality: Modality,
    pending: Iterable[int],
    results: Iterator[Made | Failed],
    batch: int,
    progress: ExtractProgress,
) -> Chunk:
    """Encodes items; takes one result per medium."""
    batches = Batches(modality.encoder, batch)
    entries: dict[int, list[Entry]] = {}
    for row in pending:
        entries[row] = []
        for medium in modality.media[row]:
            result = next(results)
            if isinstance(result, Failed):
                state = _state_in_any_case(medium, modality.preparation.limits)
                result, status = Made(state, None, result.reason), STOPPED
            else:
                status = NO_SOUND if result.lacks_sound else FAILED if result.error else OK
            if status == OK:
                batches.add(result.pieces)
            file = _name(medium.source, modality.root)
            entries[row].append(Entry(row, file, result.state, status, result.error))
            progress.medium(failed=status in (FAILED, STOPPED))
    of_media = iter(batches.finish())
    rows: list[int] = []
    vectors: list[np.ndarray] = []
    for row, each in entries.items():
        mine = [next(of_media) for entry in each if entry.status == OK]
        if not mine:
            continue
        try:
            vectors.append(mean_of(mine))
            rows.append(row)
        except MediaError as error:
            entries[row] = [
                entry._replace(status=FAILED, error=str(error)) if entry.status == OK else entry for entry in each
            ]
    values = np.stack(vectors) if vectors else np.zeros((0, modality.encoder.dim), dtype=np.float32)
    return Chunk(np.array(rows, dtype=np.int32), values, [entry for each in entries.values() for entry in each])


def _state_in_any_case(medium: Medium, limits: Limits) -> State:
    try:
        return state_of(medium.source, limits)
    except MediaError:
        return State("", 0, 0)


def _joined(old: Chunk | None, kept: list[Entry], made: Chunk) -> Chunk:
    """Joins what stays of a chunk and what was made, by item row."""
    if old is None or not kept:
        return made
    stays = np.isin(old.rows, [entry.item for entry in kept])
    rows = np.concatenate([old.rows[stays], made.rows])
    vectors = np.concatenate([old.vectors[stays], made.vectors])
    order = np.argsort(rows)
    return Chunk(rows[order], vectors[order], sorted([*kept, *made.entries], key=lambda entry: entry.item))


def _name(source: Path | bytes | str, root: Path | None) -> str:
    if not isinstance(source, Path):
        return "text" if isinstance(source, str) else "bytes"
    path = source.absolute()
    return path.relative_to(root).as_posix() if root is not None and path.is_relative_to(root) else str(source)


def _versions() -> dict[str, str]:
    """Versions that can change a vector and that no encoder knows of."""
    found = versions()
    for package in DECODERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
