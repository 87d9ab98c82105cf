"""Curves with a band over seeds: training, metrics at K, metrics along an option."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from medley.errors import InputError
from medley.report.figures.style import FAINT, figure, label, legend, style_of


def training_curves(curves: Mapping[str, Sequence[ArrayLike]], *, metric: str) -> Figure:
    """Draws a metric by epoch: a line per seed with a mark at its best epoch, all seeds of an entry in one style.

    Args:
        curves: label -> one array of values per seed, the first of epoch 1; NaN where nothing was measured.
        metric: name of the vertical axis.
    """
    made, (axes,) = figure()
    for place, (name, seeds) in enumerate(curves.items()):
        style = style_of(place)
        for number, values in enumerate(seeds):
            y = np.asarray(values, dtype=np.float64)
            x = np.arange(1, len(y) + 1)
            shown = {
                "color": style.colour,
                "linestyle": style.line,
                "linewidth": 1.2,
                "alpha": 0.9 if number == 0 else 0.5,
            }
            axes.plot(x, y, **shown, label=name if number == 0 else None)
            if np.isfinite(y).any():
                top = int(np.nanargmax(y))
                axes.plot(x[top], y[top], style.marker, color=style.colour, markersize=5)
    label(axes, x="epoch", y=metric)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _finish(made, axes)
    return made


def metric_at_k(values: Mapping[str, ArrayLike], ks: Sequence[int], *, metric: str = "Recall") -> Figure:
    """Draws a metric at every cut-off K, with a band of one standard deviation over the seeds.

    Args:
        values: label -> (S, K) values, one row per seed, one column per cut-off.
        ks: the cut-offs.
        metric: name of the vertical axis.
    """
    made, (axes,) = figure()
    for place, (name, array) in enumerate(values.items()):
        _band(axes, ks, _two(array, len(ks), name), place, name)
    label(axes, x="K", y=f"{metric}@K")
    axes.set_xticks(list(ks))
    _finish(made, axes)
    return made


def sweep(values: Mapping[str, Mapping[float | str, ArrayLike]], *, x: str, metric: str) -> Figure:
    """Draws a metric along the values of an option (depth, k, drop ratio), with a band over the seeds.

    Args:
        values: label -> value of the option -> (S,) values, one per seed. Numbers are placed by size, words side by
            side.
        x: name of the horizontal axis.
        metric: name of the vertical axis.
    """
    made, (axes,) = figure()
    places = list(dict.fromkeys(place for line in values.values() for place in line))
    numeric = all(isinstance(place, int | float) for place in places)
    places = sorted(places) if numeric else places
    for number, (name, line) in enumerate(values.items()):
        chosen = [place for place in places if place in line]
        seeds = [np.atleast_1d(np.asarray(line[place], dtype=np.float64)) for place in chosen]
        mean, std = np.array([s.mean() for s in seeds]), np.array([s.std(ddof=1) if len(s) > 1 else 0.0 for s in seeds])
        at = [float(place) for place in chosen] if numeric else [places.index(place) for place in chosen]
        _drawn(axes, at, mean, std, number, name)
    label(axes, x=x, y=metric)
    if numeric and len(places) <= 12:
        axes.set_xticks([float(place) for place in places], [f"{place:g}" for place in places])
    elif not numeric:
        axes.set_xticks(range(len(places)), [str(place) for place in places])
    _finish(made, axes)
    return made


def _two(array: ArrayLike, columns: int, name: str) -> np.ndarray:
    values = np.atleast_2d(np.asarray(array, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != columns:
        raise InputError(f"values of {name}", expected=f"(seeds, {columns})", got=str(values.shape))
    return values


def _band(axes: Axes, x: Sequence[float], values: np.ndarray, place: int, name: str) -> None:
    std = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    _drawn(axes, x, values.mean(axis=0), std, place, name)


def _drawn(axes: Axes, x: Sequence[float], mean: np.ndarray, std: np.ndarray, place: int, name: str) -> None:
    style = style_of(place)
    axes.plot(
        x, mean, color=style.colour, linestyle=style.line, marker=style.marker, markersize=5, linewidth=1.4, label=name
    )
    if std.any():
        axes.fill_between(x, mean - std, mean + std, color=style.colour, alpha=0.18, linewidth=0)


def _finish(made: Figure, axes: Axes) -> None:
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    legend(made, axes)
