"""The state of a training, and its checkpoint: a resumed training computes the same bits."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from medley.errors import InputError
from medley.files import write_atomic
from medley.models import Recommender
from medley.runs import Epoch, History


@dataclass
class TrainingState:
    """All that changes while a model is trained."""

    model: Recommender
    optimizer: Optimizer | None  # None for a model without parameters
    generator: torch.Generator  # of the sampler
    history: History
    best: dict[str, Tensor] = field(default_factory=dict)  # the best parameters so far
    average: dict[str, Tensor] = field(default_factory=dict)  # of the parameters over the steps; empty: not kept

    def keep_best(self) -> None:
        """Copies the current parameters to `best`."""
        self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def start_average(self) -> None:
        """Starts the average at the current parameters."""
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}

    def update_average(self, share: float) -> None:
        """Keeps this share of the average, and takes the rest from the current parameters."""
        current = dict(self.model.named_parameters())
        torch._foreach_lerp_([*self.average.values()], [current[name].detach() for name in self.average], 1 - share)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Puts the average in the place of the parameters for a while, if one is kept; nothing is copied."""
        parameters = [(value, self.average[name]) for name, value in self.model.named_parameters() if self.average]
        try:
            for value, average in parameters:
                value.data, average.data = average.data, value.data
            yield
        finally:
            for value, average in parameters:
                value.data, average.data = average.data, value.data


def save_checkpoint(path: Path, state: TrainingState) -> None:
    """Writes parameters, the best parameters so far, optimiser state, random states and history, in one step."""
    assert state.optimizer is not None
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    tensors["random.sampler"] = state.generator.get_state()
    tensors["random.torch"] = torch.get_rng_state()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(tensors, metadata={"progress": json.dumps(asdict(state.history))}))


def load_checkpoint(path: Path, state: TrainingState) -> None:
    """Restores a state, and torch's random state with it.

    Raises:
        InputError: the file is not a checkpoint of this model.
    """
    assert state.optimizer is not None
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "average": {}, "optimizer": {}, "random": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        epochs = [Epoch(**epoch) for epoch in progress.pop("epochs")]
        history = History(**progress, epochs=epochs)
        state.model.load_state_dict(parts["model"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        got, remedy = str(error).splitlines()[0], "train again into a new folder"
        raise InputError("not a checkpoint of this model", file=path, got=got, remedy=remedy) from None
    optimizer = state.optimizer.state_dict()
    optimizer["state"] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        optimizer["state"].setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict(optimizer)
    state.generator.set_state(parts["random"]["sampler"])
    torch.set_rng_state(parts["random"]["torch"])
    state.best, state.history = parts["best"], history
    for name, value in parts["average"].items():
        state.average[name].copy_(value)
