"""How a model is trained, whatever the model. Options of the model itself (dim, num_layers, reg, ...) are its own."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medley.errors import InputError


class TrainSettings(BaseModel):
    """Settings of one training. The defaults suit data sets of 10^4 to 10^6 interactions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(1e-3, gt=0, description="learning rate of Adam")
    batch_size: int = Field(2048, ge=1, description="triplets per step")
    num_epochs: int = Field(500, ge=0, description="epochs at most")
    patience: int = Field(
        20, ge=0, description="stop after so many epochs without a better validation metric; 0: never"
    )
    metric: str = Field("recall@20", pattern=r"^[a-z_]+@[1-9][0-9]*$", description="validation metric, as name@k")
    seed: int = Field(0, ge=0, description="seed of parameters, batches and negatives")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16: dense products of the forward pass in bfloat16; parameters stay float32"
    )
    deterministic: bool = Field(
        False, description="refuse operations whose result may differ between two runs on a GPU; a CPU has none"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...; auto takes a GPU where there is one")


def check_settings(given: dict[str, Any]) -> TrainSettings:
    """`TrainSettings` from keywords.

    Raises:
        InputError: unknown setting, or a value of the wrong type or range.
    """
    try:
        return TrainSettings.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        setting = ".".join(str(part) for part in problem["loc"])
        known = ", ".join(TrainSettings.model_fields)
        raise InputError(
            f"setting {setting!r}", got=f"{problem['input']!r} ({problem['msg']})", remedy=f"the settings are: {known}"
        ) from None
