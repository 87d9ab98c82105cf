"""An entry of a study: a model and the settings to try, or a variant of another entry."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from medley import models
from medley.runs.settings import TrainSettings

Options = Mapping[str, Any]

QUICK: dict[str, Any] = {"num_epochs": 2, "dim": 8}  # of a quick study, where a model has such an option


@dataclass(frozen=True)
class Entry:
    """A model and the values to try: every combination of the lists in `grid`, with the fixed `options`.

    With `variant_of`, the label of another entry, `options` change the settings that were chosen for that entry;
    without a grid nothing is tried.
    """

    model: str
    label: str
    options: Options  # options and settings, as in `Recipe.of`
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    variant_of: str = ""
    trials: int = 0  # of a search by `medley tune` in place of the grid
    parameters_of: str = ""  # label of an entry: `dim` is chosen to have as many parameters
    group: str = ""  # heading under which tables and figures show the entry
    value: float | str | None = None  # position on the axis of a figure that draws the variants as a curve

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yields each point of the grid with the fixed options."""
        for values in product(*self.grid.values()):
            yield {**self.options, **dict(zip(self.grid, values, strict=True))}

    def quick(self) -> "Entry":
        """Returns the entry with two epochs, small vectors and at most two points, to see a study run to its end."""
        grid = {key: tuple(values) for key, values in self.grid.items() if key not in QUICK}
        many = next((key for key, values in grid.items() if len(values) > 1), None)
        grid = {key: values[: 2 if key == many else 1] for key, values in grid.items()}
        options = {**self._defaults(), **self.options}
        changes = {"num_epochs": QUICK["num_epochs"]} if "num_epochs" in {**options, **self.grid} else {}
        changes |= {"dim": QUICK["dim"]} if options.get("dim", 0) > QUICK["dim"] else {}
        return replace(self, options={**self.options, **changes}, grid=grid, trials=min(self.trials, 2))

    def _defaults(self) -> dict[str, Any]:
        """Returns the values that a quick study may have to lower; a variant takes what it does not name."""
        if self.variant_of:
            return {}
        dim = models.describe(self.model)["options"].get("dim", {}).get("default", 0)
        return {"dim": dim} | ({"num_epochs": TrainSettings().num_epochs} if models.learns(self.model) else {})
