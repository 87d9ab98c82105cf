"""Writes a self-contained HTML page about runs: data, results, learning curves, explained users, settings, provenance.

The page loads nothing: its charts are SVG elements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.data.dataset import Dataset
from medley.data.inspect import inspect_dataset
from medley.files import write_atomic
from medley.models import Recommender
from medley.report.charts import NUM_COLOURS, bars, curves
from medley.report.results import Result, best_values, load_results
from medley.report.tables import column_title
from medley.report.templates import template
from medley.runs import Run
from medley.serving.explain import Finding, about_item, about_user
from medley.serving.recommend import Recommendation, recommend

NUM_WEIGHTS = 5  # lines of a finding


@dataclass(frozen=True)
class ExplainedUser:
    """A user with seen items and explained recommendations."""

    user: str  # raw id
    seen: list[str]  # titles of some train items, the latest first
    num_seen: int  # all train items
    recommended: list[Recommendation]
    found: frozenset[str]  # raw ids of recommended items that are held out: the user has seen them in the test split
    num_held_out: int  # test items
    taste: dict[str, float]  # modality -> planted weight; empty where nothing was planted
    about: list[Finding]  # about the user
    about_items: dict[str, list[Finding]]  # about the recommended items, by raw id

    @property
    def shares(self) -> dict[str, float]:
        """Name of a part -> mean share over the recommendations."""
        names = self.recommended[0].shares if self.recommended else ()
        return {name: float(np.mean([item.shares[name] for item in self.recommended])) for name in names}


def explain_user(
    model: Recommender,
    data: Dataset,
    user: str,
    *,
    k: int = 8,
    num_seen: int = 6,
    taste: Mapping[str, float] | None = None,
) -> ExplainedUser:
    """Returns train items of a user and k explained recommendations, which may contain items of the test split.

    Args:
        model: a trained model.
        data: the data set that the model was built from.
        user: raw id.
        k: number of recommendations.
        num_seen: number of seen items with titles; the latest items if the log has timestamps.
        taste: modality -> planted weight, if the truth is known.

    Raises:
        InputError: unknown user, or k below 1.
    """
    log = data.log.filter(pl.col("user") == data.users.row(user))
    if "timestamp" in log.columns:
        log = log.sort("timestamp", descending=True)
    train = log.filter(pl.col("split") == "train")["item"].to_list()
    test = [data.items.raw_id(item) for item in log.filter(pl.col("split") == "test")["item"]]
    (recommended,) = recommend(model, data, [user], k=k, explain=True, seen=("train", "valid"))
    return ExplainedUser(
        user=user,
        seen=[data.title(item) or data.items.raw_id(item) for item in train[:num_seen]],
        num_seen=len(train),
        recommended=recommended,
        found=frozenset(test) & {item.item for item in recommended},
        num_held_out=len(test),
        taste=dict(taste or {}),
        about=about_user(model, data, user),
        about_items={item.item: about_item(model, data, item.item) for item in recommended},
    )


def write_report(
    path: str | Path,
    runs: Sequence[Run],
    data: Dataset,
    *,
    split: str = "test",
    users: Sequence[ExplainedUser] = (),
    explained_by: str = "",
    notes: Sequence[str] = (),
) -> None:
    """Writes the page.

    Args:
        path: the HTML file.
        runs: finished runs on `data` that were evaluated on `split`; the first run is the baseline.
        data: the data set of the runs.
        split: the split of the metrics.
        users: explained users to be shown.
        explained_by: the title of the model that recommends.
        notes: sentences about the runs.

    Raises:
        InputError: as in `load_results`.
    """
    results = load_results(runs, split=split)
    page = template("report.html").render(
        data=data.manifest,
        inspection=inspect_dataset(data),
        results=results,
        best=best_values(results),
        headline=_headline(results),
        num_colours=NUM_COLOURS,
        num_weights=NUM_WEIGHTS,
        bars=bars(results),
        curves=curves(results),
        users=users,
        explained_by=explained_by,
        parts=list(dict.fromkeys(name for user in users for name in (*user.taste, *user.shares))),
        notes=notes,
        column_title=column_title,
        settings=_settings(results),
        evaluation=results[0].evaluation,
        versions=results[0].record.versions,
    )
    write_atomic(Path(path), page)


def _headline(results: Sequence[Result]) -> dict[str, Any]:
    """Returns the best run by recall at the largest K, and its value divided by that of the first run."""
    name = max((name for name in results[0].shown if name.startswith("recall")), key=lambda n: int(n[7:]), default="")
    name = name or next(iter(results[0].shown))
    best = max(results, key=lambda result: result.shown[name])
    first = results[0].shown[name]
    times = best.shown[name] / first if first and best is not results[0] else None
    return {"label": best.label, "metric": column_title(name), "value": best.shown[name], "times": times}


def _settings(results: Sequence[Result]) -> dict[str, list[Any]]:
    """Returns option or setting -> its value in each run, None where a run has no such option."""
    chosen = [result.record.recipe.flat() for result in results]
    names = dict.fromkeys(name for options in chosen for name in options if name != "model")
    return {name: [options.get(name) for options in chosen] for name in names}
