"""Cost of one epoch of each model, on TikTok and on the simulated shapes of the papers.

    python benchmarks/models.py --data ../shared/data/tiktok
    python benchmarks/models.py --shapes movielens tiktok kwai --models lightgcn mmgcn ludp dualgnn egogcn huign
    python benchmarks/models.py --data ../shared/data/tiktok --models vbpr bm3 --against ../before/src

Each model is built and trained in a process of its own, so that peak memory is measured per model. An epoch is timed on
its first batches (after two batches of warm-up) and scaled up; work that is done once per epoch is counted once.
"Build" is the construction of the model with its graphs, which may come from the cache on disk.

With `--against` two processes, one with these sources and one with those of another folder, take turns at the same
batches with one thread each, and the table has the ratios of their turns, so that noise hits both alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from medley import models
from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.training.device import peak_gb
from training import CACHE, Trainee, shape


def main() -> None:
    """Prints a Markdown table per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the TikTok files")
    parser.add_argument("--shapes", nargs="*", default=[], help="simulated shapes: movielens tiktok kwai")
    parser.add_argument("--models", nargs="*", default=list(models.MODELS))
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--batches", type=int, default=5, help="timed batches per model")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread: for a shared machine")
    parser.add_argument("--limit", type=float, default=900, help="seconds that one model may take")
    parser.add_argument("--dataset", type=Path, help="folder of a data set that `medley import` or `simulate` wrote")
    parser.add_argument("--against", type=Path, help="only: paired ratios with the sources in this folder")
    parser.add_argument("--rounds", type=int, default=7, help="turns with --against")
    parser.add_argument("--turns", nargs=2, metavar=("MODEL", "DATASET"), help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "DATASET"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.cpu or chosen.against or chosen.turns:
        torch.set_num_threads(1)
    if chosen.turns:
        take_turns(*chosen.turns, chosen)
        return
    if chosen.one:
        print(json.dumps(cost(*chosen.one, chosen)))
        return
    unit = "processor time" if chosen.cpu or chosen.against else "wall time"
    print_table = compare if chosen.against else table
    print(f"{torch.get_num_threads()} thread(s), {unit}, torch {torch.__version__}, batch {chosen.batch_size}")
    with tempfile.TemporaryDirectory() as folder:
        if chosen.data:
            print_table(import_dataset("csv", chosen.data, Path(folder) / "data"), chosen)
        if chosen.dataset:
            print_table(Dataset(chosen.dataset), chosen)
        for name in chosen.shapes:
            print_table(shape(name), chosen)


def table(data: Dataset, chosen: argparse.Namespace) -> None:
    """Prints one row per model."""
    print(f"\n{data}\n\n| model | build s | s/epoch | interactions/s | peak GB |\n|---|---:|---:|---:|---:|")
    for name in chosen.models:
        command = [sys.executable, __file__, "--one", name, str(data.folder)]
        command += ["--batch-size", str(chosen.batch_size), "--batches", str(chosen.batches)]
        command += ["--cpu"] if chosen.cpu else []
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=chosen.limit, check=False)
        except subprocess.TimeoutExpired:
            print(f"| {name} | not done in {chosen.limit:.0f} s | | | |", flush=True)
            continue
        if done.returncode:
            print(f"| {name} | {(done.stderr.strip().splitlines() or ['killed'])[-1]} | | | |", flush=True)
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        epoch = row["epoch"]
        trained = "- | -" if epoch is None else f"{epoch:.2f} | {len(data.train) / epoch:,.0f}"
        print(f"| {name} | {row['build']:.1f} | {trained} | {row['gb']:.2f} |", flush=True)


def cost(name: str, folder: str, chosen: argparse.Namespace) -> dict[str, float | None]:
    """Measures seconds to build, seconds per epoch (None: nothing to train) and peak GB of this process."""
    clock = time.process_time if chosen.cpu else time.perf_counter
    data = Dataset(folder)
    begin = clock()
    model = models.build(name, data.inputs())
    build = clock() - begin
    epoch = None
    if any(parameter.requires_grad for parameter in model.parameters()):
        trainee = Trainee(model.train(), data, chosen.batch_size, clock)
        trainee(max_batches=2)
        epoch = trainee(max_batches=chosen.batches)
    return {"build": build, "epoch": epoch, "gb": peak_gb()}


def compare(data: Dataset, chosen: argparse.Namespace) -> None:
    """Prints one row per model: seconds of an epoch before and now, and the ratios of the turns."""
    print(f"\n{data}\n\n| model | before, s/epoch | now | before / now | smallest | largest |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in chosen.models:
        command = [sys.executable, __file__, "--turns", name, str(data.folder)]
        command += ["--batch-size", str(chosen.batch_size), "--batches", str(chosen.batches)]
        folders = chosen.against.resolve(), Path(__file__).resolve().parents[1] / "src"
        both = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": str(folder)},
            )
            for folder in folders
        ]
        seconds = [[turn(process) for process in both] for _ in range(chosen.rounds)]
        for process in both:
            process.communicate()
        if None in seconds[-1]:
            print(f"| {name} | - | - | - | - | - |", flush=True)
            continue
        ratios = [before / now for before, now in seconds]
        medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
        row = [f"{x:.3f}" for x in medians] + [
            f"{x:.2f}" for x in (statistics.median(ratios), min(ratios), max(ratios))
        ]
        print(f"| {name} | {' | '.join(row)} |", flush=True)


def turn(process: subprocess.Popen[str]) -> float | None:
    """Lets a process of `take_turns` train once. Returns seconds per epoch, None where it has ended."""
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
        return float(process.stdout.readline())
    except (BrokenPipeError, ValueError):
        return None


def take_turns(name: str, folder: str, chosen: argparse.Namespace) -> None:
    """Trains on the next batches for each line of the standard input, and prints the processor time of an epoch."""
    data = Dataset(folder)
    trainee = Trainee(models.build(name, data.inputs()).train(), data, chosen.batch_size, time.process_time)
    trainee(max_batches=2)
    for _ in sys.stdin:
        print(trainee(max_batches=chosen.batches), flush=True)


if __name__ == "__main__":
    CACHE.mkdir(parents=True, exist_ok=True)
    main()
