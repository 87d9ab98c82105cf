"""Seconds per training epoch and for one validation + test evaluation, opponents in the same run.

    python benchmarks/training.py --data ../shared/data/tiktok            # TikTok, every model and opponent
    python benchmarks/training.py --shapes movielens tiktok kwai          # simulated shapes of the papers
    python benchmarks/training.py --data ../shared/data/tiktok --to 0.087 # wall time to a test Recall@20
    python benchmarks/training.py --data ../shared/data/tiktok --precision # bf16 against float32
    python benchmarks/training.py --scaling                               # from 100 thousand to 10 million interactions

Rounds are interleaved (one epoch of each contender in turn), so that noise hits all alike; medians are printed, and
ratios are taken round by round.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from opponents import OPPONENTS

from medley import models
from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.simulate import preset, simulate
from medley.evaluation.evaluator import Evaluator
from medley.runs import TrainSettings
from medley.training.device import peak_gb
from medley.training.fit import fit
from medley.training.sampling import TripletSampler, batches

CACHE = Path("runs/bench")


class Trainee:
    """A model with its optimiser and batches; one call is one epoch and returns its seconds."""

    def __init__(
        self,
        model: torch.nn.Module,
        data: Dataset,
        batch_size: int,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.model, self.batch_size, self.clock = model, batch_size, clock
        self.sampler = TripletSampler(data.train, torch.Generator().manual_seed(0))
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        self.sampling: list[float] = []

    def __call__(self, max_batches: int | None = None) -> float:
        begin = self.clock()
        epoch = self.sampler.epoch()
        self.sampling.append(self.clock() - begin)
        if isinstance(self.model, models.Recommender):
            with torch.no_grad():
                self.model.start_epoch()
        once = self.clock() - begin
        done = 0
        for done, batch in enumerate(batches(epoch, self.batch_size), start=1):
            self.optimizer.zero_grad(set_to_none=True)
            self.model.loss(batch).backward()
            self.optimizer.step()
            if done == max_batches:
                break
        whole = -(-len(self.sampler) // self.batch_size)
        return (self.clock() - begin - once) * whole / done + once


def compare_epochs(data: Dataset, name: str, *, batch_size: int, rounds: int, **options: object) -> None:
    """Times Medley and the opponents, one epoch each in turn; prints medians and paired ratios."""
    inputs = data.inputs()
    trainees = {"medley": Trainee(models.build(name, inputs, **options), data, batch_size)}
    for label, opponent in OPPONENTS.get(name, {}).items():
        try:
            trainees[label] = Trainee(opponent(inputs), data, batch_size)
        except ImportError as error:
            print(f"  {label}: not installed ({error.name})")
    seconds: dict[str, list[float]] = {label: [] for label in trainees}
    for trainee in trainees.values():
        trainee(max_batches=2)  # compiles, allocates
    for _ in range(rounds):
        for label, trainee in trainees.items():
            seconds[label].append(trainee())
    own = seconds["medley"]
    for label, values in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(values, own, strict=True)]
        print(
            f"  {name:10s} {label:34s} {statistics.median(values):8.3f} s/epoch "
            f"(min {min(values):.3f}, max {max(values):.3f})  x{statistics.median(ratios):.1f}"
        )
    share = statistics.median(trainees["medley"].sampling) / statistics.median(own)
    rate = len(data.train) / statistics.median(own)
    print(f"  {name:10s} sampling {share:.1%} of the epoch, {rate:,.0f} interactions/s, peak {peak_gb():.2f} GB")


def time_evaluation(data: Dataset, *, rounds: int) -> None:
    """Times one validation and one test evaluation with precision, recall and NDCG at 1..50."""
    model = models.build("mf", data.inputs())
    evaluators = [
        Evaluator(data, split=split, at=range(1, 51), metrics=("precision", "recall", "ndcg"))
        for split in ("valid", "test")
    ]

    def both() -> None:
        for evaluator in evaluators:
            evaluator(model.scorer())

    seconds = timed(both, rounds)
    middle, least = statistics.median(seconds), min(seconds)
    print(f"  evaluation, validation + test, P/R/NDCG at 1..50: {middle:.3f} s (min {least:.3f})")


def time_to(data: Dataset, wanted: float) -> None:
    """Times the training of a LightGCN chosen on validation, for three seeds, and prints its test Recall@20.

    lr, reg and batch size were chosen by mean validation Recall@20 over these seeds among five points.
    """
    for seed in range(3):
        begin = time.perf_counter()
        model = models.build("lightgcn", data.inputs(), seed=seed, num_layers=3, reg=1e-2)
        history = fit(model, data, TrainSettings(lr=1e-2, batch_size=8192, num_epochs=60, patience=8))
        seconds = time.perf_counter() - begin
        recall = Evaluator(data, split="test", at=(20,), metrics=("recall",))(model.scorer()).metrics["recall@20"]
        verdict = "reached" if recall >= wanted else "NOT reached"
        print(
            f"  LightGCN, seed {seed}: test Recall@20 {recall:.4f} ({wanted} {verdict}) after {seconds:.1f} s, "
            f"{len(history.epochs)} epochs, validation {history.best:.4f} in epoch {history.best_epoch}"
        )


def compare_precisions(data: Dataset, names: Sequence[str]) -> None:
    """Prints validation Recall@20 and seconds per epoch of float32 and bf16, three seeds each."""
    for name in names:
        for precision in ("float32", "bf16"):
            settings = TrainSettings(
                lr=5e-3 if name == "lightgcn" else 1e-3, num_epochs=40, patience=8, precision=precision
            )
            best, seconds = [], []
            for seed in range(3):
                model = models.build(name, data.inputs(), seed=seed)
                history = fit(model, data, settings)
                best.append(history.best or 0.0)
                seconds.append(history.seconds / len(history.epochs))
            spread = f"{statistics.mean(best):.4f} +- {statistics.stdev(best):.4f}"
            print(
                f"  {name:10s} {precision:8s} validation Recall@20 {spread}, {statistics.median(seconds):.2f} s/epoch"
            )


def time_scaling(sizes: Sequence[int] = (100_000, 316_000, 1_000_000, 3_160_000, 10_000_000)) -> None:
    """Times LightGCN with 30 steps per epoch at every size: the batch grows with the data. (With a fixed batch, every
    step still propagates over the whole graph, so the time of an epoch is quadratic in any implementation.)"""
    seconds = []
    for size in sizes:
        data = shape(
            "demo",
            num_users=size // 20,
            num_items=size // 50,
            num_interactions=size,
            modalities={"visual": 4},
            missing=0,
        )
        trainee = Trainee(models.build("lightgcn", data.inputs()), data, batch_size=-(-len(data.train) // 30))
        trainee(max_batches=1)
        seconds.append(statistics.median(trainee(max_batches=3) for _ in range(3)))
        print(f"  {size:>10,} interactions: {seconds[-1]:8.3f} s/epoch, peak {peak_gb():.2f} GB")
    slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    print(f"  log-log slope {slope:.2f}")


def timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Returns the seconds of several calls, after one call of warm-up."""
    call()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return seconds


