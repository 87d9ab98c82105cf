"""The slice plot: the validation metric of every trial over every parameter."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medley.errors import MissingExtraError
from medley.models.spaces import Choice, Log, Space, Whole
from medley.tuning.trials import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOT, DEFAULT, BEST = "#0072B2", "#000000", "#D55E00"  # of Okabe and Ito: distinct for the colour-blind, and in print


def slices(trials: Sequence[Trial], space: Mapping[str, Space], metric: str) -> bytes:
    """Draws a panel per parameter, as SVG: filled dots are complete trials, open dots trials that were cut off.

    Args:
        trials: those without a value are left out.
        space: parameter -> search space; at least one.
        metric: name of the values.

    Raises:
        MissingExtraError: the extra plots is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("The slice plot", "plots") from None
    shown = [trial for trial in trials if trial.value is not None]
    figure = Figure(figsize=(2.6 * len(space), 2.8), layout="constrained")
    panels = figure.subplots(1, len(space), sharey=True, squeeze=False)[0]
    for panel, (name, one) in zip(panels, space.items(), strict=True):
        _panel(panel, name, one, shown)
    panels[0].set_ylabel(f"{metric} on validation")
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "slice", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _panel(axes: "Axes", name: str, space: Space, trials: Sequence[Trial]) -> None:
    places = {trial.number: _place(trial.params[name], space) for trial in trials}
    best = max(trials, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)
    for trial in trials:
        colour = BEST if trial is best else DEFAULT if trial.is_default else DOT
        marker = "*" if trial is best else "s" if trial.is_default else "o"
        face = colour if trial.state == "complete" else "none"
        size = 70 if trial is best else 22
        axes.scatter(places[trial.number], trial.value or 0.0, s=size, c=face, edgecolors=colour, marker=marker)
    if isinstance(space, Choice):
        axes.set_xticks(range(len(space.values)), [str(value) for value in space.values], rotation=30)
    elif isinstance(space, Whole) and space.size <= 12:
        axes.set_xticks(range(int(space.low), int(space.high) + 1))
    elif isinstance(space, Log):
        axes.set_xscale("log")
    axes.set_xlabel(name)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _place(value: object, space: Space) -> float:
    """Returns the place of a value on its axis: that of a choice is its position."""
    return space.values.index(value) if isinstance(space, Choice) else float(value)  # type: ignore[arg-type]
