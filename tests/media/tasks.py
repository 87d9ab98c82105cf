"""Functions that the worker processes of tests/media/test_workers.py run; a process imports this module."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from medley.errors import InputError, MissingExtraError
from medley.media.decode import MediaError, decode_frames, decode_image, decode_sound


def act(task: tuple[str, Any]) -> Any:
    """Does what the task names."""
    what, value = task
    if what == "sleep":
        time.sleep(value)
    elif what == "touch":
        Path(value).touch()
    elif what == "signal":
        os.kill(os.getpid(), value)
        time.sleep(10)
    elif what == "abort":
        os.abort()
    elif what == "exit":
        os._exit(value)
    elif what == "allocate":
        return len(np.ones(value * 2**20, dtype=np.uint8))
    elif what == "media error":
        raise MediaError(value)
    elif what == "missing":
        raise MissingExtraError(value, "media")
    elif what == "input":
        raise InputError(value)
    elif what == "bug":
        return 1 / 0
    elif what == "code":
        return Path(value)  # a result that is neither an array nor a plain value
    elif what == "print":
        print(value, flush=True)
        os.write(1, b"from a codec")
    elif what == "pid":
        return os.getpid()
    elif what == "environment":
        import sys

        return {
            "torch": "torch" in sys.modules,
            "threads": os.environ["OMP_NUM_THREADS"],
            "interrupt": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        }
    return value


def decoded(task: tuple[str, bytes]) -> tuple[str, tuple[int, ...], int]:
    """Decodes a medium and returns (kind, shape, MiB that this process has held at most since it began)."""
    kind, content = task
    if kind == "image":
        array = decode_image(content)
    elif kind == "sound":
        array = decode_sound(content, 16_000)
    else:
        array = np.stack(decode_frames(content))
    array.tobytes()  # reads each value
    return kind, array.shape, _peak() - AT_FIRST


def _peak() -> int:
    """MiB; getrusage would count the parent, which had more when it started this process."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


AT_FIRST = _peak()
