"""Processes that decode and prepare media. A medium may crash its process, hang it or exhaust its memory: it fails
alone, and a fresh process goes on with the next one.

The processes are started as programs, not forked, and not through `multiprocessing`, which would run the user's script
again in each of them. Tasks and results are pickled by this library on both sides; results come from a process that has
read strangers' files, so only arrays and plain values are accepted from it.
"""

import io
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from medley.errors import InputError, MedleyError, MissingExtraError
from medley.media.limits import too_slow
from medley.media.worker import read_message, write_message

Task = TypeVar("Task")
Result = TypeVar("Result")
_Work = tuple[bytes, Future[Any]] | None  # a pickled task and where its result goes; None: no more work

LOOK_AHEAD = 32  # tasks that are begun before the caller takes their results: about a batch of an encoder
START_SECONDS = 120.0  # for a process to import what it needs, on a slow disk
CLOSED = "the workers are closed"
ONE_THREAD = {  # environment of a process: there are as many processes as cores to use
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "POLARS_MAX_THREADS"),
        "1",
    ),
    "TOKENIZERS_PARALLELISM": "false",
}
PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from medley.media.worker import serve; serve()"
PLAIN = {  # module -> what a result may be made of, besides plain values and the named tuples of this library
    "numpy": {"ndarray", "dtype"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
}


class Failed(NamedTuple):
    """The result of a task that failed."""

    reason: str


class Workers(Generic[Task, Result]):
    """A pool of processes that call one function; a context manager. Threads may share one pool."""

    def __init__(
        self,
        function: Callable[[Task], Result],
        *,
        jobs: int,
        seconds: float,
        memory: int,
        look_ahead: int = LOOK_AHEAD,
    ):
        """Prepares the pool; a process starts when there is a task for it.

        Args:
            function: can be pickled, and lives in a module that can be imported; its results are made of plain values,
                arrays and the named tuples of this library.
            jobs: processes.
            seconds: wall clock per task.
            memory: MiB that a process may take above what it holds when it starts (on Linux alone).
            look_ahead: tasks of `map` that are begun before their results are taken.

        Raises:
            InputError: the function cannot be sent to another process, or a number is below its bound.
        """
        for name, value, least in (("jobs", jobs, 1), ("memory", memory, 1), ("look_ahead", look_ahead, 1)):
            if value < least:
                raise InputError(f"{name} of workers", expected=f"{least} or more", got=value)
        if not seconds > 0:
            raise InputError("seconds of workers", expected="more than 0", got=seconds)
        setup = {"function": _pickled(function), "seconds": seconds, "memory": memory}
        self._look_ahead = max(look_ahead, jobs)
        self._processes = [_Process(setup, seconds, memory) for _ in range(jobs)]
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._finalizer = weakref.finalize(self, _kill, self._queue, self._processes)
        # daemons: a program that ends in the middle of a task, for example by Ctrl-C, does not wait for the task
        self._threads = [
            threading.Thread(target=_supervise, args=(process, self._queue), name="medley-workers", daemon=True)
            for process in self._processes
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Workers[Task, Result]":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all processes at once, whatever they are doing."""
        self._finalizer()
        for thread in self._threads:
            thread.join()

    def submit(self, task: Task) -> "Future[Result | Failed]":
        """Hands one task to the next free process; the future gives its result, or Failed."""
        if not self._finalizer.alive:
            raise MedleyError(CLOSED)
        future: Future[Result | Failed] = Future()
        self._queue.put((_pickled(task), future))
        return future

    def map(self, tasks: Iterable[Task]) -> Iterator[Result | Failed]:
        """Yields the results in the order of the tasks. Later tasks go on while the caller works with a result.

        Raises:
            MissingExtraError: the function needs packages that are not installed.
            InputError: of the function.
        """
        begun: deque[Future[Result | Failed]] = deque()
        try:
            for task in tasks:
                begun.append(self.submit(task))
                if len(begun) > self._look_ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def _supervise(process: "_Process", work: "queue.SimpleQueue[_Work]") -> None:
    """Gives one process its tasks, one after the other."""
    while (each := work.get()) is not None:
        task, future = each
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(process.call(task))
        except BaseException as error:
            future.set_exception(error)
        del each, task, future  # a thread that waits keeps no result


class _Process:
    """One process of the pool, which is started again after it has ended."""

    def __init__(self, setup: dict[str, Any], seconds: float, memory: int):
        self._setup, self._seconds, self._memory = setup, seconds, memory
        self._popen: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # closing and starting exclude each other
        self._closed = False

    def call(self, task: bytes) -> Any:
        """Returns the result of the task, or Failed. One caller at a time."""
        popen = self._popen
        if popen is None or popen.poll() is not None:
            popen = self._start()
        answer, in_time = _exchange(popen, task, self._seconds)
        if answer is None:
            code = self._end()
            if self._closed:
                return Failed("the work was stopped")
            return Failed(_died(code) if in_time else too_slow(self._seconds))
        kind, value = answer
        if kind == "memory":
            self._end()  # what is left of its memory is in pieces
            return Failed(f"needs more than {self._memory:,} MiB of memory")
        if kind == "result":
            return value
        if kind == "failed":
            return Failed(value)
        raise _error(kind, value)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._closed:
                raise MedleyError(CLOSED)
            self._popen = popen = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # codecs write there what they notice in a file
                env=os.environ | ONE_THREAD,
                start_new_session=True,  # Ctrl-C is for the parent, which ends its processes
            )
        answer, in_time = _exchange(popen, pickle.dumps(self._setup), START_SECONDS)
        if answer is not None and answer[0] == "result":
            return popen
        code = self._end()
        if self._closed:
            raise MedleyError(CLOSED)
        if answer is not None:
            raise MedleyError(f"a worker process cannot start: {answer[1]}")
        raise MedleyError(f"a worker process cannot start: {_died(code) if in_time else too_slow(START_SECONDS)}")

    def _end(self) -> int:
        """Ends the process and returns its exit code."""
        popen = self._popen
        if popen is None:
            return 0
        popen.kill()  # does nothing if the process has ended by itself
        code = popen.wait()
        for pipe in (popen.stdin, popen.stdout):
            if pipe is not None:
                with suppress(OSError):  # bytes that were not written
                    pipe.close()
        self._popen = None
        return code

    def close(self) -> None:
        """Kills the process; a call in progress returns."""
        with self._lock:
            self._closed = True
            popen = self._popen
            if popen is not None:
                popen.kill()
                popen.wait()


def _kill(work: "queue.SimpleQueue[_Work]", processes: list[_Process]) -> None:
    with suppress(queue.Empty):
        while (each := work.get_nowait()) is not None:
            each[1].cancel()
    for process in processes:
        work.put(None)
        process.close()


def _exchange(popen: "subprocess.Popen[bytes]", message: bytes, seconds: float) -> tuple[Any, bool]:
    """Sends a message and returns (the answer, or None if the process has ended; whether it was in time)."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        popen.kill()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        write_message(popen.stdin, message)  # type: ignore[arg-type]
        answer = read_message(popen.stdout)  # type: ignore[arg-type]
        return (None if answer is None else _Plain(io.BytesIO(answer)).load()), not late.is_set()
    except (OSError, ValueError):  # the process has ended, or the pool was closed
        return None, not late.is_set()
    finally:
        timer.cancel()


class _Plain(pickle.Unpickler):
    """Reads arrays and plain values; refuses to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if name in PLAIN.get(module, ()):
            return super().find_class(module, name)
        if module.startswith("medley."):
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, tuple):
                return found
        raise MedleyError(f"the result of a worker holds a {module}.{name}; expected arrays and plain values")


def _pickled(value: Any) -> bytes:
    try:
        data = pickle.dumps(value, protocol=5)
    except Exception as error:  # pickle raises what the object raises
        raise InputError("cannot be sent to a worker process", expected="an object of a module", got=error) from None
    if b"__main__" in data and getattr(value, "__module__", None) == "__main__":
        remedy = "move the function to a module that can be imported"
        raise InputError("cannot be sent to a worker process", got="an object of the main script", remedy=remedy)
    return data


def _died(code: int) -> str:
    """Why a process ended by itself."""
    if code < 0:
        try:
            return f"the decoder crashed ({signal.Signals(-code).name})"
        except ValueError:
            return f"the decoder crashed (signal {-code})"
    return f"the decoder ended its process (exit code {code})"


def _error(kind: str, text: str) -> Exception:
    """The error of a process, with the same text."""
    if kind == "MissingExtraError":
        error = MissingExtraError.__new__(MissingExtraError)
        ImportError.__init__(error, text)  # its own constructor would write another sentence around the text
        return error
    return InputError(text) if kind == "InputError" else MedleyError(text)
