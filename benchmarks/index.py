"""Latency, memory, construction and recall of the indexes of serving, and where approximate search beats exact search.

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

from medley.serving.index import Found, Index, Kind, build_index, faiss

DIM, K, NUM_TASTES, NUM_SEEN, BATCH = 64, 20, 64, 50, 256
CROSSOVER = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
SHARES = (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9)


def main() -> None:
    """Prints a Markdown table."""
    kinds = ["exact", "hnsw", "ivf", "qdrant"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds[:3])
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
        exact = Searches(build_index(items, kind="exact"), users, num_items).batch()
        for kind in kinds:
            begin = time.perf_counter()
            index = build_index(items, kind=kind)
            built = time.perf_counter() - begin
            searches = Searches(index, users, num_items)
            one, batch = milliseconds(searches.one, rounds), milliseconds(searches.batch, 5)
            found = recall(searches.batch(), exact)
            add = milliseconds(searches.add, 50)
            print(
                f"| {num_items:,} | {kind} | {built:.1f} | {index.nbytes / 2**20:,.0f} | {np.median(one):.2f} | "
                f"{np.percentile(one, 99):.2f} | {np.median(batch):.0f} | {np.median(add):.3f} | {found:.3f} |",
                flush=True,
            )


class Searches:
    """Users who search an index, each with items that are hidden from them."""

    def __init__(self, index: Index, users: np.ndarray, num_items: int, allowed: np.ndarray | None = None):
        """Draws the hidden items."""
        self.index, self.users, self.num_items, self.allowed = index, users, num_items, allowed
        self.seen = list(np.random.default_rng(1).integers(num_items, size=(len(users), NUM_SEEN)))

    def one(self, number: int) -> Found:
        """Searches for one user, the next one in each round."""
        user = number % len(self.users)
        return self.index.search(self.users[[user]], K, hidden=[self.seen[user]], allowed=self.allowed)

    def batch(self, _: int = 0) -> Found:
        """Searches for all users."""
        return self.index.search(self.users, K, hidden=self.seen, allowed=self.allowed)

    def add(self, number: int) -> None:
        """Adds an item."""
        self.index.add(np.array([self.num_items + number]), self.users[:1])


def compare_sizes(rounds: int) -> None:
    """Prints the milliseconds of one query for growing catalogues."""
    print("| items | exact, ms | p99 | hnsw, ms | p99 | recall@20 of hnsw |\n|---|---|---|---|---|---|")
    for num_items in CROSSOVER:
        items, users = catalogue(num_items)
        exact, hnsw = (Searches(build_index(items, kind=kind), users, num_items) for kind in ("exact", "hnsw"))
        times = [milliseconds(searches.one, rounds) for searches in (exact, hnsw)]
        cells = " | ".join(f"{np.median(each):.2f} | {np.percentile(each, 99):.2f}" for each in times)
        print(f"| {num_items:,} | {cells} | {recall(hnsw.batch(), exact.batch()):.3f} |", flush=True)


def compare_filters(num_items: int, rounds: int) -> None:
    """Prints the milliseconds of one query where a share of the items passes, drawn at random or lying together."""
    items, users = catalogue(num_items)
    indexes = [build_index(items, kind=kind) for kind in ("exact", "hnsw")]
    print(f"{num_items:,} items\n\n| share that passes | items | exact, ms | hnsw, ms | recall@20 of hnsw |")
    print("|---|---|---|---|---|")
    draw, along = np.random.default_rng(2).random(num_items), items[:, 0]
    faiss.EXACT_SHARE = 0.0  # the graph is walked whatever the filter
    for share in SHARES:
        for name, allowed in (("at random", draw < share), ("together", along >= np.quantile(along, 1 - share))):
            exact, hnsw = (Searches(index, users, num_items, allowed) for index in indexes)
            cells = " | ".join(f"{np.median(milliseconds(each.one, rounds)):.2f}" for each in (exact, hnsw))
            print(f"| {share:g} | {name} | {cells} | {recall(hnsw.batch(), exact.batch()):.3f} |", flush=True)


if __name__ == "__main__":
    main()
