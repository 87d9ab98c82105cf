"""The program of one worker process: reads a function, then tasks, and writes results. `workers.py` starts it."""

import os
import pickle
import queue
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from medley.errors import InputError, MedleyError, MissingExtraError
from medley.media.limits import MediaError

LENGTH = struct.Struct(">Q")  # bytes of the message that follows
GRACE_SECONDS = 10.0  # after which a process whose parent is gone ends itself, whatever it is doing


def write_message(pipe: BinaryIO, message: bytes) -> None:
    """Writes one message, its length first."""
    pipe.write(LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def read_message(pipe: BinaryIO) -> bytes | None:
    """Returns the next message; None at the end, also in the middle of a message."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else None


def serve() -> None:
    """The program of a process: reads a function, then tasks; writes results; ends when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a codec prints must not mix into the results
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(tasks, inbox), daemon=True).start()
    setup = pickle.loads(inbox.get())
    try:
        function = pickle.loads(setup["function"])
    except Exception as error:
        write_message(results, pickle.dumps(("failed", f"{type(error).__name__}: {error}")))
        return
    _limit_memory(setup["memory"])
    write_message(results, pickle.dumps(("result", None)))
    while True:
        task = inbox.get()
        _alarm(setup["seconds"] + GRACE_SECONDS)
        answer = _answer(function, task)
        _alarm(0)
        write_message(results, answer)


def _receive(tasks: BinaryIO, inbox: "queue.SimpleQueue[bytes]") -> None:
    """Waits for tasks in a thread of its own, so that the end of the parent is noticed in the middle of a task."""
    while True:
        task = read_message(tasks)
        if task is None:
            os._exit(1)
        inbox.put(task)


def _answer(function: Callable[[Any], Any], task: bytes) -> bytes:
    try:
        return pickle.dumps(("result", function(pickle.loads(task))), protocol=5)
    except MemoryError:
        return pickle.dumps(("memory", None))
    except MediaError as error:
        return pickle.dumps(("failed", str(error)))
    except MedleyError as error:
        kind = next((each for each in (MissingExtraError, InputError) if isinstance(error, each)), MedleyError)
        return pickle.dumps((kind.__name__, str(error)))
    except Exception as error:  # preparing odd content may raise anything
        return pickle.dumps(("failed", f"{type(error).__name__}: {error}"))


def _limit_memory(mebibytes: int) -> None:
    """Bounds what this process may take above what it holds now, where the system can count it (Linux)."""
    try:
        import resource

        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = held + mebibytes * 2**20
        if most != resource.RLIM_INFINITY:
            limit = min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file behind
    except (ImportError, OSError, StopIteration):
        return


def _alarm(seconds: float) -> None:
    """Lets the system end this process after so many seconds; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
