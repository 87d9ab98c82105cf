"""Graph operators against the memory bandwidth of the machine and against opponents, in the same run.

    python benchmarks/operators.py                  # every product on the shapes of the papers
    python benchmarks/operators.py --operators      # also the operators on edges, and propagation
    python benchmarks/operators.py --threads        # LightGCN steps under each arrangement of threads

GB/s count n * d * 4 bytes read and the output written, so caches may lift the figures above that of a copy, which
counts bytes read and written. Rounds are interleaved, so that noise hits all contenders alike; the best round is
printed, as noise only adds time. --cpu counts processor seconds instead of wall seconds: on a shared machine, only
processor seconds of one thread (OMP_NUM_THREADS=1) are reliable.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from medley.models import build
from medley.nn.edges import Pattern, edge_dot, edge_product, edge_softmax, neighbour_max
from medley.nn.propagation import Rows, distinct_rows, propagate_rows, take_rows
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Inputs, Interactions, Triplets

SHAPES = {  # users, items, interactions: Table 1 of MMGCN
    "tiktok": (36_656, 76_085, 726_065),
    "kwai": (22_611, 329_510, 1_664_305),
    "movielens": (55_485, 5_986, 1_239_508),
}
COPY_BYTES = 2**28
Clock = Callable[[], float]


def main() -> None:
    """Prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--operators", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="processor seconds instead of wall seconds")
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        print(f"{lightgcn_steps(options.rounds):.2f}")
        return
    if options.threads:
        compare_threads(options.rounds)
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {time.strftime('%Y-%m-%d %H:%M')}\n")
    clock = time.process_time if options.cpu else time.perf_counter
    compare_products(options.shapes, options.rounds, clock)
    if options.operators:
        compare_operators(options.shapes, options.rounds, clock)


