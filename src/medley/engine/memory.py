"""Memory for large results that is used again.

A fresh tensor costs more than the product that fills it: the system hands out its pages one by one, zeroed, on first
touch (47 ms instead of 10 on Kwai's shape; a whole propagation on TikTok's takes 4.6 ms instead of 1.1). So the blocks
of dead tensors are kept, up to a limit, for the next one of the same size, and they come from numpy, which asks the
system for large pages.
"""

import math

import numpy as np
import torch
from torch import Tensor

WORTH_KEEPING = 2**17  # bytes of a block at least: below, malloc keeps it anyway
KEPT_AT_MOST = 2**31  # bytes of all blocks that wait
LINE = 64  # bytes; a vector that begins on a cache line touches one line less

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.float16: np.float16, torch.int32: np.int32}
_waiting: dict[int, list[np.ndarray]] = {}  # bytes -> blocks


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """A tensor in the memory of the CPU, with any content."""
    size = math.prod(shape) * dtype.itemsize
    if size < WORTH_KEEPING or dtype not in _NUMPY:
        return torch.empty(shape, dtype=dtype)
    try:
        block = _waiting[size].pop()
    except (KeyError, IndexError):
        raw = np.empty(size + LINE, dtype=np.uint8)
        begin = -raw.ctypes.data % LINE
        block = raw[begin : begin + size]
    lease = _Lease(shape, _NUMPY[dtype], block)
    return torch.from_numpy(lease)  # no view of a tensor: autograd may add to it in place


def empty_like(x: Tensor, *shape: int) -> Tensor:
    """The same on the device and of the dtype of x."""
    return empty(*shape, dtype=x.dtype) if x.is_cpu else x.new_empty(shape)


class _Lease(np.ndarray):
    """A view of a block, that lives as long as the tensor that reads it."""

    def __del__(self) -> None:
        block: np.ndarray = self.base  # pyrefly: ignore[bad-assignment]
        waiting = sum(size * len(blocks) for size, blocks in list(_waiting.items()))
        if waiting + block.nbytes <= KEPT_AT_MOST:
            _waiting.setdefault(block.nbytes, []).append(block)
