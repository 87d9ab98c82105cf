"""All that training needs to go on with the same bits: one safetensors file, replaced in one step."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from medley.errors import InputError
from medley.files import write_atomic


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    best: dict[str, Tensor],
    optimizer: Optimizer,
    generator: torch.Generator,
    progress: dict[str, Any],
) -> None:
    """Writes parameters, the best parameters so far, optimiser state, random states and progress (JSON-able)."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    tensors["random.sampler"] = generator.get_state()
    tensors["random.torch"] = torch.get_rng_state()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(tensors, metadata={"progress": json.dumps(progress)}))


def load_checkpoint(
    path: Path, *, model: nn.Module, optimizer: Optimizer, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Puts everything back and returns the best parameters and the progress.

    Raises:
        InputError: the file is no checkpoint of this model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        model.load_state_dict(parts["model"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(
            "not a checkpoint of this model", file=path, got=problem, remedy="train again into a new folder"
        ) from None
    state = optimizer.state_dict()
    state["state"] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(state)
    generator.set_state(parts["random"]["sampler"])
    torch.set_rng_state(parts["random"]["torch"])
    return parts["best"], progress
