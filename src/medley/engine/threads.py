"""Compiled loops on several threads: those of torch where they can be had, else a few of our own.

Numba's own threads are not used: its OpenMP is not torch's, and while the idle threads of the one spin the other waits
for the cores (docs/decisions/0001-sparse-kernels.md); its other pool ends the process when two threads enter it at
once.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch

from medley.engine import openmp

NUM_PIECES = 64  # of equal work; enough to even out 2 to 32 cores, too few to cost anything
WORTH_THREADS = 2**20  # multiplications, 0.05 ms: below, one thread has done them before the others have begun


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
