"""Extraction of features from media: items per second, where the time goes, what more processes bring, and memory.

    python benchmarks/media.py --data ../shared/data     # everything, about 3 minutes on 2 quiet cores
    python benchmarks/media.py --device cuda             # the networks on a GPU
    python benchmarks/media.py --quick                   # less of everything, under 30 s
    python benchmarks/media.py --only rate jobs          # some of: rate, jobs, memory

Photographs, texts and clips of --data are left out where the folder lacks them; rendered clips and sounds are always
there. Encoders are the defaults. Every rate is that of a pool of processes that runs already, and includes reading,
hashing and the journal. CPU milliseconds are measured part by part in one process with one thread; on a GPU, `network`
is wall clock. Ways to divide the work take turns, and ratios compare the rounds one by one: other programs on the
machine slow both sides of a ratio.
"""

import argparse
import io
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import medley
from medley.engine.threads import sharing_cores
from medley.media.decode import Limits, MediaError, decode_frames, decode_image, decode_sound
from medley.media.encoders import DEFAULTS, Encoder, find
from medley.media.extract import default_jobs, extract
from medley.media.files import ItemMedia, find_media
from medley.media.item import Batches, media_of, prepare_of
from medley.media.journal import Journal
from medley.media.pieces import Made, Medium, Preparation, Preparations, Task, state_of
from medley.media.progress import ExtractProgress
from medley.media.render import FOLDER, TABLE, simulate_media
from medley.media.update import Modality, update
from medley.media.workers import Workers

BATCH = 32  # the default of medley extract
PARTS = ("read", "decode", "prepare", "hand over", "network")
BLAS = "OPENBLAS_NUM_THREADS"
MEMORY = ("before", "peak")
SIDE = 8  # pixels of the tiny images that memory is measured with


