"""Equal capacity: the dimension with which one model has as many parameters as another."""

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.runs import Recipe

WITHIN = 0.05  # of the wanted number of parameters
LARGEST = 4096


def dim_of_size(recipe: Recipe, data: Dataset, wanted: int) -> tuple[int, int]:
    """Finds the `dim` whose number of parameters is nearest to a wanted number, by bisection.

    Args:
        recipe: of a model with the option `dim`, whose number of parameters grows with it.
        data: the data set of the model.
        wanted: number of parameters.

    Returns:
        The dimension, and the number of parameters with it.

    Raises:
        InputError: the model has no `dim`, or no dimension comes within 5% of the wanted number.
    """
    if "dim" not in recipe.options:
        raise InputError(f"{recipe.model} with other numbers of parameters", expected="an option dim", got="none")
    counts: dict[int, int] = {}

    def count(dim: int) -> int:
        if dim not in counts:
            options = {**recipe.options, "dim": dim}
            built = models.build(recipe.model, data.inputs(), seed=recipe.seed, **options)
            counts[dim] = sum(parameter.numel() for parameter in built.parameters())
        return counts[dim]

    low, high = 1, max(2, recipe.options["dim"])
    while count(high) < wanted and high < LARGEST:
        low, high = high, min(2 * high, LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    dim = min((low, high), key=lambda each: abs(count(each) - wanted))
    if abs(count(dim) - wanted) > WITHIN * wanted:
        nearest = f"{count(dim):,} with dim={dim}"
        raise InputError(f"parameters of {recipe.model}", expected=f"{wanted:,} within {WITHIN:.0%}", got=nearest)
    return dim, count(dim)