def interactions(shape: str) -> Interactions:
    """Draws as many interactions as published: log-normal activity of users, popularity of items as rank^-0.9."""
    num_users, num_items, count = SHAPES[shape]
    rng = np.random.default_rng(0)
    activity = rng.lognormal(0, 1, num_users).cumsum()
    popularity = rng.permutation((np.arange(num_items) + 1 + num_items / 500) ** -0.9).cumsum()
    codes = np.zeros(0, np.int64)
    while len(codes) < count:
        user = np.searchsorted(activity, rng.random(count) * activity[-1]).astype(np.int64)
        codes = np.unique(
            np.append(codes, user * num_items + np.searchsorted(popularity, rng.random(count) * popularity[-1]))
        )
    codes = np.sort(rng.choice(codes, count, replace=False))
    return Interactions((codes // num_items).astype("i4"), (codes % num_items).astype("i4"), num_users, num_items)


def seconds_of(
    contenders: dict[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Times the contenders in turn: contender -> seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            begin = clock()
            run()
            if number:  # round 0 compiles
                seconds[name].append(clock() - begin)
    return seconds


def copier() -> Callable[[], object]:
    """Returns a function that copies COPY_BYTES."""
    source = torch.randn(COPY_BYTES // 4)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def compare_products(shapes: list[str], rounds: int, clock: Clock) -> None:
    """Prints the speed of products in both directions of every shape."""
    print("| shape | product | d | medley GB/s | copy GB/s | of copy | torch CSR | torch COO |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in shapes:
        train = interactions(shape)
        matrix = train.csr()
        for direction, csr in (("users <- items", matrix), ("items <- users", sp.csr_array(matrix.T))):
            fixed = SparseMatrix(csr)
            in_torch = torch.sparse_csr_tensor(
                fixed.by_row.start, fixed.by_row.index, fixed.by_row.value, csr.shape, check_invariants=False
            )
            coordinates = in_torch.to_sparse_coo().coalesce()
            for d in (64, 128):
                x = torch.randn(csr.shape[1], d)
                torch.testing.assert_close(fixed @ x, in_torch @ x, rtol=1e-4, atol=1e-4)
                contenders = {
                    "copy": copier(),
                    "medley": lambda x=x, m=fixed: m @ x,
                    "csr": lambda x=x, m=in_torch: m @ x,
                    "coo": lambda x=x, m=coordinates: m @ x,
                }
                seconds = seconds_of(contenders, rounds, clock)
                bytes_moved = (csr.nnz + csr.shape[0]) * d * 4
                rate = {name: bytes_moved / min(times) / 1e9 for name, times in seconds.items()}
                copy = 2 * COPY_BYTES / min(seconds["copy"]) / 1e9
                print(
                    f"| {shape} | {direction} | {d} | {rate['medley']:.0f} | {copy:.0f} | "
                    f"{rate['medley'] / copy:.2f} | {rate['csr']:.0f} | {rate['coo']:.0f} |",
                    flush=True,
                )


def compare_operators(shapes: list[str], rounds: int, clock: Clock) -> None:
    """Prints milliseconds of operators with their gradients, d = 64."""
    print("\n| shape | operator, forward and backward, d = 64 | ms | torch, one vector per edge, ms |")
    print("|---|---|---|---|")
    for shape in shapes:
        for name, (ours, theirs) in operators_of(interactions(shape).csr()).items():
            contenders = {"medley": lambda run=ours: run().sum().backward()}
            contenders |= {"torch": lambda run=theirs: run().sum().backward()} if theirs else {}
            best = {
                label: min(times) * 1e3 for label, times in seconds_of(contenders, max(2, rounds // 3), clock).items()
            }
            print(f"| {shape} | {name} | {best['medley']:.1f} | {best.get('torch', float('nan')):.1f} |", flush=True)


def operators_of(matrix: sp.csr_array) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor] | None]]:
    """Returns operator -> Medley's form, and torch's form, which scatters a vector per edge."""
    pattern, fixed = Pattern(matrix), SparseMatrix(matrix)
    row, column = pattern.by_row.row_of_entry().long(), pattern.by_row.index.long()
    num_users, num_items = matrix.shape
    user, item = (torch.randn(size, 64, requires_grad=True) for size in matrix.shape)
    weight = torch.rand(matrix.nnz, requires_grad=True)
    place = torch.randint(matrix.nnz, (2048,))
    rows, _ = distinct_rows(Triplets(row[place], column[place], torch.randint(num_items, (2048,))))
    wide = row[:, None].expand(-1, 64)

    def scattered(vectors: Tensor) -> Tensor:
        return torch.zeros(num_users, 64).index_add(0, row, vectors)

    def scattered_softmax() -> Tensor:
        top = torch.full((num_users,), -torch.inf).scatter_reduce(0, row, weight, "amax")
        share = (weight - top[row]).exp()
        return share / torch.zeros(num_users).index_add(0, row, share)[row]

    def scattered_max() -> Tensor:
        return torch.zeros(num_users, 64).scatter_reduce(0, wide, item[column], "amax", include_self=False)

    def layers(chosen: Rows | None) -> Tensor:
        e = Embeddings(user, item)
        result, _ = propagate_rows(fixed, e, [0.25] * 4, chosen)
        return sum(side.sum() for side in (take_rows(result, rows) if chosen is None else result))

    return {
        "fixed product": (lambda: fixed @ item, lambda: scattered(item[column])),
        "product with learned weights": (
            lambda: edge_product(pattern, weight, item),
            lambda: scattered(weight[:, None] * item[column]),
        ),
        "dot product per edge": (lambda: edge_dot(pattern, user, item), lambda: (user[row] * item[column]).sum(1)),
        "softmax per row": (lambda: edge_softmax(pattern, weight), scattered_softmax),
        "maximum over neighbours": (lambda: neighbour_max(pattern, item), scattered_max),
        "3 layers combined": (lambda: layers(None), None),
        "3 layers combined, rows of a batch of 2048": (lambda: layers(rows), None),
    }


def lightgcn_steps(rounds: int) -> float:
    """Returns the best milliseconds of a training step of LightGCN on 60,000 interactions, batch 2048, d = 64."""
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(9_308, size=62_000) * 6_710 + (6_710 * rng.random(62_000) ** 3).astype(np.int64))
    train = Interactions((codes // 6_710).astype("i4"), (codes % 6_710).astype("i4"), 9_308, 6_710)
    model = build("lightgcn", Inputs(train, {}))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    place = torch.randint(len(train), (2048,))
    user, item = torch.from_numpy(train.user).long(), torch.from_numpy(train.item).long()
    batch = Triplets(user[place], item[place], torch.randint(6_710, (2048,)))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model.loss(batch).backward()
        optimizer.step()

    times = seconds_of({"step": step}, 20 * rounds)["step"]
    return min(times) * 1e3


def compare_threads(rounds: int) -> None:
    """Prints the time of a step under each arrangement of threads, in separate processes."""
    arrangements = {
        "as it is": {},
        "torch's idle threads do not spin: GOMP_SPINCOUNT=0": {"GOMP_SPINCOUNT": "0"},
        "one thread": {"OMP_NUM_THREADS": "1"},
    }
    times: dict[str, list[float]] = {name: [] for name in arrangements}
    for _ in range(3):
        for name, environment in arrangements.items():
            command = [sys.executable, __file__, "--steps", "--rounds", str(rounds)]
            done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=True, text=True)
            times[name].append(float(done.stdout))
    print("| threads | LightGCN step, ms: the best of each of three processes |\n|---|---|")
    for name, found in times.items():
        print(f"| {name} | {', '.join(f'{time:.2f}' for time in sorted(found))} |")


if __name__ == "__main__":
    main()
