"""Runs tasks in processes that share the cores and stay within a limit of memory.

A process lives for many tasks, for it takes seconds to start. It ends with the process that started it, whatever ended
that one; a process that is killed alone (out of memory) is replaced, and its task is tried once more, with nothing
beside it. Processes write into the store and return nothing but their end: results are read from the store.
"""

import ctypes
import gc
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import torch

from medley.cores import num_cores
from medley.errors import InputError, TrainingError
from medley.experiments.store import Diverged, Task, Trained, complete, find
from medley.experiments.watch import Watch
from medley.runs import Epoch
from medley.training.progress import Progress

ASSUMED_GB = 1.0  # of a training while no run has finished: twice what a process needs before it trains
SHARE_OF_FREE = 0.8  # of the free memory, by default
KEPT_GB = 0.5  # a process that keeps more than this beyond its start after a task is replaced
CGROUP = Path("/sys/fs/cgroup")
CGROUP_FILES = (  # limit, use, its parts; and the part that the system takes back when memory is short
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)

Outcome = Trained | Diverged | InputError


@dataclass(frozen=True)
class Resources:
    """How many tasks run at a time, and with how much.

    Attributes:
        jobs: number of processes; 0 runs the tasks in this process, one after the other, whatever memory they take.
        threads: of each task; None divides the cores by the number of jobs.
        memory_gb: of all tasks together; None takes four fifths of the memory that is free now.
    """

    jobs: int = 1
    threads: int | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("jobs", self.jobs, 0), ("threads", self.threads, 1), ("memory", self.memory_gb, 0)):
            if value is not None and (isinstance(value, bool) or value < least or value != value):
                raise InputError(name, expected=f"{least} or more", got=value)

    @property
    def threads_each(self) -> int:
        """Number of threads of each task."""
        return self.threads or max(1, num_cores() // max(1, self.jobs))

    @property
    def limit_gb(self) -> float:
        """Limit of memory of all tasks together, in GB (2^30 bytes)."""
        return SHARE_OF_FREE * free_gb() if self.memory_gb is None else self.memory_gb


class Peaks:
    """Estimates the memory of a task by the peak of finished runs: of its model, else of any model."""

    def __init__(self) -> None:
        self.of_model: dict[str, float] = {}

    def add(self, trained: Trained) -> None:
        """Learns from a finished run."""
        model = trained.recipe.model
        self.of_model[model] = max(trained.peak_gb, self.of_model.get(model, 0.0))

    def estimate(self, task: Task) -> float:
        """Returns GB."""
        known = self.of_model
        return known.get(task.recipe.model) or max(known.values(), default=0.0) or ASSUMED_GB


def run_all(stage: str, tasks: Sequence[Task], resources: Resources, watch: Watch, peaks: Peaks) -> list[Outcome]:
    """Runs the tasks whose results are not in the store yet.

    Args:
        stage: what the tasks are for, shown to people.
        tasks: in the order in which they start.
        resources: how many run at a time, and with how much.
        watch: is told what happens.
        peaks: the memory that runs took so far.

    Returns:
        The results in the order of the tasks; an InputError for a task whose model cannot be built on its data.

    Raises:
        TrainingError: a process was killed twice on the same task.
        KeyboardInterrupt: Ctrl-C; the processes have ended, and the same tasks go on where they were stopped.
    """
    outcomes: dict[Any, Outcome] = {}
    unique = {_key(task): task for task in reversed(tasks)}  # the first of equal tasks gives its label
    unique = dict(reversed(unique.items()))
    watch.begin(stage, len(unique), jobs=resources.jobs)
    missing = []
    for key, task in unique.items():
        found = find(task)
        if found is None:
            missing.append(task)
        else:
            outcomes[key] = found
            if isinstance(found, Trained):
                peaks.add(found)
            watch.found(task, found)
    if missing and resources.jobs == 0:
        _run_here(missing, outcomes, resources, watch, peaks)
    elif missing:
        with _Pool(resources, watch, peaks, outcomes) as pool:
            pool.run(missing)
    return [outcomes[_key(task)] for task in tasks]


def _key(task: Task) -> Any:
    return task.folder, task.protocols


def _run_here(tasks: Sequence[Task], outcomes: dict, resources: Resources, watch: Watch, peaks: Peaks) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(resources.threads_each)
    try:
        for task in tasks:
            watch.started(task)
            is_new = False
            try:
                is_new = complete(task, _Seen(task, watch))
            except InputError as error:
                outcomes[_key(task)] = error
            else:
                outcomes[_key(task)] = _result_of(task, peaks)
            watch.finished(task, outcomes[_key(task)], is_new=is_new)
    finally:
        torch.set_num_threads(before)


class _Seen(Progress):
    """Tells the watch about epochs in this process."""

    def __init__(self, task: Task, watch: Watch):
        self.task, self.watch = task, watch

    def epoch(self, epoch: Epoch) -> None:
        self.watch.epoch(self.task, epoch)


def _result_of(task: Task, peaks: Peaks) -> Outcome:
    found = find(task)
    if found is None:
        raise TrainingError(f"{task.label}: the run {task.folder} is not complete. Remedy: run the study again")
    if isinstance(found, Trained):
        peaks.add(found)
    return found


class _Worker:
    """A process, and the task it works on."""

    def __init__(self, threads: int):
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, threads), daemon=True)
        self.process.start()
        theirs.close()
        self.task: Task | None = None

    def start(self, task: Task) -> None:
        self.pipe.send(task)
        self.task = task

    def close(self) -> None:
        self.process.kill()  # what it has written is whole, at any moment
        self.process.join()
        self.pipe.close()


