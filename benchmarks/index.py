"""Latency, memory, construction and recall of the indexes of serving, and where the approximate one beats the exact one.

    python benchmarks/index.py                      # 10,000 and 100,000 items
    python benchmarks/index.py --items 1000000
    python benchmarks/index.py --crossover          # exact against hnsw for growing catalogues
    python benchmarks/index.py --filters            # exact against hnsw where fewer and fewer items pass

Vectors are drawn as training leaves them: 64 tastes in common, log-normal norms, dim 64, so that a query has clear best
items. Each user has seen 50 items, which are hidden. Milliseconds are the median and the 99th percentile of searches of
one query; a batch is 256 queries. Recall counts the 20 exactly best items that are found.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from medley.serving.index import Found, Index, Kind, build_index

DIM, K, NUM_TASTES, NUM_SEEN, BATCH = 64, 20, 64, 50, 256
CROSSOVER = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
SHARES = (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", choices=["exact", "hnsw", "ivf", "qdrant"], default=["exact", "hnsw", "ivf"])
    parser.add_argument("--rounds", type=int, default=300, help="searches of one query")
    parser.add_argument("--crossover", action="store_true")
    parser.add_argument("--filters", action="store_true")
    options = parser.parse_args()
    if options.crossover:
        compare_sizes(options.rounds)
    elif options.filters:
        for num_items in options.items:
            compare_filters(num_items, options.rounds)
    else:
        compare_kinds(options.items, options.kinds, options.rounds)


def catalogue(num_items: int, num_queries: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors of items (n, D) and of users (B, D)."""
    rng = np.random.default_rng(0)
    tastes = 0.7 * rng.standard_normal((NUM_TASTES, DIM), dtype=np.float32)
    items = tastes[rng.integers(NUM_TASTES, size=num_items)] + rng.standard_normal((num_items, DIM), dtype=np.float32)
    items *= rng.lognormal(-0.5, 0.4, (num_items, 1)).astype(np.float32)
    users = tastes[rng.integers(NUM_TASTES, size=num_queries)]
    return items, users + rng.standard_normal((num_queries, DIM), dtype=np.float32)


def milliseconds(search: Callable[[int], object], rounds: int) -> np.ndarray:
    """Returns the milliseconds of each round; the number of the round is the argument."""
    times = []
    for number in range(rounds + 5):
        begin = time.perf_counter()
        search(number)
        times.append((time.perf_counter() - begin) * 1e3)
    return np.array(times[5:])


def recall(found: Found, exact: Found) -> float:
    """Returns the share of the exactly best items that were found."""
    pairs = zip(found.rows, exact.rows, strict=True)
    return float(np.mean([len(set(ours) & set(best)) / K for ours, best in pairs]))


def compare_kinds(sizes: list[int], kinds: list[Kind], rounds: int) -> None:
    """Prints one line per size and kind."""
    print("| items | index | built, s | MB | one query, ms | p99 | 256 queries, ms | add one, ms | recall@20 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for num_items in sizes:
        items, users = catalogue(num_items)
        seen = list(np.random.default_rng(1).integers(num_items, size=(BATCH, NUM_SEEN)))
        exact = build_index(items, kind="exact").search(users, K, hidden=seen)
        for kind in kinds:
            begin = time.perf_counter()
            index = build_index(items, kind=kind)
            built = time.perf_counter() - begin
            one = milliseconds(lambda number, index=index: one_query(index, users, seen, number), rounds)
            batch = milliseconds(lambda _, index=index: index.search(users, K, hidden=seen), 5)
            found = index.search(users, K, hidden=seen)
            new = users[:1]
            add = milliseconds(lambda number, index=index: index.add(np.array([num_items + number]), new), 50)
            print(
                f"| {num_items:,} | {kind} | {built:.1f} | {index.nbytes / 2**20:,.0f} | {np.median(one):.2f} | "
                f"{np.percentile(one, 99):.2f} | {np.median(batch):.0f} | {np.median(add):.3f} | "
                f"{recall(found, exact):.3f} |",
                flush=True,
            )


def one_query(index: Index, users: np.ndarray, seen: list[np.ndarray], number: int, **options: np.ndarray) -> Found:
    """Searches for one user after another."""
    user = number % len(users)
    return index.search(users[[user]], K, hidden=[seen[user]], **options)


def compare_sizes(rounds: int) -> None:
    """Prints the milliseconds of one query for growing catalogues."""
    print("| items | exact, ms | p99 | hnsw, ms | p99 | recall@20 of hnsw |\n|---|---|---|---|---|---|")
    for num_items in CROSSOVER:
        items, users = catalogue(num_items)
        seen = list(np.random.default_rng(1).integers(num_items, size=(BATCH, NUM_SEEN)))
        indexes = [build_index(items, kind=kind) for kind in ("exact", "hnsw")]
        times = [milliseconds(lambda number, index=index: one_query(index, users, seen, number), rounds) for index in indexes]
        exact, found = (index.search(users, K, hidden=seen) for index in indexes)
        cells = " | ".join(f"{np.median(each):.2f} | {np.percentile(each, 99):.2f}" for each in times)
        print(f"| {num_items:,} | {cells} | {recall(found, exact):.3f} |", flush=True)


def compare_filters(num_items: int, rounds: int) -> None:
    """Prints the milliseconds of one query where a share of the items passes, drawn at random or lying together."""
    from medley.serving.index import faiss

    items, users = catalogue(num_items)
    seen = list(np.random.default_rng(1).integers(num_items, size=(BATCH, NUM_SEEN)))
    exact, approximate = build_index(items, kind="exact"), build_index(items, kind="hnsw")
    print(f"{num_items:,} items\n\n| share that passes | items | exact, ms | hnsw, ms | recall@20 of hnsw |\n|---|---|---|---|---|")
    draw, along = np.random.default_rng(2).random(num_items), items[:, 0]
    faiss.EXACT_SHARE = 0.0  # the graph is walked whatever the filter
    for share in SHARES:
        for name, allowed in (("at random", draw < share), ("together", along >= np.quantile(along, 1 - share))):
            times = [
                milliseconds(lambda number, index=index: one_query(index, users, seen, number, allowed=allowed), rounds)
                for index in (exact, approximate)
            ]
            best, found = (index.search(users, K, hidden=seen, allowed=allowed) for index in (exact, approximate))
            cells = " | ".join(f"{np.median(each):.2f}" for each in times)
            print(f"| {share:g} | {name} | {cells} | {recall(found, best):.3f} |", flush=True)


if __name__ == "__main__":
    main()
