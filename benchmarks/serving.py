"""What one server process answers: latency under open-loop load, alone, during hot swaps, and while items are added.

    python benchmarks/serving.py --items 10000 100000 1000000

`medley serve` runs in another process on simulated bundles: random vectors (dim 64 in two parts), raw features of one
modality, twenty seen items per user. Requests leave at fixed moments, `--rate` a second, whether or not earlier ones
are answered, and a latency counts from the moment at which a request was due: a server that falls behind cannot hide.
`requests/s` is the rate at which eight connections that never pause are answered. Load and server share the machine.
Prints a Markdown table; a request fails if its status is not 200 or its list is not full.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import scipy.sparse as sp

from medley.serving import bundle as bundles
from medley.serving.bundle import Bundle
from medley.serving.bundle_manifest import BundleManifest, Data, Modality
from medley.serving.fold_in import FoldIn
from medley.serving.fold_in import document as fold_in_document
from medley.serving.item_features import ItemFeatures
from medley.serving.new_items import NewItems
from medley.serving.new_items import document as new_items_document
from medley.serving.scores import Vectors
from medley.serving.seen import TRAIN
from medley.version import versions

DIM = 64
DIM_FEATURES = 32
NUM_SEEN = 20  # items per user
NUM_USERS = 20_000
NUM_SWAPS = 20
PUTS_PER_SECOND = 5
CONNECTIONS = 8  # of the closed loop
K = 10
SERVER = [sys.executable, "-c", "from medley.cli import main; main()", "serve"]
HEADER = "| items | index | ready after | phase | requests | p50 | p99 | slowest | failed | memory |"


class Phase(NamedTuple):
    """The latencies of one kind of load."""

    name: str
    latencies: list[float]  # seconds
    num_failed: int
    more: str = ""


def main() -> None:
    """Measures every size; prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase but the swaps")
    chosen = parser.parse_args()
    print(HEADER)
    print("|" + " --- |" * HEADER.count(" | "), end=" --- |\n")
    for num_items in chosen.items:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), num_items, chosen.rate, chosen.seconds)


def measure(folder: Path, num_items: int, rate: float, seconds: float) -> None:
    """Prints the rows of one size."""
    for seed in (0, 1):
        simulated(num_items, seed=seed).write(folder / f"bundle{seed}")
    path = folder / "shop"
    point(path, 0)
    with server(path) as (url, process, ready):
        host, port = url.removeprefix("http://").split(":")
        asyncio.run(
            show(Load(host, int(port)), process.pid, f"| {num_items:,} | {{}} | {ready:.1f} s", path, rate, seconds)
        )


async def show(load: "Load", pid: int, row: str, path: Path, rate: float, seconds: float) -> None:
    """Prints one row for each kind of load."""
    row = row.format((await load.json("GET", "/v1/model"))["index"])
    async for phase in load.phases(path, rate, seconds):
        shown = sorted(phase.latencies)
        figures = [f"{1e3 * each:.1f} ms" for each in (statistics.median(shown), percentile(shown, 0.99), shown[-1])]
        figures += [f"{phase.num_failed:,}", f"{memory(pid):,.0f} MiB"]
        print(f"{row} | {phase.name}{phase.more} | {len(shown):,} | {' | '.join(figures)} |", flush=True)


def percentile(shown: list[float], share: float) -> float:
    """Returns the least latency that at least this share of the requests did not exceed."""
    return shown[min(len(shown) - 1, int(np.ceil(share * len(shown))) - 1)]


