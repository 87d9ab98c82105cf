"""Memory for large results that is used again.

A fresh 100 MB tensor costs more than the product that fills it: the system hands out its pages one by one, zeroed, on
first touch (47 ms instead of 10 ms on Kwai's shape). So the blocks of dead tensors are kept, up to a limit, for the
next one of the same size, and they come from numpy, which asks the system for large pages.
"""

import weakref

import numpy as np
import torch
from torch import Tensor

WORTH_KEEPING = 2**22  # bytes of a block at least: below, malloc keeps it anyway
KEPT_AT_MOST = 2**30  # bytes of all blocks that wait
LINE = 64  # bytes; a vector that begins on a cache line touches one line less

_waiting: dict[int, list[np.ndarray]] = {}  # bytes -> blocks


def empty(num_rows: int, dim: int, dtype: torch.dtype) -> Tensor:
    """A (num_rows, dim) tensor in the memory of the CPU, with any content."""
    size = num_rows * dim * dtype.itemsize
    if size < WORTH_KEEPING:
        return torch.empty(num_rows, dim, dtype=dtype)
    try:
        block = _waiting[size].pop()
    except (KeyError, IndexError):
        raw = np.empty(size + LINE, dtype=np.uint8)
        begin = -raw.ctypes.data % LINE
        block = raw[begin : begin + size]
    lease = block.view()  # lives as long as the tensor
    weakref.finalize(lease, _take_back, block)
    return torch.from_numpy(lease).view(dtype).view(num_rows, dim)


def _take_back(block: np.ndarray) -> None:
    waiting = sum(size * len(blocks) for size, blocks in list(_waiting.items()))
    if waiting + len(block) <= KEPT_AT_MOST:
        _waiting.setdefault(len(block), []).append(block)
