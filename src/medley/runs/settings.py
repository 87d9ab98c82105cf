"""Settings of a training, the same for all models. Options such as dim, num_layers and reg belong to the model."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from medley.errors import invalid
from medley.evaluation.evaluator import CANDIDATES, KINDS_OF_CANDIDATES


def _check_candidates(value: str) -> str:
    if not CANDIDATES.fullmatch(value):
        raise ValueError(KINDS_OF_CANDIDATES)
    return value


class TrainSettings(BaseModel):
    """Settings of one training. The defaults suit data sets of 10^4 to 10^6 interactions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(1e-3, gt=0, allow_inf_nan=False, description="learning rate of Adam")
    batch_size: int = Field(2048, ge=1, description="triplets per step")
    num_epochs: int = Field(500, ge=0, description="most epochs")
    patience: int = Field(
        20, ge=0, description="stop after so many epochs without a better validation metric; 0: never"
    )
    metric: str = Field("recall@20", pattern=r"^[a-z_]+@[1-9][0-9]*$", description="validation metric, as name@k")
    candidates: Annotated[str, AfterValidator(_check_candidates)] = Field(
        "all", description=f"who competes at validation, as in evaluate: {KINDS_OF_CANDIDATES}"
    )
    train_on: Literal["train", "train+valid", "train+valid+test"] = Field(
        "train", description="splits to learn from; more than train is a last training before production (refit)"
    )
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="judge and keep a moving average of the parameters, which keeps this share per step; 0: no average",
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16: dense products of the forward pass in bfloat16; parameters stay float32"
    )
    deterministic: bool = Field(
        False, description="refuse operations whose result may differ between two runs on a GPU; a CPU has none"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...; auto takes a GPU where there is one")


SETTINGS = tuple(TrainSettings.model_fields)


def check_settings(given: Mapping[str, Any]) -> TrainSettings:
    """Returns `TrainSettings` from keywords.

    Raises:
        InputError: unknown setting, or a value of the wrong type or range.
    """
    try:
        return TrainSettings.model_validate(dict(given))
    except ValidationError as error:
        raise invalid(error, "setting", known={"settings": SETTINGS}) from None
