"""Vectors of items that change while others read them: immutable snapshots, tombstones, and a buffer of additions.

A snapshot has a base, sorted by row, and a buffer of later additions. A removed item leaves a tombstone. Writers
publish a new snapshot by one assignment; arrays that a snapshot shows are never changed, so readers need no lock.

Shapes: n items of a segment, D = dim.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medley.errors import InputError
from medley.serving.index.base import checked_rows, checked_vectors

MIN_CAPACITY = 64  # vectors that a new buffer has room for
MIN_BUFFER = 4096  # additions, or tombstones, that are not worth a compaction
BUFFER_SHARE = 0.25  # of the base; compaction then costs each addition four vectors that are copied, or linked by faiss


@dataclass(frozen=True)
class Segment:
    """Some items with their vectors; a row is alive at most once in all segments of a snapshot."""

    rows: np.ndarray  # (n,) int64
    vectors: np.ndarray  # (n, D) float32
    alive: np.ndarray  # (n,) bool; False is a tombstone
    largest: float  # at least the largest Euclidean norm of the vectors

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def is_sorted(self) -> bool:
        """Whether the rows ascend."""
        return bool((self.rows[1:] > self.rows[:-1]).all())

    @cached_property
    def num_alive(self) -> int:
        """The number of items without a tombstone."""
        return int(np.count_nonzero(self.alive))

    @cached_property
    def _ordered(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows that ascend, and the position of each; None for positions 0, 1, ..."""
        if self.is_sorted:
            return self.rows, None
        position = np.flatnonzero(self.alive)  # a replaced row is in a buffer twice, and alive once
        position = position[np.argsort(self.rows[position])]
        return self.rows[position], position

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Returns (m,), the positions of rows (m,) in this segment; -1 where no item is alive."""
        ordered, position = self._ordered
        if not len(ordered):
            return np.full(len(rows), -1, dtype=np.int64)
        if position is None and ordered[-1] == len(ordered) - 1:  # row = position
            place = np.minimum(rows, len(ordered) - 1)
        else:
            place = np.minimum(np.searchsorted(ordered, rows), len(ordered) - 1)
        found = place if position is None else position[place]
        return np.where((self.rows[found] == rows) & self.alive[found], found, -1)

    def passing(self, allowed: np.ndarray | None) -> np.ndarray:
        """Returns (n,) bool: the items that are alive and allowed."""
        if allowed is None:
            return self.alive
        if not len(self):
            return np.zeros(0, dtype=bool)
        if self.is_sorted and self.rows[-1] == len(self) - 1 and len(allowed) >= len(self):
            return self.alive & allowed[: len(self)]
        known = self.rows < len(allowed)
        passing = self.alive & known
        passing[known] &= allowed[self.rows[known]]
        return passing

    def without(self, positions: np.ndarray) -> "Segment":
        """Returns this segment with tombstones at some positions."""
        if not len(positions):
            return self
        alive = self.alive.copy()
        alive[positions] = False
        return Segment(self.rows, self.vectors, alive, self.largest)


@dataclass(frozen=True)
class Snapshot:
    """The items at one moment."""

    base: Segment
    buffer: Segment
    prepared: Any  # what an approximate index made of the vectors of the base

    @property
    def segments(self) -> tuple[Segment, Segment]:
        """Base and buffer."""
        return self.base, self.buffer

    def __len__(self) -> int:
        return self.base.num_alive + self.buffer.num_alive


class VectorTable:
    """The vectors of an index, with one writer at a time and any number of readers."""

    def __init__(
        self,
        vectors: np.ndarray,
        rows: np.ndarray | None = None,
        prepare: Callable[[np.ndarray], Any] = lambda vectors: None,
    ):
        """Takes vectors, without a copy if they are float32 (memory-mapped, too) and the rows ascend.

        Args:
            vectors: (n, D).
            rows: (n,) distinct rows; by default 0, 1, ...
            prepare: makes of the vectors of a base what an approximate index needs.

        Raises:
            InputError: vectors or rows of a wrong form.
        """
        vectors = checked_vectors(vectors, "vectors of items")
        rows = np.arange(len(vectors), dtype=np.int64) if rows is None else checked_rows(rows)
        if len(rows) != len(vectors):
            raise InputError("rows of the index", expected=f"{len(vectors):,}, one per vector", got=f"{len(rows):,}")
        if not (rows[1:] > rows[:-1]).all():
            order = np.argsort(rows)
            rows, vectors = rows[order], vectors[order]
        self.dim = vectors.shape[1]
        self._prepare = prepare
        self._writing, self._compacting = threading.Lock(), threading.Lock()
        self.snapshot = Snapshot(segment_of(rows, vectors), self._new_buffer(), prepare(vectors))

    @property
    def nbytes(self) -> int:
        """Bytes of vectors, rows and tombstones."""
        base = self.snapshot.base
        buffer = self._room.nbytes + self._room_rows.nbytes + self.snapshot.buffer.alive.nbytes
        return base.vectors.nbytes + base.rows.nbytes + base.alive.nbytes + buffer

    def change(self, remove: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Removes and adds items in one step; a row may be in both.

        Args:
            remove: (m,) rows that go.
            rows: (n,) rows that come.
            vectors: (n, D).

        Raises:
            InputError: a row that goes is not held, or one that comes is held; nothing is changed then.
        """
        remove, rows = checked_rows(remove), checked_rows(rows)
        vectors = checked_vectors(vectors, "vectors of items", num=len(rows), dim=self.dim)
        with self._writing:
            now = self.snapshot
            places = [segment.positions(remove) for segment in now.segments]
            absent = np.maximum(*places) < 0
            if absent.any():
                remedy = "add the item first"
                raise InputError(f"row {remove[absent][0]} is not in the index", remedy=remedy)
            base, buffer = (
                segment.without(place[place >= 0]) for segment, place in zip(now.segments, places, strict=True)
            )
            held = np.maximum(base.positions(rows), buffer.positions(rows)) >= 0
            if held.any():
                raise InputError(f"row {rows[held][0]} is in the index already", remedy="replace it")
            self.snapshot = Snapshot(base, self._appended(buffer, rows, vectors), now.prepared)

    @property
    def is_due(self) -> bool:
        """Whether there are so many additions or tombstones that a compaction pays."""
        base, buffer = self.snapshot.segments
        return max(len(buffer), len(base) - base.num_alive) > max(MIN_BUFFER, BUFFER_SHARE * len(base))

    def compact(self) -> bool:
        """Merges base and buffer into a new base without tombstones; searches and changes go on meanwhile.

        Returns:
            False if another thread is at it.
        """
        if not self._compacting.acquire(blocking=False):
            return False
        try:
            then = self.snapshot
            alive = np.concatenate([segment.alive for segment in then.segments])
            rows = np.concatenate([segment.rows for segment in then.segments])
            order = np.flatnonzero(alive)
            order = order[np.argsort(rows[order])]
            vectors = np.empty((len(order), self.dim), dtype=np.float32)
            in_base = order < len(then.base)
            vectors[in_base] = then.base.vectors[order[in_base]]
            vectors[~in_base] = then.buffer.vectors[order[~in_base] - len(then.base)]
            base, prepared = segment_of(rows[order], vectors), self._prepare(vectors)
            with self._writing:
                now, known = self.snapshot, len(then.buffer)
                still = np.concatenate([now.base.alive, now.buffer.alive[:known]])[order]
                base = base.without(np.flatnonzero(~still))
                later, late = now.buffer, slice(known, None)
                buffer = self._appended(self._new_buffer(), later.rows[late], later.vectors[late])
                buffer = buffer.without(np.flatnonzero(~later.alive[late]))
                self.snapshot = Snapshot(base, buffer, prepared)
        finally:
            self._compacting.release()
        return True

    def _new_buffer(self) -> Segment:
        """Makes room for additions; readers of older snapshots keep the old room."""
        self._room = np.empty((MIN_CAPACITY, self.dim), dtype=np.float32)
        self._room_rows = np.empty(MIN_CAPACITY, dtype=np.int64)
        return Segment(self._room_rows[:0], self._room[:0], np.zeros(0, dtype=bool), 0.0)

    def _appended(self, buffer: Segment, rows: np.ndarray, vectors: np.ndarray) -> Segment:
        """Writes beyond what any snapshot shows, or into a larger room."""
        if not len(rows):
            return buffer
        used, size = len(buffer), len(buffer) + len(rows)
        if size > len(self._room):
            capacity = max(size, 2 * len(self._room))
            room, room_rows = np.empty((capacity, self.dim), np.float32), np.empty(capacity, np.int64)
            room[:used], room_rows[:used] = self._room[:used], self._room_rows[:used]
            self._room, self._room_rows = room, room_rows
        self._room[used:size], self._room_rows[used:size] = vectors, rows
        alive = np.concatenate([buffer.alive, np.ones(len(rows), dtype=bool)])
        return Segment(self._room_rows[:size], self._room[:size], alive, max(buffer.largest, largest_norm(vectors)))


def segment_of(rows: np.ndarray, vectors: np.ndarray) -> Segment:
    """Returns a segment without tombstones."""
    return Segment(rows, vectors, np.ones(len(rows), dtype=bool), largest_norm(vectors))


def largest_norm(vectors: np.ndarray, block: int = 2**14) -> float:
    """Returns the largest Euclidean norm of vectors (n, D), 0 if there are none."""
    blocks = (vectors[start : start + block].astype(np.float64) for start in range(0, len(vectors), block))
    return max((float(np.sqrt((part * part).sum(axis=1)).max()) for part in blocks), default=0.0)
