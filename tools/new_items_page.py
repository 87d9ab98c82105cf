"""Writes docs/results/new-items.md: where items end that come into a service late. For `make new-items`.

python tools/new_items_page.py --results runs/results/benchmark-microlens-50k --runs runs/results/runs \
    --data runs/results/data/microlens-50k --out docs/results/new-items.md

The items that never occur in train are given to the bundle of a trained run as if they were new. Nothing is trained,
and nothing is chosen.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import medley
from medley.errors import InputError
from medley.evaluation.evaluator import Evaluator
from medley.evaluation.statistics import spread
from medley.experiments.results import Result, Results
from medley.files import write_atomic
from medley.serving.bundle import Bundle
from medley.serving.export import export
from medley.serving.seen import TRAIN, VALID, pairs_of
from medley.version import listed, versions

ENTRIES = ("Mosaic", "CLCRec", "VBPR", "FREEDOM", "LightGCN")
EXPOSURES = (1.0, 3.0)
RULES = {"content": "its own path", "neighbours": "neighbours"}


class Placed(NamedTuple):
    """What a run does with the cold items."""

    rule: str
    found: dict[str, "Found"]  # way to place them -> figures: `model`, then each exposure
    ms: float  # processor time of placing one item


class Found(NamedTuple):
    """Where the cold items end, under one way to place them."""

    cold: float  # Recall@20 of items without train interactions
    all: float  # Recall@20 of all items
    places: float  # share of the places of all lists that cold items take


def measure(bundle: Bundle, judge: Evaluator, vectors: np.ndarray | None) -> Found:
    """Scores the test split.

    Args:
        bundle: of a run.
        judge: of the test split, with the groups of items.
        vectors: (n, V) of the items without train interactions; None: those of the model.
    """
    cold, places = np.flatnonzero(bundle.popularity == 0), []
    seen = pairs_of(bundle.seen, TRAIN) + pairs_of(bundle.seen, VALID)

    def score(users: torch.Tensor) -> torch.Tensor:
        queries = bundle.scores.queries(users.numpy())
        scores = bundle.scores.scores(queries)
        if vectors is not None:
            scores[:, cold] = bundle.scores.match(queries, vectors)
        ranked = np.where(seen[users.numpy()].toarray() > 0, -np.inf, scores)
        best = np.argpartition(-ranked, 19, axis=1)[:, :20]
        places.extend(np.isin(best, cold).mean(axis=1).tolist())
        return torch.from_numpy(scores)

    metrics = judge(score).metrics
    return Found(metrics["cold_recall@20"], metrics["recall@20"], float(np.mean(places)))


def of_run(run: medley.Run, data: medley.Dataset, judge: Evaluator) -> Placed:
    """Exports a run, at every exposure, and places the cold items anew."""
    found, seconds = {}, 0.0
    for exposure in EXPOSURES:
        bundle = export(run, data, exposure=exposure)
        cold = np.flatnonzero(bundle.popularity == 0)
        features = [{m: f.values[i] for m, f in bundle.features.items() if f.present[i]} for i in cold]
        if not found:
            found["model"] = measure(bundle, judge, None)
        begin = time.process_time()
        vectors = [bundle.embed(own).vector for own in features]
        seconds += time.process_time() - begin
        missing = bundle.scores.item_vectors(cold)  # of items without features, which cannot be placed
        placed = np.stack([old if new is None else new for new, old in zip(vectors, missing, strict=True)])
        found[f"{exposure:g}"] = measure(bundle, judge, placed)
    return Placed(bundle.new_item_rule.rule, found, 1e3 * seconds / len(EXPOSURES) / max(len(cold), 1))


def page(data: medley.Dataset, measured: Mapping[str, Sequence[Placed]], seeds: Sequence[int], command: str) -> str:
    """Returns the page in Markdown, from label -> figures of every seed."""
    described = np.any([f.present for f in data.features.values()], axis=0)
    cold = data.train.users_per_item() == 0
    pairs = int(cold[data.test.item].sum())
    heads = " | ".join(f"from features, exposure {exposure:g}" for exposure in EXPOSURES)
    lines = [
        f"# New items ({data.manifest.name})",
        "",
        f"Made by `{command}`. Nothing is trained for this page: the runs are those of [the "
        f"benchmark](benchmark-{data.manifest.name}.md), with its chosen settings.",
        "",
        f"{cold.sum():,} of {data.manifest.num_items:,} items never occur in train ({cold.mean():.1%}); {pairs:,} of "
        f"{len(data.test):,} test interactions are with them. *Of the model*: they were known when the model was "
        "trained, and have the vectors that it gave them. *From features*: they come into the service later, as raw "
        "features, and are placed by the model's own path or by neighbours (`medley.serving.new_items`). With "
        "exposure 1 items placed like this enter on average as many lists as items of train.",
        "",
        "Cells: Recall@20 of these items / Recall@20 of all items / their share of the places in lists of 20; test, "
        f"mean ± sample standard deviation over the seeds {', '.join(map(str, seeds))}. *ms*: processor time of "
        f"placing one item. {int((cold & ~described).sum())} of these items have no features; such items keep the "
        "vector of the model.",
        "",
        f"| model | rule | of the model | {heads} | ms per item |",
        f"|---|---|---|{'---|' * len(EXPOSURES)}---:|",
    ]
    for label, runs in measured.items():
        cells = [_cell([one.found[key] for one in runs]) for key in runs[0].found]
        rules = ", ".join(dict.fromkeys(RULES.get(one.rule, one.rule) for one in runs))
        ms = np.median([one.ms for one in runs])
        lines.append(f"| {label} | {rules} | {' | '.join(cells)} | {ms:.1f} |")
    lines += ["", f"Versions: {listed(versions())}."]
    return "\n".join([*lines, ""])


def _cell(found: Sequence[Found]) -> str:
    recalls = [str(spread([getattr(one, name) for one in found])) for name in ("cold", "all")]
    return " / ".join([*recalls, f"{np.mean([one.places for one in found]):.1%}"])


def entries_of(results: Results, labels: Sequence[str]) -> dict[str, Result]:
    """Returns label -> entry of the study, on the given split, judged among all items with the history of train.

    Raises:
        InputError: the study has no such entry.
    """
    found = {one.label: one for one in results.of("given", "all", "train")}
    lacking = [label for label in labels if label not in found]
    if lacking:
        raise InputError("entries of the study", expected=" or ".join(found), got=" and ".join(lacking))
    return {label: found[label] for label in labels}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses arguments, measures, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder that medley study wrote")
    parser.add_argument("--runs", type=Path, required=True, help="folder of its runs")
    parser.add_argument("--data", type=Path, required=True, help="the data set")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    parser.add_argument("--entries", nargs="+", default=list(ENTRIES), help="labels in the study")
    parser.add_argument("--made-by", default="make new-items", help="the command that makes the page")
    chosen = parser.parse_args(arguments)
    data, measured = medley.load(chosen.data), {}
    judge = Evaluator(data, split="test", at=(20,), metrics=("recall",), groups=True)
    results = Results.load(chosen.results)
    for label, entry in entries_of(results, chosen.entries).items():
        measured[label] = [of_run(medley.Run(chosen.runs / folder), data, judge) for folder in entry.runs]
        print(label, measured[label], flush=True)
    write_atomic(chosen.out, page(data, measured, results.made_by["seeds"], chosen.made_by))


if __name__ == "__main__":
    main()