class _Pool:
    def __init__(self, resources: Resources, watch: Watch, peaks: Peaks, outcomes: dict[Any, Outcome]):
        self.watch, self.peaks, self.outcomes = watch, peaks, outcomes
        self.threads, self.limit, self.jobs = resources.threads_each, resources.limit_gb, resources.jobs
        self.workers: list[_Worker] = []
        self.killed: set[Any] = set()  # tasks whose process was killed once

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()

    def run(self, tasks: Sequence[Task]) -> None:
        waiting = list(tasks)
        while waiting or any(worker.task for worker in self.workers):
            while (chosen := self._next(waiting)) is not None:
                waiting.remove(chosen)
                self.watch.started(chosen)
                self._start(chosen)
            busy = {worker.pipe: worker for worker in self.workers if worker.task}
            for pipe in connection.wait(list(busy), timeout=1.0):
                self._receive(busy[pipe], waiting)  # type: ignore[index]
            self.watch.tick()

    def _next(self, waiting: list[Task]) -> Task | None:
        """Returns the first task that fits beside those that run; any task fits where nothing runs."""
        running = [worker.task for worker in self.workers if worker.task is not None]
        if not waiting or len(running) >= self.jobs or any(_key(task) in self.killed for task in running):
            return None
        if not running:
            return waiting[0]
        free = self.limit - sum(self.peaks.estimate(task) for task in running)
        fits = (task for task in waiting if self.peaks.estimate(task) <= free and _key(task) not in self.killed)
        return next(fits, None)

    def _start(self, task: Task) -> None:
        for worker in [one for one in self.workers if one.task is None]:
            try:
                worker.start(task)
            except OSError:  # the process was killed while it was idle
                self._replace(worker)
            else:
                return
        self.workers.append(_Worker(self.threads))
        self.workers[-1].start(task)

    def _receive(self, worker: _Worker, waiting: list[Task]) -> None:
        task = worker.task
        assert task is not None
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            if _key(task) in self.killed:
                raise TrainingError(
                    f"{task.label}: its process was killed twice, the second time with nothing beside it. "
                    "Remedy: a machine with more memory, or a smaller dim or batch_size"
                ) from None
            self.killed.add(_key(task))
            waiting.append(task)
            self.watch.stopped(task)
            return
        if kind == "epoch":
            self.watch.epoch(task, content)
            return
        worker.task = None
        is_new = False
        if kind == "error":
            if not isinstance(content, InputError):
                raise content
            self.outcomes[_key(task)] = content
        else:
            is_new, is_worn = content
            self.outcomes[_key(task)] = _result_of(task, self.peaks)
            if is_worn:
                self._replace(worker)
        self.watch.finished(task, self.outcomes[_key(task)], is_new=is_new)

    def _replace(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.close()


def _work(pipe: connection.Connection, threads: int) -> None:
    """Runs tasks until the pipe is closed; a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its processes
    threading.Thread(target=_end_with_parent, name="medley-end-with-parent", daemon=True).start()
    torch.set_num_threads(threads)
    at_start = _resident_gb()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        is_measured = _forget_peak()
        try:
            is_new = complete(task, _Sent(pipe))
        except Exception as error:  # the parent decides what to do with it
            pipe.send(("error", error if isinstance(error, InputError | TrainingError) else _plain(task, error)))
            continue
        gc.collect()
        _give_back_memory()
        is_worn = not is_measured or _resident_gb() > at_start + KEPT_GB
        pipe.send(("done", (is_new, is_worn)))


def _plain(task: Task, error: Exception) -> TrainingError:
    """Replaces an error that may not survive the pipe."""
    return TrainingError(f"{task.label}: {type(error).__name__}: {error}. The run: {task.folder}")


class _Sent(Progress):
    """Sends epochs to the parent, at most a few per second."""

    def __init__(self, pipe: connection.Connection):
        self.pipe, self.last = pipe, 0.0

    def epoch(self, epoch: Epoch) -> None:
        if time.monotonic() - self.last > 0.25:
            self.last = time.monotonic()
            self.pipe.send(("epoch", epoch))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # at once: another process may go on with the run


def free_gb() -> float:
    """Memory that is free now, in GB (2^30 bytes); infinite where it cannot be read."""
    free = [float("inf")]
    about = Path("/proc/meminfo")
    if about.exists():
        lines = dict(line.split(":", 1) for line in about.read_text().splitlines())
        free.append(int(lines["MemAvailable"].split()[0]) / 2**20)
    for names in CGROUP_FILES:
        limit, use, parts = (CGROUP / name for name in names[:3])
        if limit.exists() and use.exists() and (number := limit.read_text().strip()).isdigit():
            cached = re.search(rf"^{names[3]} (\d+)$", parts.read_text() if parts.exists() else "", re.M)
            used = int(use.read_text()) - (int(cached[1]) if cached else 0)
            free.append(max(0, int(number) - used) / 2**30)
    return min(free)


def _resident_gb() -> float:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30 if statm.exists() else 0.0


def _forget_peak() -> bool:
    """Makes the peak memory of this process count from now on; False where the system cannot (not Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _give_back_memory() -> None:
    """Returns freed memory to the system, so that the next task is not charged for it (glibc)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
