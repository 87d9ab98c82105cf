"""Settings and scores that a paper published on one data set."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Published(NamedTuple):
    """Published settings beside published scores."""

    data: str  # size and features of the data set
    options: Mapping[str, Any]  # of the model
    settings: Mapping[str, Any]  # of the training
    scores: Mapping[str, Mapping[str, float]]  # variant or other model -> metric -> value