def main() -> None:
    """Prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with hm and clips")
    parser.add_argument("--only", nargs="+", choices=("rate", "jobs", "memory"), default=["rate", "jobs", "memory"])
    parser.add_argument("--device", default="cpu", help="of the networks")
    parser.add_argument(
        "--jobs", type=int, nargs="+", help="numbers of processes to compare [default: 1 2 4, quick: 1 2]"
    )
    parser.add_argument("--rounds", type=int, help="of each comparison [default: 3, quick: 1]")
    parser.add_argument("--visual", default=DEFAULTS["image"], metavar="ENCODER")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--find", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak is not None:
        print(json.dumps(peak(args.peak, only_find=args.find)))
        return
    if BLAS not in os.environ:  # read when numpy is loaded; processes that decode have one thread too
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {BLAS: "1"})
    where = f"{torch.cuda.get_device_name()}, " if args.device.startswith("cuda") else ""
    print(f"{where}{default_jobs()} processes by default, {torch.get_num_threads()} torch threads\n")
    with tempfile.TemporaryDirectory() as folder:
        if {"rate", "jobs"} & set(args.only):
            cases = list(Cases(Path(folder), args.data, args.device, args.visual, quick=args.quick))
            rounds = args.rounds or (1 if args.quick else 3)
            if "rate" in args.only:
                show_rates(cases, rounds)
            if "jobs" in args.only:
                show_jobs(
                    [case for case in cases if case.encoder.reads != "text"],
                    args.jobs or [1, 2, 4][: 2 if args.quick else 3],
                    rounds,
                )
        if "memory" in args.only:
            show_memory(Path(folder), (100, 1_000) if args.quick else (2_000, 20_000), 5_000 if args.quick else 200_000)


class Case:
    """The media of some items, and their encoder."""

    def __init__(self, name: str, encoder: Encoder, media: Sequence[list[Medium]], folder: Path):
        """Prepares the work of a process; journals are written below `folder`."""
        self.name, self.encoder, self.folder = name, encoder, folder
        self.media = dict(enumerate(media))
        self.limits = Limits()
        self.preparation = Preparation(prepare_of(encoder), self.limits)
        self._round = 0

    @contextmanager
    def pool(self, jobs: int) -> Iterator[Workers]:
        """Yields a pool whose processes run already; texts need none."""
        function = Preparations({self.name: self.preparation})
        with Workers(function, jobs=jobs, seconds=self.limits.seconds, memory=self.limits.memory) as workers:
            if self.encoder.reads != "text":
                list(workers.map([Task(self.name, self.media[0][0])] * 4 * jobs))
            yield workers

    def seconds(self, workers: Workers) -> float:
        """Returns the wall clock of an extraction, without finding the media and without writing the modality."""
        self._round += 1
        journal = Journal(self.folder, self.name, {"round": self._round})
        modality = Modality(self.name, self.encoder, {}, self.preparation, journal, self.media, {})
        begin = time.perf_counter()
        update(modality, workers, batch=BATCH, num_items=len(self.media), progress=ExtractProgress())
        return time.perf_counter() - begin

    def seconds_in_turn(self, workers: Workers) -> float:
        """Returns the wall clock of the same work where nothing overlaps: one medium after the other."""
        batches, begin = Batches(self.encoder, BATCH), time.perf_counter()
        with sharing_cores():
            for media in self.media.values():
                for medium in media:
                    is_text = self.encoder.reads == "text"
                    made = self.preparation(medium) if is_text else workers.submit(Task(self.name, medium)).result()
                    if isinstance(made, Made) and not made.error:
                        batches.add(made.pieces)
            batches.finish()
        return time.perf_counter() - begin

    def parts(self) -> dict[str, float]:
        """Returns the seconds of each part of the work, for all items together, with one thread."""
        seconds, prepared = dict.fromkeys(PARTS, 0.0), []
        with one_thread():
            for media in self.media.values():
                prepared += [each for medium in media if (each := self._prepared(medium, seconds)) is not None]
            with adding(seconds, "network", wall=getattr(self.encoder, "_device", torch.device("cpu")).type != "cpu"):
                batches = Batches(self.encoder, BATCH)
                for pieces in prepared:
                    batches.add(pieces)
                batches.finish()
        return seconds

    def _prepared(self, medium: Medium, seconds: dict[str, float]) -> Any:
        """Returns the pieces of a medium; None if it cannot be used, such as a clip without sound."""
        kind, source = medium
        with adding(seconds, "read"):
            state_of(source, self.limits)
        if isinstance(source, str):
            with adding(seconds, "prepare"):
                return self.encoder.prepare(source)
        try:
            with adding(seconds, "decode"):
                if kind == "sound":
                    decoded = [decode_sound(source, self.encoder.rate, self.limits)]
                else:
                    decoded = decode_frames(source, self.limits) if kind == "frames" else [decode_image(source)]
            with adding(seconds, "prepare"):
                pieces = np.concatenate([self.encoder.prepare(each) for each in decoded])
        except MediaError:
            return None
        with adding(seconds, "hand over"):
            return pickle.loads(pickle.dumps(pieces, protocol=5))


class Cases:
    """The cases that can be measured here."""

    def __init__(self, folder: Path, data: Path, device: str, visual: str, *, quick: bool):
        """Args: folder to write to, data to read, device and encoder of images, and whether few items do."""
        self.folder, self.data, self.device, self.visual, self.quick = folder, data, device, visual, quick

    def __iter__(self) -> Iterator[Case]:
        """Yields the cases; says which are left out."""
        image, layout = self._find(self.visual, "image"), self._find("colour-layout", "image")
        sound, text = self._find(DEFAULTS["sound"], "sound"), self._find(DEFAULTS["text"], "text")
        photographs = sorted((self.data / "hm" / "images").glob("*.jpg"))[: 20 if self.quick else None]
        clips = sorted((self.data / "clips").glob("*.mp4"))
        if photographs and (articles := self.data / "hm" / "articles.parquet").exists():
            media = [[Medium("image", path)] for path in photographs]
            yield from self._case("photographs", image, media)
            yield from self._case("photographs", layout, media * (1 if self.quick else 3))
            columns = ["prod_name", "product_type_name", "detail_desc"]
            rows = pl.read_parquet(articles, columns=columns).head(32 if self.quick else 128).rows()
            yield from self._case("texts", text, [[Medium("text", ". ".join(filter(None, row)))] for row in rows])
        else:
            print(f"no {self.data / 'hm'}: photographs and texts are left out", file=sys.stderr)
        if clips:
            seen, heard = (clips[:1], clips) if self.quick else (clips, clips * 6)
            yield from self._case("clips", image, [[Medium("frames", path)] for path in seen])
            yield from self._case("clips", sound, [[Medium("sound", path)] for path in heard])
        else:
            print(f"no {self.data / 'clips'}: clips are left out", file=sys.stderr)
        rendered = self._rendered()
        seen = [each for item in rendered if (each := media_of(item, "image"))]
        yield from self._case("rendered", image, seen[: 4 if self.quick else 16])
        yield from self._case("rendered", sound, [each for item in rendered if (each := media_of(item, "sound"))])

    def _find(self, spec: str, reads: str) -> Encoder | None:
        try:
            return find(spec, reads, device=self.device)
        except ImportError as error:  # MissingExtraError is one
            print(f"{spec} is left out: {error}", file=sys.stderr)
            return None

    def _case(self, name: str, encoder: Encoder | None, media: Sequence[list[Medium]]) -> Iterator[Case]:
        if encoder is not None:
            yield Case(f"{name}, {encoder.name}", encoder, media, self.folder)

    def _rendered(self) -> list[ItemMedia]:
        """Returns the media of a simulated catalogue; none if the packages are absent."""
        num_items = 24 if self.quick else 120
        shape = {"num_items": num_items, "num_users": num_items, "num_interactions": 5 * num_items, "num_clusters": 8}
        try:
            data = simulate_media(self.folder / "simulated", settings=medley.preset("demo", **shape), seed=0)
        except ImportError as error:
            print(f"rendered media are left out: {error}", file=sys.stderr)
            return []
        return list(find_media(data, data.folder / FOLDER / TABLE).media.values())


@contextmanager
def adding(seconds: dict[str, float], part: str, *, wall: bool = False) -> Iterator[None]:
    """Adds the CPU seconds of the block, or its wall clock, to a part."""
    clock = time.perf_counter if wall else time.process_time
    begin = clock()
    try:
        yield
    finally:
        seconds[part] += clock() - begin


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch use one thread, so that CPU seconds hold no waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def show_rates(cases: list[Case], rounds: int) -> None:
    """Prints a row per case: the rate of the defaults, and CPU milliseconds per item of each part."""
    print(
        f"| media, encoder | items | items/s | {' | '.join(f'{part}, ms' for part in PARTS)} | in turn / overlapping |"
    )
    print("|---|" + "---:|" * (len(PARTS) + 3))
    for case in cases:
        if not case.media:
            continue
        with case.pool(default_jobs()) as workers:
            case.seconds(workers)  # warms caches and allocators
            parts = case.parts()
            pairs = [(case.seconds_in_turn(workers), case.seconds(workers)) for _ in range(rounds)]
        total, count = sum(parts.values()), len(case.media)
        cells = [f"{1e3 * parts[part] / count:.2f} ({parts[part] / total:.0%})" for part in PARTS]
        rate = count / statistics.median(both for _, both in pairs)
        gain = statistics.median(turn / both for turn, both in pairs)
        print(f"| {case.name} | {count:,} | {rate:,.1f} | {' | '.join(cells)} | x{gain:.2f} |", flush=True)
    print()


def show_jobs(cases: list[Case], jobs: list[int], rounds: int) -> None:
    """Prints a row per case: seconds with the first number of processes, and how much faster the others are."""
    others = " | ".join(f"{number} against {jobs[0]}" for number in jobs[1:])
    print(f"| media, encoder | {jobs[0]} process{'es' if jobs[0] > 1 else ''}, s | {others} |")
    print("|---|" + "---:|" * len(jobs))
    for case in cases:
        if not case.media:
            continue
        seconds: dict[int, list[float]] = {number: [] for number in jobs}
        for number in range(rounds):
            for each in jobs if number % 2 else reversed(jobs):
                with case.pool(each) as workers:
                    seconds[each].append(case.seconds(workers))
        first = seconds[jobs[0]]
        gains = [[a / b for a, b in zip(first, seconds[each], strict=True)] for each in jobs[1:]]
        cells = [f"x{statistics.median(gain):.2f} ({min(gain):.2f} to {max(gain):.2f})" for gain in gains]
        print(f"| {case.name} | {statistics.median(first):.2f} | {' | '.join(cells)} |", flush=True)
    print()


def show_memory(folder: Path, sizes: Sequence[int], num_files: int) -> None:
    """Prints the peaks of extracting tiny images, and of finding many files, each in a process of its own."""
    print("| tiny images | items/s | MiB before | peak MiB |\n|---:|---:|---:|---:|")
    for size in sizes:
        found = measured(catalogue(folder / f"images{size}", size, tiny_image()))
        print(f"| {size:,} | {' | '.join(f'{found[key]:,.0f}' for key in ('rate', *MEMORY))} |", flush=True)
    found = measured(catalogue(folder / "files", num_files, b""), "--find")
    more = found["peak"] - found["before"]
    print(f"\nFinding {num_files:,} files: {found['seconds']:.1f} s, {more:,.0f} MiB beside {found['before']:,.0f} MiB")


def catalogue(folder: Path, num_items: int, content: bytes) -> Path:
    """Writes a data set, and an image file of this content per item."""
    ids = np.arange(num_items)
    medley.Dataset.from_frames({"user_id": ids % 100, "item_id": ids}, items={"item_id": ids}, out=folder / "data")
    (folder / "media").mkdir()
    for item in ids:
        (folder / "media" / f"{item}.png").write_bytes(content)
    return folder


def tiny_image() -> bytes:
    """Returns a PNG file of SIDE x SIDE pixels."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


def measured(folder: Path, *options: str) -> dict[str, float]:
    """Runs `peak` in a new process."""
    command = [sys.executable, __file__, "--peak", str(folder), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak(folder: Path, *, only_find: bool) -> dict[str, float]:
    """Returns seconds, items per second and MiB of finding the media of a catalogue or of extracting their features."""
    data = medley.load(folder / "data")
    find("colour-layout", "image")
    before, begin = mebibytes(), time.perf_counter()
    if only_find:
        find_media(data, folder / "media")
    else:
        extract(data, folder / "media", visual="colour-layout")
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "rate": data.manifest.num_items / seconds, "before": before, "peak": mebibytes()}


def mebibytes() -> float:
    """Returns the largest memory of this process so far (Linux); `getrusage` would count that of its parent too."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main()
