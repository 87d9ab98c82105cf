"""Vectors of several modalities -> one."""

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Sum of one or more tensors of one shape, without a copy of all of them side by side."""
    return reduce(torch.add, tensors)


def masked_softmax(score: Tensor, has: Tensor) -> Tensor:
    """Softmax over what each row has, (n, M), (n, M) bool -> (n, M); 0 for the rest, and all 0 where it has nothing."""
    return score.masked_fill(~has, torch.finfo(score.dtype).min).softmax(dim=1) * has
