"""How all pictures look, and how a picture becomes a file or an element of a page."""

import io
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from medley.errors import InputError, MissingExtraError
from medley.files import write_atomic

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError:
    raise MissingExtraError("Pictures", "plots") from None

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY, INK, FAINT = "#E69F00", "#56B4E9", "#7F7F80", "#1A1A1B", "#D9D9DA"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)  # without yellow, which paper does not show
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "+++")
CSS = {INK: "var(--ink)", FAINT: "var(--line)"}  # in a page, where both follow the light or dark theme
FONT = {"svg.fonttype": "none", "font.family": "sans-serif", "pdf.fonttype": 42}
FORMATS = (".svg", ".pdf", ".png")


class Style(NamedTuple):
    """The look of one series."""

    colour: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str
    hatch: str


def style_of(place: int) -> Style:
    """Returns the style of the series in a position; the first 280 differ."""
    return Style(
        COLOURS[place % len(COLOURS)], LINES[place % len(LINES)], MARKERS[place % len(MARKERS)], HATCHES[place % 8]
    )


def figure(width: float = 5.6, height: float = 3.4, *, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Makes an empty figure with axes side by side; sizes in inches."""
    made = Figure(figsize=(width, height), layout="constrained")
    made.set_facecolor("white")
    axes = list(made.subplots(1, columns, squeeze=False)[0])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(FAINT)
        each.tick_params(which="both", colors=INK, labelsize=9, length=3)
        each.set_axisbelow(True)
    return made, axes


def label(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Writes the names of the axes and the title."""
    axes.set_xlabel(x, color=INK, fontsize=9.5)
    axes.set_ylabel(y, color=INK, fontsize=9.5)
    axes.set_title(title, color=INK, fontsize=10, loc="left")


def legend(made: Figure, axes: Axes, *, most: int = 4) -> None:
    """Puts the legend below the axes, in at most `most` columns."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        columns = min(most, len(handles), max(1, 72 // (6 + max(map(len, names)))))
        made.legend(
            handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5, labelcolor=INK
        )


def save(made: Figure, path: str | Path, *, description: str = "") -> Path:
    """Writes a figure as .svg, .pdf or .png; equal figures give equal bytes.

    Raises:
        InputError: another ending.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError("name of a picture", file=path, expected=f"{', '.join(FORMATS)} at its end", got=path.suffix)
    file = io.BytesIO()
    nothing = {".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}
    with matplotlib.rc_context({**FONT, "svg.hashsalt": path.stem}):
        made.savefig(file, format=path.suffix[1:], dpi=200, metadata=nothing[path.suffix])
    content = file.getvalue()
    if path.suffix == ".svg" and description:
        content = _described(content.decode(), description).encode()
    write_atomic(path, content)
    return path


def embedded(made: Figure, *, name: str, description: str, css: Mapping[str, str] = CSS) -> str:
    """Returns a figure as an element of an HTML page.

    Args:
        made: the figure.
        name: unique in the page: ids of different figures must differ.
        description: what the figure shows, for readers who do not see the figure.
        css: colour of the figure, in capitals (#1A1A1B) -> CSS value in the page.
    """
    file = io.StringIO()
    with matplotlib.rc_context({**FONT, "svg.hashsalt": name}):
        made.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg, count=5)  # of the root; viewBox remains
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # figure_1, ...: the same in every figure
    svg = re.sub("|".join(css), lambda colour: css[colour[0].upper()], svg, flags=re.IGNORECASE)
    return _described(svg, description)


def _described(svg: str, description: str) -> str:
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
