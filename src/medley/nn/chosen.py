"""Numbers of a score that are chosen on validation after training, without training again."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError, WrapValidator
from torch import Tensor, nn

Auto = Literal["auto"]


def expecting(what: str) -> WrapValidator:
    """Returns a validator that refuses a value in one sentence, for a type with alternatives, which has one each."""

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise ValueError(what) from None

    return WrapValidator(check)


_RECENCY = "a number more than 0, 1 or less, or auto"
Recency = Annotated[  # an item weighs recency^age; 1: the order does not matter
    Annotated[float, Field(gt=0, le=1)] | Auto, Field(description=_RECENCY), expecting(_RECENCY)
]
_OFFSET = "a number, or auto"
Offset = Annotated[float | Auto, Field(description=_OFFSET), expecting(_OFFSET)]  # added to scores
_WEIGHT = "a number, 0 or more, or auto"
ChosenWeight = Annotated[Annotated[float, Field(ge=0)] | Auto, Field(description=_WEIGHT), expecting(_WEIGHT)]

COLD_VALUE = 0.2  # recall of items without train interactions, beside the validation metric, where an offset is chosen
RECENCIES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3)


class ChosenNumber(nn.Module):
    """A number that the score depends on and the training does not.

    An option of a model with the value "auto" becomes such a module under the name of the option; `training.fit` tries
    `among` on validation when the training has ended and keeps the best value, which is saved with the parameters.
    """

    value: Tensor  # () float32

    def __init__(self, given: float | Auto, *, among: Sequence[float], start: float, cold_value: float = 0.0):
        """Fixes the number, or starts it.

        Args:
            given: the number, or "auto".
            among: values to try if the number is "auto".
            start: the value until then; also the final one if no validation split chooses.
            cold_value: recall of items without train interactions counts so much beside the validation metric. The
                metric alone hardly ever lifts new items: few held-out interactions are theirs.
        """
        super().__init__()
        self.among, self.cold_value = tuple(among) if given == "auto" else (), cold_value
        value = torch.tensor(start if given == "auto" else given, dtype=torch.float32)
        self.register_buffer("value", value, persistent=bool(self.among))

    def forward(self) -> Tensor:
        """Returns the number, ()."""
        return self.value


def numbers_to_choose(model: nn.Module) -> dict[str, ChosenNumber]:
    """Returns option -> number, of the numbers that are "auto"; the option has the name of the module."""
    numbers = {name: module for name, module in model.named_modules() if isinstance(module, ChosenNumber)}
    return {name.rpartition(".")[2]: number for name, number in numbers.items() if number.among}
