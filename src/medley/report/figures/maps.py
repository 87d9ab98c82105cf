"""Maps of vectors, weights of modalities, users with the same items, and intents with their items."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from medley.errors import InputError
from medley.report.figures.style import BLUE, FAINT, INK, figure, label, legend, style_of

LIGHT_TO_BLUE = LinearSegmentedColormap.from_list("light_to_blue", ["#FFFFFF", BLUE])  # readable in grey, too
INK_ON_LIGHT = "#222223"  # not INK, which a dark page makes light: the cells of a heat map stay light
LONGEST = 34  # characters of a title
MOST_CELLS = 400  # of a heat map with figures in its cells


def embedding_map(
    panels: Mapping[str, ArrayLike],
    group: ArrayLike,
    names: Sequence[str],
    *,
    star: ArrayLike | None = None,
) -> Figure:
    """Draws the same points in several maps side by side, for example before and after training.

    Args:
        panels: title -> (n, 2) positions.
        group: (n,) the group of every point; it decides colour and marker.
        names: the name of each group.
        star: (n,) bool, points that are drawn large (users among their items).

    Raises:
        InputError: positions and groups do not fit.
    """
    group, maps = np.asarray(group), {title: np.asarray(xy, dtype=np.float64) for title, xy in panels.items()}
    star = np.zeros(len(group), dtype=bool) if star is None else np.asarray(star)
    for title, xy in maps.items():
        if xy.shape != (len(group), 2) or not len(group) or group.min() < 0 or group.max() >= len(names):
            got = f"{xy.shape} and groups {sorted(set(group.tolist()))}"
            expected = f"({len(group)}, 2), and groups below {len(names)}"
            raise InputError(f"positions of {title!r}", expected=expected, got=got)
    made, axes = figure(3.3 * len(maps) + 0.2, 3.6, columns=len(maps))
    for each, (title, xy) in zip(axes, maps.items(), strict=True):
        for place, name in enumerate(names):
            style, mine = style_of(place), group == place
            small, large = mine & ~star, mine & star
            shown = name if each is axes[0] else None
            each.scatter(*xy[small].T, s=13, c=style.colour, marker=style.marker, alpha=0.7, linewidths=0, label=shown)
            each.scatter(*xy[large].T, s=150, c=style.colour, marker="*", edgecolors=INK, linewidths=0.8, zorder=3)
        each.set_xticks([])
        each.set_yticks([])
        each.spines[:].set_visible(True)
        each.spines[:].set_color(FAINT)
        label(each, title=title)
    legend(made, axes[0])
    return made


def modality_weights(weights: ArrayLike, names: Sequence[str], *, most: int = 20) -> Figure:
    """Draws each user's weights of the modalities: their distribution, and a heat map of users.

    Args:
        weights: (U, M), one row per user.
        names: the M modalities.
        most: rows of the heat map: users from all over the order by their heaviest modality and its lead.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(names) or not len(values):
        raise InputError("weights of the modalities", expected=f"(users, {len(names)})", got=str(values.shape))
    made, (left, right) = figure(7.2, 3.6, columns=2)
    share = np.arange(1, len(values) + 1) / len(values)
    for place, name in enumerate(names):
        style = style_of(place)
        every = max(1, len(values) // 6)
        shown = {"color": style.colour, "linestyle": style.line, "marker": style.marker, "markevery": every}
        left.plot(np.sort(values[:, place]), share, **shown, markersize=5, linewidth=1.4, label=name)
    left.set_ylim(0, 1.02)
    left.grid(color=FAINT, linewidth=0.6)
    label(left, x="weight", y="share of users with at most this weight")
    order = np.lexsort((-values.max(axis=1), values.argmax(axis=1)))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
    _heat(made, right, values[chosen], list(names), None, unit="weight")
    label(right, title=f"{len(chosen)} of {len(values):,} users", y="users, by heaviest modality")
    legend(made, left)
    return made


def cooccurring_users(
    positions: ArrayLike, centres: Sequence[int], neighbours: Sequence[Mapping[int, float]], names: Sequence[str]
) -> Figure:
    """Draws users on a map, and lines from some users to the users who have the same items.

    Args:
        positions: (n, 2) of all users on the map.
        centres: rows of the chosen users.
        neighbours: for each chosen user, row of another user -> weight; the width of the line.
        names: the names of the chosen users.
    """
    xy = np.asarray(positions, dtype=np.float64)
    made, (axes,) = figure(5.2, 4.4)
    axes.scatter(*xy.T, s=6, c=FAINT, linewidths=0)
    for place, (centre, others, name) in enumerate(zip(centres, neighbours, names, strict=True)):
        style, heaviest = style_of(place), max(others.values(), default=1.0)
        for row, weight in others.items():
            ends = xy[[centre, row]].T
            width = 0.4 + 1.6 * weight / heaviest
            axes.plot(*ends, color=style.colour, linewidth=width, linestyle=style.line, alpha=0.6, zorder=2)
        rows = list(others)
        axes.scatter(*xy[rows].T, s=26, c=style.colour, marker=style.marker, linewidths=0, zorder=3)
        shown = {"c": style.colour, "marker": "*", "edgecolors": INK, "linewidths": 0.8, "zorder": 4}
        axes.scatter(*xy[centre], s=190, **shown, label=f"{name} and {len(rows)} others")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(FAINT)
    legend(made, axes)
    return made


def intents(shares: ArrayLike, items: Sequence[str], names: Sequence[str]) -> Figure:
    """Draws how much items belong to intents: a heat map with typical items as rows.

    Args:
        shares: (n, K) share of each item in each intent.
        items: titles of the items, typical items of one intent below each other.
        names: the K intents.
    """
    values = np.asarray(shares, dtype=np.float64)
    if values.shape != (len(items), len(names)) or not values.size:
        expected = f"({len(items)}, {len(names)}), not empty"
        raise InputError("shares of the intents", expected=expected, got=str(values.shape))
    made, (axes,) = figure(3.4 + 0.55 * len(names), 1.0 + 0.23 * len(items))
    _heat(made, axes, values, list(names), [_cut(item) for item in items], unit="share of the item")
    label(axes, x="intent")
    return made


def _heat(
    made: Figure, axes: Axes, values: np.ndarray, columns: list[str], rows: list[str] | None, *, unit: str
) -> None:
    drawn = axes.imshow(values, cmap=LIGHT_TO_BLUE, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=0 if max(map(len, columns)) < 12 else 30)
    if rows is None:
        axes.set_yticks([])
    else:
        axes.set_yticks(range(len(rows)), rows)
    axes.spines[:].set_visible(False)
    if values.size <= MOST_CELLS:
        low, high = np.nanmin(values), np.nanmax(values)
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if high > low and (value - low) / (high - low) > 0.6 else INK_ON_LIGHT
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=ink)
    bar = made.colorbar(drawn, ax=axes, shrink=0.7)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.set_label(unit, color=INK, fontsize=8.5)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
