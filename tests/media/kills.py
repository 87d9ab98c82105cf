"""A program that kills extractions: python kills.py FOLDER. It forks, so Medley is imported once for all of them.

FOLDER holds `data`, a data set, and `media`. Prints how often an extraction was killed, how often it came to its end,
and whether every end gave the bytes of an extraction that nothing disturbed.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.media import toys

from medley.data.dataset import Dataset
from medley.files import sha256_of_file
from medley.media import update
from medley.media.extract import extract

KILLS = 20


def child(data: Path, media: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            update.CHUNK = 3
            toys.SECONDS = 0.02
            options = {"visual": toys.COLOURS, "textual": toys.CENTRED, "scale": "standard"}
            extract(Dataset(data), media, text=["title"], batch=2, jobs=1, **options)
        finally:
            os._exit(0)
    return pid


def content(data: Path) -> dict[str, str]:
    files = [data / "manifest.json", *(data / "features").iterdir()]
    return {path.name: sha256_of_file(path) for path in files}


def num_chunks(data: Path) -> int:
    return len(list(data.glob(".extraction/*/*/*.safetensors")))


def wait_for_chunks(data: Path, pid: int, wanted: int) -> None:
    """Waits by progress, not by time: on a busy machine all moments would lie in one stage."""
    while num_chunks(data) < wanted and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.001)


def main(folder: Path) -> None:
    data, media = folder / "data", folder / "media"
    shutil.copytree(data, folder / "whole")
    began = time.monotonic()
    os.waitpid(child(folder / "whole", media), 0)
    seconds = time.monotonic() - began
    expected = content(folder / "whole")
    draw = random.Random(int(os.environ.get("SEED", "0")))
    killed, ends, chunks = 0, [], set()
    shutil.copytree(data, folder / "killed")
    while killed < KILLS:
        pid = child(folder / "killed", media)
        wait_for_chunks(folder / "killed", pid, num_chunks(folder / "killed") + draw.randrange(3))
        time.sleep(draw.uniform(0, seconds / 10))
        os.kill(pid, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            killed += 1
            Dataset(folder / "killed", verify=True)
            chunks.add(num_chunks(folder / "killed"))
            if killed < KILLS:
                continue
            os.waitpid(child(folder / "killed", media), 0)
        ends.append(content(folder / "killed") == expected)
        shutil.rmtree(folder / "killed")
        shutil.copytree(data, folder / "killed")
    print(json.dumps({"killed": killed, "ends": ends, "chunks": sorted(chunks), "files": sorted(expected)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
