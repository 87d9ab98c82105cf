"""Charts as SVG inside an HTML page. Colours are CSS variables, so that charts follow the light or dark theme."""

from collections.abc import Sequence
from html import escape

import numpy as np

from medley.errors import MissingExtraError
from medley.report.results import SHOWN, Result
from medley.report.tables import column_title

try:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    from medley.report.figures.style import embedded
except ImportError:
    raise MissingExtraError("The report", "plots") from None

NUM_COLOURS = 8  # --s0 ... --s7 in report.html
INK, FAINT = "#010101", "#020202"  # placeholders of CSS variables
CSS_OF = {INK: "var(--ink)", FAINT: "var(--line)"} | {f"#0303{n:02x}": f"var(--s{n})" for n in range(NUM_COLOURS)}


def bars(results: Sequence[Result]) -> list[Markup]:
    """Draws a chart per metric: a group of bars per run, a bar per K, with the 95% interval of the mean over users."""
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
        figures = "; ".join(
            f"{result.label} "
            + ", ".join(f"{result.shown[name]:.3f} at {cut}" for name, cut in zip(names, cuts, strict=True))
            for result in results
        )
        charts.append(_svg(figure, f"Bars of {column_title(metric)}: {figures}", column_title(metric)))
    return charts


def curves(results: Sequence[Result]) -> list[Markup]:
    """Draws loss and validation metric by epoch, with a dot at the best epoch."""
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
    figures = "; ".join(f"{r.label} from {r.epochs[0].loss:.3f} to {r.epochs[-1].loss:.3f}" for _, r in trained)
    charts = [_svg(loss, f"Training loss by epoch: {figures}", "Training loss by epoch")]

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
        name = column_title(validated[0][1].record.recipe.settings.metric)
        figures = "; ".join(f"{r.label} best {r.record.best:.3f} in epoch {r.record.best_epoch}" for _, r in validated)
        title = f"Validation {name} by epoch, a dot at the best"
        charts.append(_svg(valid, f"Validation {name} by epoch: {figures}", title))
    return charts


def _margin(values: np.ndarray) -> float:
    """Returns half the 95% interval of a mean, by the normal approximation."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _colour(place: int) -> str:
    return f"#0303{place % NUM_COLOURS:02x}"


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Makes an empty chart; sizes are in inches, narrow enough for a phone."""
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
    """Returns the figure as an element of an HTML page, with a caption; colours become CSS variables."""
    svg = embedded(figure, name=title, description=description, css=CSS_OF)
    return Markup(f"<figure>{svg}<figcaption>{escape(title)}</figcaption></figure>")
