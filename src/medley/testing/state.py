"""Checks of what a model keeps on itself. Each function is a promise, which is its docstring."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from medley.models.base import Recommender
from medley.models.registry import learns
from medley.testing.computed import Model
from medley.testing.inputs import checkerboard
from medley.testing.small import Options, batch_of, loss_of, require, small


def keeps_its_tensors_as_parameters_and_buffers(model: Model, options: Options) -> None:
    """Every tensor is a parameter or a buffer, so that the whole model moves between devices."""
    for path, module in small(model, checkerboard(), options).named_modules():
        for key, value in vars(module).items():
            inside = key not in ("_parameters", "_buffers", "_modules") and _holds_a_tensor(value)
            require(not inside, f"{path or 'the model'}.{key} holds a plain tensor: register a parameter or a buffer")


def leaves_nothing_behind(model: Model, options: Options) -> None:
    """forward(), parts(), scorer(), loss() leave the model and the batch as they were; the loss is a finite scalar."""
    inputs = checkerboard()
    built, batch = small(model, inputs, options), batch_of(inputs)
    calls: dict[str, Callable[[], Any]] = {"parts()": built.parts, "scorer()": built.scorer}
    if type(built).forward is not Recommender.forward:
        calls["forward()"] = built.forward
    if learns(model):
        built.train()
        calls["loss()"] = lambda: loss_of(built, batch)
        before = copy.deepcopy(batch)
        first, second = loss_of(built, batch), loss_of(built, batch)
        require(first.shape == (), f"the loss has the shape {tuple(first.shape)}")
        require(first.isfinite(), "the loss is NaN or infinite")
        require(torch.equal(first, second), "the loss of the same batch under the same seed differs")
        require(all(map(torch.equal, batch, before)), "loss() changes the batch")
    for name, call in calls.items():
        state = {key: value.clone() for key, value in _buffers_and_parameters(built)}
        attributes = dict(_attributes(built))
        call()
        now = dict(_attributes(built))
        changed = [key for key in now.keys() | attributes.keys() if not _is_same(now.get(key), attributes.get(key))]
        changed += [key for key, value in _buffers_and_parameters(built) if not torch.equal(value, state[key])]
        require(not changed, f"{name} changes {', '.join(sorted(changed))}")


def _holds_a_tensor(value: Any) -> bool:
    """Whether the value is a tensor, or a list, tuple or mapping with a tensor."""
    value = list(value.values()) if isinstance(value, Mapping) else value
    return any(isinstance(each, Tensor) for each in (value if isinstance(value, list | tuple) else [value]))


def _attributes(model: Recommender) -> Iterator[tuple[str, Any]]:
    """Path of each attribute of each module -> its value; containers as copies."""
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            is_container = isinstance(value, dict | list | set)
            yield ".".join(filter(None, (path, key))), copy.copy(value) if is_container else value


def _is_same(now: Any, before: Any) -> bool:
    """Whether two attributes are the same object, or containers of the same objects."""
    if isinstance(now, dict) and isinstance(before, dict):
        return now.keys() == before.keys() and all(now[key] is before[key] for key in now)
    if isinstance(now, list) and isinstance(before, list):
        return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))
    return now is before or (isinstance(now, set) and now == before)


def _buffers_and_parameters(model: Recommender) -> list[tuple[str, Tensor]]:
    return [*model.named_buffers(), *model.named_parameters()]
