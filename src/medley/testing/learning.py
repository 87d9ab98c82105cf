"""Checks of the loss and the training. Each function is a promise, which is its docstring."""

import numpy as np
import torch

from medley.models.registry import learns
from medley.scoring.top_k import top_k
from medley.testing.computed import Model
from medley.testing.inputs import checkerboard
from medley.testing.small import Options, batch_of, loss_of, require, small, train_steps

NUM_STEPS = 80  # enough for every model to learn the checkerboard
LEARNED = 0.9  # share of recommended items of the user's colour; about 0.25 by chance


def trains_every_parameter(model: Model, options: Options) -> None:
    """The loss has a finite gradient, not 0 everywhere, for every parameter."""
    if not learns(model):
        return
    inputs = checkerboard()
    built = small(model, inputs, options)
    loss_of(built, batch_of(inputs)).backward()
    for name, parameter in built.named_parameters():
        if parameter.grad is None:
            raise AssertionError(f"the parameter {name} is not part of the loss")
        require(parameter.grad.isfinite().all(), f"the gradient of {name} is NaN or infinite")
        require(parameter.grad.abs().sum() > 0, f"the parameter {name} has no influence on the loss")


def resumes_from_its_parameters(model: Model, options: Options) -> None:
    """start_epoch() depends on the parameters and on torch's generator alone, so that a resumed run stays the same."""
    if not learns(model):
        return
    inputs = checkerboard()
    trained, resumed = (small(model, inputs, options, seed=seed) for seed in (1, 2))
    train_steps(trained, inputs, num_steps=3)
    resumed.load_state_dict({key: value.clone() for key, value in trained.state_dict().items()})
    losses = []
    for each in (trained, resumed):
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(7)
            each.train().start_epoch()
            losses.append(loss_of(each, batch_of(inputs)))
    require(torch.equal(*losses), "the loss of a resumed model differs after start_epoch()")


def learns_the_checkerboard(model: Model, options: Options) -> None:
    """After 80 steps of training, users are recommended unseen items of their own colour."""
    if not learns(model):
        return
    inputs = checkerboard()
    built, users = small(model, inputs, options), np.arange(inputs.train.num_users)
    train_steps(built, inputs, num_steps=NUM_STEPS)
    with torch.no_grad():
        items, _ = top_k(built.eval().scorer(), users, inputs.train.csr(), 3)
    share = (items % 2 == users[:, None] % 2).mean()
    require(
        share > LEARNED, f"{share:.0%} of the recommended items have the user's colour, not more than {LEARNED:.0%}"
    )
