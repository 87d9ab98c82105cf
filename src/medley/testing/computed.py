"""What a model computes, as arrays in double precision."""

from typing import Any

import numpy as np
import torch

from medley.models.base import Recommender
from medley.models.build import build, describe
from medley.scoring.blocks import score_blocks
from medley.types import Inputs

Model = str | type[Recommender]  # a name, an import path or a class, as `medley.models.find` takes them

DIM = 3  # of the vectors that `drawn` draws


def drawn(model: Model, inputs: Inputs, *, std: float = 1.0, seed: int = 0, **options: Any) -> Recommender:
    """Builds a model with parameters from N(0, std^2), so that biases and stand-ins for missing features count too.

    Args:
        model: a name, an import path or a class.
        inputs: e.g. `five_nodes()`.
        std: standard deviation of the parameters.
        seed: of the parameters.
        options: options of the model, over dim = DIM and feature_scale = "none" if the model has these options.
    """
    known = describe(model)["options"]
    defaults: dict[str, Any] = {"dim": DIM, "feature_scale": "none"}
    built = build(model, inputs, **{key: value for key, value in defaults.items() if key in known} | options)
    generator = torch.Generator().manual_seed(seed)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return built


def parameters_of(model: Recommender) -> dict[str, np.ndarray]:
    """Returns the parameters by name, in double precision. Slow loops call this mapping w."""
    return {name: value.detach().double().numpy() for name, value in model.named_parameters()}


def vectors_of(model: Recommender) -> tuple[np.ndarray, np.ndarray]:
    """Returns the user and item vectors of forward(), without changing between training and evaluation mode."""
    with torch.no_grad():
        user, item = model()
    return user.double().numpy(), item.double().numpy()


def scores_of(model: Recommender) -> np.ndarray:
    """Returns the scores of all users for all items (U, I), as the evaluator and the service compute them."""
    users, scores = np.arange(model.num_users), np.empty((model.num_users, model.num_items))
    with torch.no_grad():
        for rows, block in score_blocks(model.eval().scorer(), users, model.num_items, memory_mb=64):
            scores[rows] = block.double().cpu().numpy()
    return scores
