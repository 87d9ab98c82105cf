"""Runs -> one self-contained HTML page: data, results, learning curves, explained users, settings and provenance.

The page loads nothing: the charts are SVG inside it, whose colours are CSS variables, so they follow light and dark.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from medley.data.dataset import Dataset
from medley.data.inspect import inspect_dataset
from medley.errors import InputError, MissingExtraError
from medley.evaluation.evaluator import Evaluation, same_protocol
from medley.files import write_atomic
from medley.models import Recommender, describe
from medley.runs import Run, RunRecord
from medley.serving.explain import Finding, about_item, about_user
from medley.serving.recommend import Recommendation, recommend
from medley.training.fit import Epoch

try:
    import jinja2
    import matplotlib
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
except ImportError:
    raise MissingExtraError("The report", "plots") from None

SHOWN = ("recall", "precision", "ndcg")
NUM_WEIGHTS = 5  # of a finding
NUM_COLOURS = 8  # --s0 ... --s7 in report.html
INK, FAINT = "#010101", "#020202"  # colours of the charts stand for CSS variables: see _svg
CSS_OF = {INK: "var(--ink)", FAINT: "var(--line)"} | {f"#0303{n:02x}": f"var(--s{n})" for n in range(NUM_COLOURS)}


class Result(NamedTuple):
    """A finished run as it is shown."""

    label: str
    folder: str
    record: RunRecord
    epochs: list[Epoch]
    evaluation: Evaluation

    @property
    def shown(self) -> dict[str, float]:
        """ "recall@10" -> mean: the metrics of the tables, in their order."""
        metrics = self.evaluation.metrics
        ks = sorted({int(name.partition("@")[2]) for name in metrics})
        return {name: metrics[name] for name in (f"{m}@{k}" for m in SHOWN for k in ks) if name in metrics}


@dataclass(frozen=True)
class ExplainedUser:
    """One user: what was watched, what a model recommends and why."""

    user: str  # raw id
    watched: list[str]  # titles of some train items, the latest first
    num_watched: int  # all train items
    recommended: list[Recommendation]
    found: frozenset[str]  # raw ids of recommended items that the user did touch in the test split
    num_held_out: int  # test items
    taste: dict[str, float]  # modality -> planted weight; empty where nothing was planted
    about: list[Finding]  # what the model has learned about the user
    about_items: dict[str, list[Finding]]  # and about the recommended items, by raw id

    @property
    def shares(self) -> dict[str, float]:
        """Name of a part -> its share, averaged over the recommendations."""
        names = self.recommended[0].shares if self.recommended else ()
        return {name: float(np.mean([item.shares[name] for item in self.recommended])) for name in names}


def load_results(runs: Sequence[Run], *, split: str = "test") -> list[Result]:
    """Reads finished and evaluated runs.

    Raises:
        InputError: no runs, one is not evaluated, or two were evaluated under different protocols.
    """
    if not runs:
        raise InputError("a report", expected="at least one run", got="none")
    evaluations = {str(run.folder): Evaluation.load(run.folder, split) for run in runs}
    same_protocol(evaluations)
    titles = [describe(run.record.model)["title"] for run in runs]
    return [
        Result(
            label=title if titles.count(title) == 1 else f"{title} ({run.folder.name})",
            folder=str(run.folder),
            record=run.record,
            epochs=[Epoch(**json.loads(line)) for line in _lines(run.history)],
            evaluation=evaluations[str(run.folder)],
        )
        for title, run in zip(titles, runs, strict=True)
    ]


def best_values(results: Sequence[Result]) -> dict[str, float]:
    """The best value of every shown metric."""
    return {name: max(result.shown[name] for result in results) for name in results[0].shown}


def explain_user(
    model: Recommender,
    data: Dataset,
    user: str,
    *,
    k: int = 8,
    num_watched: int = 6,
    taste: Mapping[str, float] | None = None,
) -> ExplainedUser:
    """What a user watched in train, and k explained recommendations; items of the test split may be among them.

    Args:
        model: a trained model.
        data: the data set that it was built from.
        user: raw id.
        k: recommendations.
        num_watched: titles of watched items, the latest where the log has timestamps.
        taste: modality -> planted weight, where the truth is known.

    Raises:
        InputError: unknown user, or k below 1.
    """
    log = data.log.filter(pl.col("user") == data.users.row(user))
    if "timestamp" in log.columns:
        log = log.sort("timestamp", descending=True)
    train = log.filter(pl.col("split") == "train")["item"].to_list()
    test = [data.items.raw_id(item) for item in log.filter(pl.col("split") == "test")["item"]]
    recommended = recommend(model, data, user=user, k=k, explain=True, hide=("train", "valid"))
    return ExplainedUser(
        user=user,
        watched=[data.title(item) or data.items.raw_id(item) for item in train[:num_watched]],
        num_watched=len(train),
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
        runs: finished runs on `data` that were evaluated on `split`; the first one is the yardstick.
        data: their data set.
        split: whose metrics are shown.
        users: explained users to be shown.
        explained_by: the model behind their recommendations.
        notes: sentences on how the runs were made.

    Raises:
        InputError: as in `load_results`.
    """
    results = load_results(runs, split=split)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        data=data.manifest,
        inspection=inspect_dataset(data),
        results=results,
        best=best_values(results),
        headline=_headline(results),
        num_colours=NUM_COLOURS,
        num_weights=NUM_WEIGHTS,
        bars=_bars(results),
        curves=_curves(results),
        users=users,
        explained_by=explained_by,
        parts=list(dict.fromkeys(name for user in users for name in (*user.taste, *user.shares))),
        notes=notes,
        metric_title=metric_title,
        settings=_settings(results),
        evaluation=results[0].evaluation,
        versions=results[0].record.versions,
    )
    write_atomic(Path(path), page)


