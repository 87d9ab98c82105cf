"""Runs trainings one after the other in this process, or several at a time in processes of their own."""

import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from medley.data.dataset import Dataset
from medley.errors import InputError, MedleyError
from medley.training.progress import Progress, ProgressBar
from medley.tuning.journal import without_interrupts
from medley.tuning.trials import Outcome, Task, run

WAIT_SECONDS = 5.0  # between two notes of the time while workers train


def _nothing() -> None:
    """Does nothing."""


class Executor:
    """Starts tasks and waits for them."""

    def __init__(
        self,
        submit: Callable[[Task], "Future[Outcome]"],
        *,
        tick: Callable[[], None],
        interrupt: Callable[[], None] = _nothing,
    ):
        self.submit, self.tick, self.interrupt = submit, tick, interrupt

    def wait(self, pending: Iterable["Future[Outcome]"]) -> "set[Future[Outcome]]":
        """Returns the tasks that are done, at least one; Ctrl-C ends the running ones at their next epoch."""
        while True:
            try:
                done = wait(pending, timeout=WAIT_SECONDS, return_when=FIRST_COMPLETED).done
            except KeyboardInterrupt:
                self.interrupt()
                continue
            self.tick()
            if done:
                return done


class Bar(ProgressBar):
    """A bar that leaves no line behind: the search reports the outcome."""

    def stop(self) -> None:
        """Hides the bar."""
        self.last = None
        super().stop()


def result_of(future: "Future[Outcome]", *, is_first: bool) -> Outcome:
    """Returns the outcome of a task; settings that model or data refuse fail alone, unless they are the first ones.

    Raises:
        InputError: the first settings are refused: all others would be, too.
        MedleyError: a worker process was killed.
    """
    try:
        return future.result()
    except InputError as error:
        if is_first:
            raise
        return Outcome("failed", message=str(error))
    except BrokenProcessPool:
        remedy = "fewer jobs; the same call goes on"
        raise MedleyError(f"a training process was killed, perhaps for lack of memory. Remedy: {remedy}") from None


@contextmanager
def workers(
    data_folder: Path, jobs: int, *, tick: Callable[[], None], interrupted: Callable[[], None]
) -> Iterator[Executor]:
    """Yields an executor of `jobs` processes, which share the threads; what they do when the block ends is stopped."""
    context = get_context("spawn")
    stop = context.Event()
    threads = max(1, torch.get_num_threads() // jobs)

    def submit(task: Task) -> "Future[Outcome]":
        with without_interrupts():
            return pool.submit(_run_in_worker, data_folder, task)

    def interrupt() -> None:
        interrupted()
        stop.set()

    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(stop, threads)) as pool:
        try:
            yield Executor(submit, tick=tick, interrupt=interrupt)
        finally:
            stop.set()


class InProcess:
    """Runs one task at a time in this process, with the interface of an executor."""

    def __init__(self, data: Dataset, *, tick: Callable[[], None], shown: Callable[[Task], Progress | None]):
        self.data, self.tick, self.shown = data, tick, shown

    def submit(self, task: Task) -> "Future[Outcome]":
        """Returns a future that is done."""
        future: Future[Outcome] = Future()
        try:
            future.set_result(run(task, self.data, tick=self.tick, stop=None, shown=self.shown(task)))
        except InputError as error:
            future.set_exception(error)
        return future


_stop: Event | None = None  # of a worker process, set by `_start`


def _start(stop: Event, threads: int) -> None:
    """Prepares a worker process: Ctrl-C reaches it through the event, so that its run ends at an epoch."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def _run_in_worker(data_folder: Path, task: Task) -> Outcome:
    """Runs a task in a worker process."""
    return run(task, _opened(data_folder), tick=lambda: None, stop=_stop, shown=None)


@lru_cache(maxsize=1)
def _opened(folder: Path) -> Dataset:
    return Dataset(folder)