def simulated(num_items: int, *, num_users: int = NUM_USERS, seed: int = 0) -> Bundle:
    """Returns a bundle of random vectors, with a popularity bias as real ones have."""
    rng = np.random.default_rng(seed)
    user = rng.normal(size=(num_users, DIM + 1)).astype(np.float32)
    item = rng.normal(size=(num_items, DIM + 1)).astype(np.float32)
    user[:, -1], item[:, -1] = 1, 0
    values = rng.normal(size=(num_items, DIM_FEATURES)).astype(np.float32)
    liked = np.sort((num_items * rng.power(0.5, size=(num_users, NUM_SEEN))).astype(np.int32), axis=1)
    pairs = np.unique(np.arange(num_users).repeat(NUM_SEEN) * num_items + liked.ravel())
    seen = sp.csr_array(
        (np.full(len(pairs), TRAIN, dtype=np.int8), (pairs // num_items, pairs % num_items)),
        shape=(num_users, num_items),
    )
    columns = np.arange(num_items)
    items = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(num_items)],
            "title": [f"Item {row}" for row in range(num_items)],
            "genre": np.array(["drama", "comedy", "crime", "music"])[columns % 4],
            "year": 1950 + columns % 75,
        }
    )
    fold_in = FoldIn(
        "map and least squares",
        {
            "A": np.eye(DIM, dtype=np.float32),
            "b": np.zeros(DIM, dtype=np.float32),
            "C": np.eye(DIM, dtype=np.float32),
            "centre": item[:, :-1].mean(axis=0),
            "mean": user[:, :-1].mean(axis=0),
            "covariance": np.cov(item[:1000, :-1].T).astype(np.float32),
        },
        {"target": 1.0, "noise": 10.0},
    )
    mean = values.mean(axis=0)
    new_items = NewItems(
        "neighbours",
        k={"visual": 10},
        weights={"visual": 1.0},
        known=np.ones(num_items, dtype=bool),
        means={"visual": mean},
        norms={"visual": np.linalg.norm(values - mean, axis=1)},
        centre=item.mean(axis=0),
        offset=np.ones(1, dtype=np.float32),
    )
    manifest = BundleManifest(
        model="simulated",
        recipe={},
        trained_at="2026-01-01T00:00:00+00:00",
        data=Data(name=f"simulated-{num_items}", parts={}, split_hash=""),
        num_users=num_users,
        num_items=num_items,
        kind="vectors",
        parts={"id": (0, DIM // 2), "visual": (DIM // 2, DIM)},
        modalities={"visual": Modality(dim=DIM_FEATURES, num_present=num_items)},
        scores={},
        fold_in=fold_in_document(fold_in),
        new_items=new_items_document(new_items),
        versions=versions(),
    )
    return bundles.of(
        manifest,
        users=pl.DataFrame({"user_id": [f"u{row}" for row in range(num_users)]}),
        items=items,
        scores=Vectors(user, item, {"id": slice(0, DIM // 2), "visual": slice(DIM // 2, DIM)}),
        seen=seen,
        features={"visual": ItemFeatures(values, np.ones(num_items, dtype=bool))},
        fold_in_rule=fold_in,
        new_item_rule=new_items,
    )


def point(path: Path, seed: int) -> None:
    """Lets the served path lead to one of the two bundles, in one step."""
    new = path.with_suffix(".new")
    new.symlink_to(f"bundle{seed}", target_is_directory=True)
    new.replace(path)


@contextmanager
def server(path: Path) -> Iterator[tuple[str, subprocess.Popen, float]]:
    """Runs `medley serve`; yields its URL, the process and the seconds until it was ready."""
    command = [*SERVER, str(path), "--port", "0", "--watch", "0", "--log-level", "warning"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        host, port = url.removeprefix("http://").split(":")
        asyncio.run(Load(host, int(port)).ready())
        yield url, process, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(60)


def memory(pid: int) -> float:
    """Returns the MiB that a process holds for itself; pages of mapped files, which can be dropped, are not counted."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


class Load:
    """Makes requests over connections that stay open."""

    def __init__(self, host: str, port: int):
        self.host, self.port, self.num_failed_puts = host, port, 0
        self.rng = np.random.default_rng(2)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def phases(self, path: Path, rate: float, seconds: float) -> AsyncIterator[Phase]:
        """Runs all kinds of load, one after the other."""
        await self.open_loop("", rate, running(2.0))  # warms caches and connections
        yield await self.open_loop(f"{rate:g} requests/s", rate, running(seconds))
        yield await self.closed_loop(seconds / 3)
        async with background(self.add()) as added:
            phase = await self.open_loop(f"{rate:g} requests/s, items are added", rate, running(seconds))
        failed = phase.num_failed + self.num_failed_puts
        yield phase._replace(more=f" ({len(added) - self.num_failed_puts})", num_failed=failed)
        async with background(self.swap(path)) as swaps:
            name = f"{rate:g} requests/s, {NUM_SWAPS} hot swaps"
            phase = await self.open_loop(name, rate, lambda: not swaps.has_ended)
        yield phase._replace(more=f" ({statistics.median(swaps):.2f} s each)")
        for _, writer in self._idle:
            writer.close()

    async def open_loop(self, name: str, rate: float, goes_on: Callable[[], bool]) -> Phase:
        """Sends requests at fixed moments."""
        latencies: list[float] = []
        failed: list[str] = []
        tasks: set[asyncio.Task] = set()
        began, number = time.perf_counter(), 0
        while goes_on():
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._timed(due, latencies, failed))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.gather(*tasks)
        if failed:
            print(f"{len(failed)} failed, for example: {failed[0]:.300}", file=sys.stderr)
        return Phase(name, latencies, len(failed))

    async def closed_loop(self, seconds: float) -> Phase:
        """Sends the next request as soon as the one before is answered, on each connection."""
        latencies: list[float] = []
        failed: list[str] = []
        goes_on = running(seconds)

        async def loop() -> None:
            while goes_on():
                await self._timed(time.perf_counter(), latencies, failed)

        await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))
        return Phase(f"{len(latencies) / seconds:,.0f} requests/s, without a pause", latencies, len(failed))

    async def add(self) -> AsyncIterator[float]:
        """Adds items, some a second."""
        number = 0
        while True:
            began = time.perf_counter()
            body = {"attributes": {"title": "new"}, "features": {"visual": self.rng.normal(size=DIM_FEATURES).tolist()}}
            status, _ = await self._ask("PUT", f"/v1/items/new{number}", body)
            self.num_failed_puts += status != 200
            number += 1
            yield time.perf_counter() - began
            await asyncio.sleep(1 / PUTS_PER_SECOND)

    async def swap(self, path: Path) -> AsyncIterator[float]:
        """Swaps the two bundles, again and again; an item is put after each swap."""
        for number in range(NUM_SWAPS):
            point(path, (number + 1) % 2)
            began = time.perf_counter()
            done = await self.json("POST", "/v1/admin/reload")
            assert done["result"] == "swapped", done
            await self.json("PUT", f"/v1/items/swap{number}", {"attributes": {"title": "new"}})
            yield time.perf_counter() - began

    async def ready(self) -> None:
        """Waits until the server is ready."""
        for _ in range(6000):
            try:
                if (await self._ask("GET", "/health/ready"))[0] == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)
        raise TimeoutError("the server is not ready after 300 s")

    async def json(self, method: str, path: str, body: object = None) -> dict:
        """Asks one question that must succeed."""
        status, content = await self._ask(method, path, body)
        assert status == 200, content
        return json.loads(content)

    async def _timed(self, due: float, latencies: list[float], failed: list[str]) -> None:
        user = self.rng.integers(NUM_USERS)
        try:
            status, content = await self._ask("GET", f"/v1/recommend/u{user}?k={K}")
            if status != 200 or content.count(b'"score"') != K:
                failed.append(f"{status} {content.decode()}")
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            failed.append(repr(error))
        latencies.append(time.perf_counter() - due)

    async def _ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = self._idle.pop() if self._idle else await asyncio.open_connection(self.host, self.port)
        reader, writer = connection
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        status_line, *headers = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in headers if line.lower().startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        self._idle.append(connection)
        return int(status_line.split()[1]), answer


def running(seconds: float) -> Callable[[], bool]:
    """Returns a function that is true for some seconds from now."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


class Steps(list[float]):
    """The seconds of the steps taken so far."""

    has_ended = False


@asynccontextmanager
async def background(steps: AsyncIterator[float]) -> AsyncIterator[Steps]:
    """Takes steps beside the block; yields their growing list. A step that fails fails the block when it ends."""
    taken = Steps()

    async def take() -> None:
        try:
            async for seconds in steps:
                taken.append(seconds)
        finally:
            taken.has_ended = True

    task = asyncio.create_task(take())
    try:
        yield taken
    finally:
        if task.done():
            await task
        task.cancel()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