def shape(name: str, **changes: object) -> Dataset:
    """Returns a simulated data set, which is kept between runs."""
    folder = CACHE / "-".join([name, *(f"{key}={value}" for key, value in changes.items())])
    return Dataset(folder) if folder.exists() else simulate(folder, settings=preset(name, **changes), seed=0)


def main() -> None:
    """Parses arguments and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the TikTok files")
    parser.add_argument("--shapes", nargs="*", default=[], help="simulated shapes: movielens tiktok kwai")
    parser.add_argument("--models", nargs="*", default=["mf", "vbpr", "lightgcn", "mmgcn"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to", type=float, help="only: wall time to this test Recall@20")
    parser.add_argument("--precision", action="store_true", help="only: what bf16 does to quality and speed")
    parser.add_argument("--scaling", action="store_true", help="only: seconds per epoch against interactions")
    chosen = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    if chosen.scaling:
        time_scaling()
        return
    options = {"lightgcn": {"num_layers": 3}, "mmgcn": {"num_layers": 3}}
    if chosen.data:
        with tempfile.TemporaryDirectory() as folder:
            data = import_dataset("csv", chosen.data, Path(folder) / "data")
            print(data)
            if chosen.to:
                time_to(data, chosen.to)
                return
            if chosen.precision:
                compare_precisions(data, ("lightgcn", "dualgnn"))
                return
            for name in chosen.models:
                compare_epochs(data, name, batch_size=2048, rounds=chosen.rounds, **options.get(name, {}))
            time_evaluation(data, rounds=chosen.rounds)
    for name in chosen.shapes:
        data = shape(name)
        print(data)
        for model in chosen.models:
            compare_epochs(data, model, batch_size=8192, rounds=min(2, chosen.rounds), **options.get(model, {}))


if __name__ == "__main__":
    main()
