"""Small models for the checks, and their training."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medley.models.base import Recommender
from medley.models.build import build, describe
from medley.testing.computed import Model
from medley.training.sampling import TripletSampler
from medley.types import Inputs, Triplets

Options = Mapping[str, Any]

SMALL_DIM = 8
LEARNING_RATE = 0.02


def require(condition: object, sentence: str) -> None:
    """Raises AssertionError unless the condition holds; `assert` would vanish under `python -O`."""
    if not condition:
        raise AssertionError(sentence)


def small(model: Model, inputs: Inputs, options: Options, *, seed: int = 0) -> Recommender:
    """Builds a model with vectors of SMALL_DIM dimensions, over which the options count."""
    dim = {"dim": SMALL_DIM} if "dim" in describe(model)["options"] else {}
    return build(model, inputs, seed=seed, **(dim | dict(options)))


def batch_of(inputs: Inputs) -> Triplets:
    """Returns every interaction once, with negatives under a fixed seed."""
    return TripletSampler(inputs.train, torch.Generator().manual_seed(0)).epoch()


def loss_of(model: Recommender, batch: Triplets, *, seed: int = 0) -> Tensor:
    """Returns the loss in training mode; the seed decides what is drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model.train().loss(batch)


def train_steps(model: Recommender, inputs: Inputs, *, num_steps: int) -> None:
    """Trains on all interactions at once, one step per epoch."""
    sampler = TripletSampler(inputs.train, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for step in range(num_steps):
        with torch.no_grad():
            model.train().start_epoch()
        optimizer.zero_grad()
        loss_of(model, sampler.epoch(), seed=step).backward()
        optimizer.step()
