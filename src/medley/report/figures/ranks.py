"""The critical-difference diagram (Demsar, JMLR 2006)."""

import numpy as np
from matplotlib.figure import Figure

from medley.report.figures.style import INK, VERMILLION, figure
from medley.report.rank_test import RankTest


def critical_difference(test: RankTest) -> Figure:
    """Draws the mean ranks on a line, the best on the left; a thick bar joins models that do not differ."""
    k, cliques = len(test.labels), test.cliques
    lowest, highest = _limits(test)
    half = (k + 1) // 2
    height = 1.0 + 0.3 * half + 0.16 * len(cliques)
    made, (axes,) = figure(7.2, height)
    axes.set_axis_off()
    span = highest - lowest
    axes.set_xlim(lowest - 0.42 * span, highest + 0.42 * span)
    axes.set_ylim(-(0.5 + 0.16 * len(cliques) + 0.3 * half), 0.75)
    axes.plot([lowest, highest], [0, 0], color=INK, linewidth=1)
    for tick in _ticks(lowest, highest):
        axes.plot([tick, tick], [0, 0.07], color=INK, linewidth=1)
        axes.annotate(f"{tick:g}", (tick, 0.1), ha="center", va="bottom", fontsize=8.5, color=INK)
    axes.plot(
        [lowest, min(lowest + test.critical_difference, highest)], [0.5, 0.5], color=INK, linewidth=1.5, marker="|"
    )
    title = f"critical difference {test.critical_difference:.3g} (level {test.alpha:g}, {test.num_blocks:,} blocks)"
    axes.annotate(title, (lowest, 0.57), ha="left", va="bottom", fontsize=8.5, color=INK)
    for line, (low, high) in enumerate(cliques):
        y = -0.12 - 0.16 * line
        axes.plot(
            [low - 0.008 * span, high + 0.008 * span], [y, y], color=VERMILLION, linewidth=3.2, solid_capstyle="butt"
        )
    for position, place in enumerate(test.order):
        rank, on_left = float(test.mean_rank[place]), position < half
        level = position if on_left else k - 1 - position
        y = -(0.35 + 0.16 * len(cliques) + 0.3 * level)
        end = lowest - 0.03 * span if on_left else highest + 0.03 * span
        axes.plot([rank, rank, end], [0, y, y], color=INK, linewidth=0.8)
        text = f"{test.labels[place]}  {rank:.2f}" if on_left else f"{rank:.2f}  {test.labels[place]}"
        axes.annotate(
            text, (end, y), xytext=(-3 if on_left else 3, 0), textcoords="offset points", fontsize=8.5, color=INK,
            ha="right" if on_left else "left", va="center",
        )  # fmt: skip
    return made


def _limits(test: RankTest) -> tuple[float, float]:
    """Bounds of the axis: the mean ranks, as they may lie close together, and room for the critical difference."""
    low, high = float(test.mean_rank.min()), float(test.mean_rank.max())
    margin = max(0.05 * (high - low), 0.02)
    low, high = max(1.0, low - margin), min(float(len(test.labels)), high + margin)
    return low, max(high, low + min(test.critical_difference, 1.0))


def _ticks(low: float, high: float) -> list[float]:
    span = high - low
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if span / s <= 8)
    first = np.ceil(low / step - 1e-9)
    return [float(round(n * step, 6)) for n in np.arange(first, np.floor(high / step + 1e-9) + 1)]
