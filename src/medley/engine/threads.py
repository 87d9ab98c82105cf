"""Compiled loops on several threads: those of torch where they can be had, else a few of our own.

Numba's own threads are not used: its OpenMP is not torch's, and while the idle threads of the one spin the other waits
for the cores (docs/decisions/0001-sparse-kernels.md); its other pool ends the process when two threads enter it at
once.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch

from medley.engine import openmp, waiting

NUM_PIECES = 64  # of equal work; enough to even out 2 to 32 cores, too few to cost anything
WORTH_THREADS = 2**20  # multiplications, 0.05 ms: below, one thread has done them before the others have begun
SECONDS_BETWEEN_LOOKS = 0.2  # at the cores; the kernel counts in steps of 10 ms
SLACK = 0.3  # cores that others may use before they count: the rest of the system is never quite idle


def run(loop: Callable[..., None], piece: np.ndarray, work: int, *arguments: object) -> None:
    """Calls loop(first, last, *arguments) for ranges of rows, on `torch.get_num_threads()` threads if that pays.

    Args:
        loop: made by `kernels.compiled`; what it writes for a row must not depend on the range it is called with.
        piece: (P + 1,) rows at which pieces of equal work begin.
        work: about the number of multiplications in all.
        arguments: of the loop.

    Raises:
        What the loop raises; its results are then incomplete.
    """
    threads = how_many(work)
    if threads == 1:
        loop(int(piece[0]), int(piece[-1]), *arguments)
    elif openmp.AVAILABLE and os.getpid() == _PROCESS:
        try:
            openmp.on_torch_threads(loop)(piece, threads, *arguments)
        except RuntimeError:  # which error it was, one thread can tell
            loop(int(piece[0]), int(piece[-1]), *arguments)
            raise
    else:
        _on_pool(loop, piece, threads, arguments)


def how_many(work: int) -> int:
    """Threads that so many multiplications are worth."""
    return torch.get_num_threads() if work >= WORTH_THREADS else 1


def pieces_of(size: int) -> np.ndarray:
    """(P + 1,) int64: where pieces of `size` equal rows begin."""
    count = max(1, min(size, NUM_PIECES))
    return np.arange(count + 1) * size // count


def equal_pieces(start: np.ndarray, num_pieces: int = NUM_PIECES) -> np.ndarray:
    """(P + 1,) int32: rows at which pieces of equal work begin; row r costs start[r + 1] - start[r], and one more."""
    work = start.astype(np.int64) + np.arange(len(start))
    return np.searchsorted(work, np.linspace(0, work[-1], num_pieces + 1)).astype(np.int32)


_PROCESS = os.getpid()  # one that was forked has none of its parent's threads, and OpenMP would wait for them


def _on_pool(loop: Callable[..., None], piece: np.ndarray, threads: int, arguments: tuple[object, ...]) -> None:
    ranges = iter(list(zip(piece[:-1].tolist(), piece[1:].tolist(), strict=True)))  # `next` is one step for all

    def help_out() -> None:
        for first, last in ranges:
            loop(first, last, *arguments)

    helpers = [_pool(os.getpid(), threads - 1).submit(help_out) for _ in range(threads - 1)]
    help_out()
    for helper in helpers:
        if not helper.cancel():  # it has begun
            helper.result()


@cache
def _pool(process: int, size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix=f"medley-{process}")


@contextmanager
def sharing_cores() -> Iterator[None]:
    """Lets waiting threads sleep early while other processes need the cores; for training and evaluation.

    A thread of its own looks at the cores five times a second. While they are free nothing changes: threads spin
    between two operators, which is fastest. Results are the same bits either way. Inside another `sharing_cores`, in a
    forked process, or where the user has chosen how threads wait (`waiting.CHOICES`), this does nothing.
    """
    if waiting.chosen_by_user() or os.getpid() != _PROCESS or not _ADAPTING.acquire(blocking=False):
        yield
        return
    stop = threading.Event()
    adapter = threading.Thread(target=_adapt, args=(stop,), name="medley-sharing-cores", daemon=True)
    try:
        with openmp.no_block_time():
            if openmp.IS_GNU and _Others.are_known():
                adapter.start()
            yield
    finally:
        stop.set()
        if adapter.ident is not None:
            adapter.join()
        _ADAPTING.release()


def _adapt(stop: threading.Event) -> None:
    """Shortens waits whenever the cores are crowded, until `stop`."""
    with ExitStack() as waits:
        are_short = False
        while True:
            if _others().crowd() != are_short:
                are_short = not are_short
                if are_short:
                    waits.enter_context(openmp.short_waits())
                else:
                    waits.close()
            if stop.wait(SECONDS_BETWEEN_LOOKS):
                return


class _Others:
    """Processor time that other processes take from the cores this process may use (Linux)."""

    def __init__(self) -> None:
        self.crowded = False
        self.begin, self.used = time.monotonic(), self._used() if self.are_known() else 0.0

    @staticmethod
    def are_known() -> bool:
        """Whether the kernel tells."""
        return hasattr(os, "sched_getaffinity") and Path("/proc/stat").exists()

    def crowd(self) -> bool:
        """Whether others left fewer cores than torch has threads, since the last look at least a moment ago."""
        now = time.monotonic()
        seconds = now - self.begin
        if seconds >= SECONDS_BETWEEN_LOOKS / 2:
            used = self._used()
            free = len(os.sched_getaffinity(0)) - (used - self.used) / seconds
            self.crowded = free + SLACK < torch.get_num_threads()
            self.begin, self.used = now, used
        return self.crowded

    @staticmethod
    def _used() -> float:
        """Seconds of these cores that were neither idle nor this process's, since the system started."""
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        ticks = 0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name in cores:
                user, nice, system, _idle, _iowait, *rest = (int(field) for field in fields[:8])
                ticks += user + nice + system + sum(rest)
        return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


_ADAPTING = threading.Lock()


@cache
def _others() -> _Others:
    """The one observer of this process: each look measures since the last one."""
    return _Others()
