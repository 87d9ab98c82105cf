"""Bars with intervals, and accuracy against cost."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medley.errors import InputError
from medley.evaluation.paired import Interval
from medley.report.figures.style import BLUE, FAINT, GREY, INK, figure, label, legend, style_of

PLACES = (((5, 4), "left"), ((5, -11), "left"), ((-5, 4), "right"), ((-5, -11), "right"), ((5, 15), "left"))


def bars(values: Mapping[str, Interval], *, metric: str, groups: Mapping[str, str] | None = None) -> Figure:
    """Draws a bar per entry with its interval, the first on top.

    Args:
        values: label -> mean and interval.
        metric: name of the horizontal axis.
        groups: label -> group; bars of a group share colour and hatch, and the groups have a legend.

    Raises:
        InputError: no values.
    """
    if not values:
        raise InputError("values of the bars", expected="at least one", got="none")
    made, (axes,) = figure(6.2, 0.9 + 0.3 * len(values))
    names = list(dict.fromkeys(groups.values())) if groups else []
    for place, (name, one) in enumerate(values.items()):
        group = groups.get(name, "") if groups else ""
        style = style_of(names.index(group)) if group in names else style_of(0)
        shown = group if group and group not in axes.get_legend_handles_labels()[1] else None
        axes.barh(
            place, one.mean, 0.7, color=style.colour, alpha=0.75, hatch=style.hatch, edgecolor="white", label=shown
        )
        axes.plot([one.low, one.high], [place, place], color=INK, linewidth=1.2, marker="|", markersize=7)
        axes.annotate(
            f"{one.mean:.4f}",
            (max(one.mean, one.high), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=8.5,
        )
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set_xlim(right=1.16 * max(max(one.mean, one.high) for one in values.values()) or 1)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    label(axes, x=metric)
    if len(names) > 1:
        legend(made, axes)
    return made


def cost(points: Mapping[str, tuple[float, float]], *, x: str, metric: str) -> Figure:
    """Draws accuracy against cost, cost on a logarithmic axis; a step line joins what nothing cheaper surpasses.

    Args:
        points: label -> cost (above 0) and accuracy.
        x: name of the horizontal axis, with its unit.
        metric: name of the vertical axis.

    Raises:
        InputError: a cost that is not above 0.
    """
    if not points or min(price for price, _ in points.values()) <= 0:
        raise InputError("costs", expected="at least one point, and numbers above 0", got=dict(points))
    made, (axes,) = figure(6.2, 4.2)
    front = pareto(list(points.values()))
    edge = [list(points.values())[place] for place in front]
    axes.step(
        [p for p, _ in edge], [v for _, v in edge], where="post", color=GREY, linewidth=1, linestyle="--", zorder=1
    )
    for place, (price, value) in enumerate(points.values()):
        style, is_best = style_of(place), place in front
        face = BLUE if is_best else "white"
        axes.plot(price, value, style.marker, color=BLUE if is_best else INK, markerfacecolor=face, markersize=6)
    axes.set_xscale("log")
    axes.margins(x=0.18, y=0.1)
    for name, (at, side) in zip(points, _free_places(made, axes, points), strict=True):
        where = {"xytext": at, "textcoords": "offset points", "ha": side}
        axes.annotate(name, points[name], **where, fontsize=8, color=INK)
    axes.grid(color=FAINT, linewidth=0.6)
    label(axes, x=x, y=metric)
    return made


def _free_places(
    made: Figure, axes: Axes, points: Mapping[str, tuple[float, float]]
) -> list[tuple[tuple[int, int], str]]:
    """Returns an offset in points and a side for each name, so that names overlap as little as can be."""
    made.draw_without_rendering()  # so that the axes have their size
    scale = 72 / made.dpi
    taken: list[tuple[float, float, float, float]] = []
    chosen = []
    for name, point in points.items():
        x, y = axes.transData.transform(point) * scale
        width = 4.7 * len(name)
        boxes = []
        for at, side in PLACES:
            left = x + at[0] - (width if side == "right" else 0)
            boxes.append((left, left + width, y + at[1], y + at[1] + 9))
        hits = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = hits.index(min(hits))
        taken.append(boxes[best])
        chosen.append(PLACES[best])
    return chosen


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, right, bottom, top) overlap."""
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the places of the points that no other point surpasses at equal or smaller cost, the cheapest first."""
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    front, best = [], -np.inf
    for place in order:
        if points[place][1] > best:
            best = points[place][1]
            front.append(place)
    return front