def metric_title(name: str) -> str:
    """`ndcg@20` -> `NDCG@20`, `recall@20` -> `Recall@20`."""
    metric, at, k = name.partition("@")
    return (metric.upper() if metric in ("ndcg", "map", "mrr") else metric.replace("_", " ").capitalize()) + at + k


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _headline(results: Sequence[Result]) -> dict[str, Any]:
    """The best run in the last shown recall, and how many times the first run's value that is."""
    name = max((name for name in results[0].shown if name.startswith("recall")), key=lambda n: int(n[7:]), default="")
    name = name or next(iter(results[0].shown))
    best = max(results, key=lambda result: result.shown[name])
    first = results[0].shown[name]
    times = best.shown[name] / first if first and best is not results[0] else None
    return {"label": best.label, "metric": metric_title(name), "value": best.shown[name], "times": times}


def _settings(results: Sequence[Result]) -> dict[str, list[Any]]:
    """Option or setting -> its value in each run, None where a run has no such option."""
    chosen = [{**result.record.options, **result.record.settings} for result in results]
    names = dict.fromkeys(name for options in chosen for name in options)
    return {name: [options.get(name) for options in chosen] for name in names}


def _bars(results: Sequence[Result]) -> list[Markup]:
    """One chart per metric: a group of bars per run, one bar per K, with the 95% interval of the mean over users."""
    charts = []
    for metric in SHOWN:
        names = [name for name in results[0].shown if name.startswith(f"{metric}@")]
        if not names:
            continue
        figure, axes = _figure(4.4, 0.5 + 0.24 * len(results) * (len(names) + 0.6))
        cuts = [name.partition("@")[2] for name in names]
        height = 0.8 / len(names)
        for row, result in enumerate(results):
            for place, name in enumerate(names):
                mean, margin = result.shown[name], _margin(result.evaluation.per_user[name])
                y = row + (place - (len(names) - 1) / 2) * height
                strength = 0.45 + 0.55 * (place + 1) / len(names)
                axes.barh(y, mean, height * 0.88, color=_colour(row), alpha=strength)
                axes.plot([mean - margin, mean + margin], [y, y], color=INK, linewidth=0.8, alpha=0.6)
                axes.annotate(
                    f"{mean:.3f}  @{cuts[place]}",
                    (mean + margin, y),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    color=INK,
                    fontsize=9,
                )
        axes.set_yticks(range(len(results)), [result.label for result in results])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.32 * max(result.shown[name] for result in results for name in names) or 1)
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        told = "; ".join(
            f"{result.label} "
            + ", ".join(f"{result.shown[name]:.3f} at {cut}" for name, cut in zip(names, cuts, strict=True))
            for result in results
        )
        charts.append(_svg(figure, f"Bars of {metric_title(metric)}: {told}", metric_title(metric)))
    return charts


def _curves(results: Sequence[Result]) -> list[Markup]:
    """Loss, and the validation metric with a dot at the best epoch, by epoch."""
    trained = [(place, result) for place, result in enumerate(results) if result.epochs]
    if not trained:
        return []
    loss, axes = _figure(4.8, 2.9)
    for place, result in trained:
        axes.plot([e.epoch for e in result.epochs], [e.loss for e in result.epochs], color=_colour(place))
    if all(epoch.loss > 0 for _, result in trained for epoch in result.epochs):
        axes.set_yscale("log")  # the penalty of the first epochs would hide all others
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _by_epoch(axes)
    told = "; ".join(f"{r.label} from {r.epochs[0].loss:.3f} to {r.epochs[-1].loss:.3f}" for _, r in trained)
    charts = [_svg(loss, f"Training loss by epoch: {told}", "Training loss by epoch")]

    validated = [(place, result) for place, result in trained if result.epochs[0].metric is not None]
    if validated:
        valid, axes = _figure(4.8, 2.9)
        for place, result in validated:
            values = [np.nan if e.metric is None else e.metric for e in result.epochs]
            best = int(np.nanargmax(values))
            axes.plot([e.epoch for e in result.epochs], values, color=_colour(place))
            axes.plot(result.epochs[best].epoch, values[best], "o", color=_colour(place), markersize=5)
        _by_epoch(axes)
        axes.set_ylim(bottom=0)
        name = metric_title(validated[0][1].record.settings["metric"])
        told = "; ".join(f"{r.label} best {r.record.best:.3f} in epoch {r.record.best_epoch}" for _, r in validated)
        title = f"Validation {name} by epoch, a dot at the best"
        charts.append(_svg(valid, f"Validation {name} by epoch: {told}", title))
    return charts


def _margin(values: np.ndarray) -> float:
    """Half the 95% interval of a mean, by the normal approximation."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _colour(place: int) -> str:
    return f"#0303{place % NUM_COLOURS:02x}"


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty chart, in inches: narrow enough to be read on a phone."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    return figure, axes


def _by_epoch(axes: Axes) -> None:
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("epoch", color=INK, fontsize=9)


def _svg(figure: Figure, description: str, title: str) -> Markup:
    """The figure as an element of an HTML page, with a caption; colours become CSS variables."""
    file = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg, count=5)  # of the root; viewBox remains
    svg = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", svg)  # figure_1, ...: the same in every chart
    svg = re.sub("|".join(CSS_OF), lambda colour: CSS_OF[colour[0]], svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
    return Markup(f"<figure>{svg}<figcaption>{escape(title)}</figcaption></figure>")
