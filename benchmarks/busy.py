"""What other processes cost: seconds per LightGCN epoch and per evaluation beside 0, 2 and 4 busy processes.

    python benchmarks/busy.py --data ../shared/data/tiktok

Every figure is the median of six epochs (three layers, batch 2048) or six evaluations of the test split in a process of
its own; the ways to wait take turns, and the median of --rounds processes is shown. Ratios compare with the fastest
idle way. A way that takes longer than 6 s is cut short.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
WAYS: dict[str, tuple[dict[str, str], str]] = {  # environment, module imported before medley
    "Medley's default": ({}, ""),
    "torch imported before Medley": ({}, "torch"),
    "spinning for 3 ms, GNU's default": ({"GOMP_SPINCOUNT": "300000"}, ""),
    "OMP_WAIT_POLICY=passive": ({"OMP_WAIT_POLICY": "passive"}, ""),
}
REPEATS = 6
SECONDS = 6  # for the epochs of one process, and again for its evaluations
SECONDS_OF_BUSY = 300  # a busy process ends by itself after so long, whatever happens to its parent


def main() -> None:
    """Measures every way beside every number of busy processes; prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the TikTok files")
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 2, 4], help="numbers of busy processes")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure is not None:
        print(json.dumps(measure(chosen.data, chosen.measure)))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the busy processes too
    figures: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        script = "import sys; import medley; medley.import_dataset('csv', *sys.argv[1:])"
        data = Path(folder) / "data"
        subprocess.run([sys.executable, "-c", script, chosen.data, data], check=True)
        for num_busy in chosen.busy:
            with busy_processes(num_busy):
                for _ in range(chosen.rounds):
                    for way in WAYS:
                        figures.setdefault((way, num_busy), []).append(run(way, data))
                        print(f"{num_busy} busy, {way}: {figures[way, num_busy][-1]}", file=sys.stderr)
    show(figures, chosen.busy)


def run(way: str, data: Path) -> tuple[float, float]:
    """Seconds per epoch and per evaluation, measured in a new process."""
    environment, first = WAYS[way]
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, __file__, "--data", str(data), "--measure", first]
    done = subprocess.run(command, env=kept | environment, check=True, capture_output=True, text=True, timeout=200)
    epoch, evaluation = json.loads(done.stdout.splitlines()[-1])
    return epoch, evaluation


def measure(folder: Path, first: str) -> tuple[float, float]:
    """Median seconds of an epoch and of an evaluation in this process; the first of each does not count."""
    if first:
        __import__(first)
    import medley

    data = medley.load(folder)
    model = medley.build("lightgcn", data, num_layers=3)
    medley.fit(model, data, num_epochs=1, batch_size=8192, patience=0, progress=False)  # compiles, allocates
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # ends `fit` as Ctrl-C does
    signal.alarm(SECONDS)
    begin = time.perf_counter()
    epochs = medley.fit(model, data, num_epochs=1 + REPEATS, batch_size=2048, patience=0, progress=False).epochs
    signal.alarm(0)
    trained = [epoch.seconds - epoch.seconds_validation for epoch in epochs]
    evaluated: list[float] = []
    begin = time.perf_counter()
    while len(evaluated) <= REPEATS and (not evaluated or time.perf_counter() - begin < SECONDS):
        begin_evaluation = time.perf_counter()
        medley.evaluate(model, data, split="test", at=range(1, 51), metrics=("precision", "recall", "ndcg"))
        evaluated.append(time.perf_counter() - begin_evaluation)
    epoch = statistics.median(trained[1:] or trained or [time.perf_counter() - begin])
    return epoch, statistics.median(evaluated[1:] or evaluated)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Runs processes that only count, and ends them whatever happens."""
    script = f"import time; end = time.time() + {SECONDS_OF_BUSY}\nwhile time.time() < end: pass"
    with ExitStack() as ending:
        for _ in range(count):
            process = ending.enter_context(subprocess.Popen([sys.executable, "-c", script]))
            ending.callback(process.kill)  # called before Popen's own context waits for the end
        yield


def show(figures: dict[tuple[str, int], list[tuple[float, float]]], busy: list[int]) -> None:
    """Prints seconds and ratios to the fastest way beside no busy process."""

    def figure(way: str, num_busy: int, which: int) -> float:
        return statistics.median(pair[which] for pair in figures[way, num_busy])

    print(f"{os.cpu_count()} cores; s (ratio to the fastest way in the first column)\n")
    for which, what in enumerate(("epoch", "evaluation")):
        best = min(figure(way, busy[0], which) for way in WAYS)
        print(f"| {what} |", " | ".join(f"{num_busy} busy" for num_busy in busy), "|")
        print("|---|" + "---:|" * len(busy))
        for way in WAYS:
            cells = [figure(way, num_busy, which) for num_busy in busy]
            print(f"| {way} |", " | ".join(f"{seconds:.3f} (x{seconds / best:.1f})" for seconds in cells), "|")
        print()


if __name__ == "__main__":
    main()
