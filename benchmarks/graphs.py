"""Time and memory to build every graph that the models need, on a simulated shape.

    python benchmarks/graphs.py --shape kwai --data /tmp/shapes
    python benchmarks/graphs.py --shape kwai --data /tmp/shapes --only "kNN visual" --items 20000 40000 80000

Each graph is built in a process of its own, so that peak memory is measured per graph. "Peak" is the resident memory of
that process, with the mapped features that the system may drop at any time; "own" excludes them and the memory that the
process held before. All interactions of the simulation are used, so that their number is that of the published data.
The first build of a process also loads compiled code, so a toy graph is built before the clock starts.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from medley import graphs
from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS
from medley.data.simulate import PRESETS, preset, simulate
from medley.types import Features, Interactions

K = 10  # of item graphs: LATTICE, FREEDOM; LUDP up to 50
USERS_K = 40  # DualGNN: the best of its sweep
FAISS = {"num_cells": 2048, "num_probes": 32}


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=PRESETS, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the simulated shapes")
    parser.add_argument("--only", help="only graphs whose name contains this text")
    parser.add_argument("--items", type=int, nargs="+", help="use only so many items of the catalogue: for kNN graphs")
    parser.add_argument("--faiss", action="store_true", help="also the approximate kNN graphs, with their recall")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.data / options.shape
    if options.one:
        print(json.dumps(measure(Dataset(folder), options.one, (options.items or [None])[0])))
        return
    if not folder.exists():
        simulate(folder, settings=preset(options.shape, dtype="float16"), seed=1)
    print("| graph | items or users | edges | seconds | CPU seconds | peak MB | own MB | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names(Dataset(folder), options.faiss):
        if options.only and options.only not in name:
            continue
        for items in options.items or [None]:
            command = [sys.executable, __file__, "--shape", options.shape, "--data", str(options.data), "--one", name]
            command += ["--items", str(items)] if items else []
            environment = {**os.environ, "MEDLEY_CACHE": "off"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
            row = json.loads(done.stdout)
            print(
                f"| {name} | {row['nodes']:,} | {row['edges']:,} | {row['seconds']:.1f} | {row['cpu']:.1f} "
                f"| {row['peak_mb']:,.0f} | {row['own_mb']:,.0f} | {row.get('recall', 1):.3f} |",
                flush=True,
            )


def names(dataset: Dataset, faiss: bool) -> list[str]:
    """Returns the names of all graphs of a data set."""
    kinds = ["kNN", "faiss"] if faiss else ["kNN"]
    return [f"{kind} {modality}" for kind in kinds for modality in dataset.features] + [
        "user co-occurrence",
        "item co-interaction",
        "item co-interaction, top 10",
        "bipartite symmetric",
        "bipartite mean",
    ]


def measure(dataset: Dataset, name: str, num_items: int | None) -> dict[str, float]:
    """Builds and measures one graph."""
    build(toy_features(), toy_interactions(), name)
    train = all_interactions(dataset)
    features = None
    if name.startswith(("kNN", "faiss")):
        features = Features(*(part[:num_items] for part in dataset.features[name.split()[1]]))
    with Memory() as memory:
        wall, cpu = time.perf_counter(), time.process_time()
        graph = build(features, train, name)
        row = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    row |= {"peak_mb": memory.peak, "own_mb": memory.own}
    if isinstance(graph, tuple):
        row |= {"nodes": sum(graph), "edges": len(train)}
    else:
        row |= {"nodes": graph.shape[0], "edges": graph.nnz}
    if name.startswith("faiss"):
        row["recall"] = recall(graph, features)
    return row


def build(features: Features | None, train: Interactions, name: str):
    """Builds the graph with a name; for bipartite graphs, which are torch modules, the result has the shape alone."""
    if name.startswith("kNN"):
        return graphs.item_knn(features, K)
    if name.startswith("faiss"):
        cells = min(FAISS["num_cells"], len(features.values) // 8)
        return graphs.item_knn_faiss(features, K, num_cells=cells, num_probes=min(FAISS["num_probes"], cells))
    if name == "user co-occurrence":
        return graphs.user_cooccurrence(train, USERS_K)
    if name == "item co-interaction":
        return graphs.item_cointeraction(train)
    if name == "item co-interaction, top 10":
        return graphs.item_cointeraction(train, threshold=1, top_k=K)
    if name == "bipartite symmetric":
        return tuple(graphs.symmetric(train).shape)
    if name == "bipartite mean":
        return tuple(graphs.mean_over_neighbours(train).users_from_items.shape)
    raise ValueError(name)


def recall(graph, features: Features, num_queries: int = 500) -> float:
    """Measures the share of the true neighbours that the graph holds, for random items, without these items."""
    rng = np.random.default_rng(0)
    vectors = graphs.knn.UnitVectors.of(features)
    queries = np.sort(rng.choice(len(vectors.item), num_queries, replace=False))
    near = vectors[queries]
    scores = np.concatenate(
        [near @ vectors[slice(at, at + 4096)].T for at in range(0, len(vectors.item), 4096)], axis=1
    )
    scores[np.arange(num_queries), queries] = -np.inf
    truth = vectors.item[np.argpartition(-scores, K - 1, axis=1)[:, : K - 1]]
    held = [
        len(set(graph.indices[graph.indptr[item] : graph.indptr[item + 1]]) & set(true))
        for item, true in zip(vectors.item[queries], truth, strict=True)
    ]
    return sum(held) / truth.size


def all_interactions(dataset: Dataset) -> Interactions:
    """Joins all splits."""
    parts = [dataset.interactions(split) for split in SPLITS]
    user, item = (np.concatenate([getattr(part, side) for part in parts]) for side in ("user", "item"))
    return Interactions(user, item, parts[0].num_users, parts[0].num_items)


def toy_features() -> Features:
    """Makes features that compile all loops and cost no time."""
    return Features(np.random.default_rng(0).normal(size=(4100, 8)).astype(np.float16), np.ones(4100, dtype=bool))


def toy_interactions() -> Interactions:
    """Makes interactions that compile all loops and cost no time."""
    return Interactions(np.arange(9, dtype=np.int32) % 3, np.arange(9, dtype=np.int32) // 3, 3, 3)


class Memory:
    """Samples memory every 20 ms: `peak` is all, `own` excludes mapped files and the memory held before."""

    def __enter__(self) -> "Memory":
        self.peak = self.own = 0.0
        self._before = _status("RssAnon")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, _status("VmRSS"))
            self.own = max(self.own, _status("RssAnon") - self._before)


def _status(field: str) -> float:
    """Returns a field of /proc/self/status in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"{field} is not in /proc/self/status")


if __name__ == "__main__":
    main()
