"""Scores of users for all items, block by block, whatever kind of scorer a model has.

Shapes: U users, I items, B users of a block, e items that these users have seen.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medley.errors import InputError
from medley.types import Embeddings, ItemToItem, Neighbours, Scorer, Seen

CACHE_BYTES = 6 << 20  # of a block of scores: the second- and third-level caches hold it until it is ranked
MIN_ROWS = 64  # with fewer rows, reading the items dominates the matrix product


@torch.no_grad()
def score_blocks(
    score: Scorer, users: np.ndarray, num_items: int, memory_mb: int, among: np.ndarray | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Yields slices of `users` and their scores (B, I); a block is valid until the next block is computed.

    Args:
        score: the scorer of a model.
        users: (q,) user rows.
        num_items: I.
        memory_mb: bound on a block of scores (at least one row), in MiB.
        among: (c,) the items whose scores are wanted, (B, c); None: all.

    Raises:
        InputError: the scores have another shape than (B, I).
    """
    row_bytes, size = 4 * num_items, memory_mb << 20
    if not isinstance(score, Embeddings) or score.item.device.type == "cpu":
        size = min(size, max(CACHE_BYTES, MIN_ROWS * row_bytes))
    num_rows = max(1, min(size // row_bytes, len(users)))
    function = _function_of(score, num_rows)
    columns = None if among is None else torch.from_numpy(among)
    for first in range(0, len(users), num_rows):
        rows = slice(first, min(first + num_rows, len(users)))
        scores = _at_least_float32(function(torch.from_numpy(users[rows])).detach()).contiguous()
        expected = (rows.stop - rows.start, num_items)
        if scores.shape != expected:
            raise InputError("scores of the model", expected=f"{expected} (users, items)", got=tuple(scores.shape))
        yield rows, scores if columns is None else scores.index_select(1, columns.to(scores.device))


def refuse_nan(count: int) -> None:
    """Raises InputError if some scores (`count` of them) are NaN."""
    if count:
        remedy = "train with a lower learning rate, and look for NaN in the features"
        raise InputError("scores of the model", expected="numbers", got=f"{count:,} NaN", remedy=remedy)


def item_mask(start: np.ndarray, item: np.ndarray, num_items: int, device: torch.device) -> Tensor:
    """Returns (B, I) bool, true at item[start[x]:start[x + 1]] of row x."""
    size = np.diff(start)
    mask = torch.zeros(len(size), num_items, dtype=torch.bool, device=device)
    row = torch.from_numpy(np.repeat(np.arange(len(size)), size)).to(device)
    mask[row, torch.from_numpy(item[start[0] : start[-1]].astype(np.int64)).to(device)] = True
    return mask


def _function_of(score: Scorer, num_rows: int) -> Callable[[Tensor], Tensor]:
    if isinstance(score, Embeddings):
        return _inner_products(score, num_rows)
    if isinstance(score, ItemToItem):
        return lambda users: sum_of_parts(score, users)
    return score


def sum_of_parts(score: ItemToItem, users: Tensor) -> Tensor:
    """Scores users (B,) by their seen items, (B, I)."""
    parts = list(parts_of(score, users).values())
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def parts_of(score: ItemToItem, users: Tensor) -> dict[str, Tensor]:
    """Returns part of the score -> (B, I)."""
    seen = score.seen(users)
    return {name: sum_of_rows(seen, weight) for name, weight in score.weights.items()}


def sum_of_rows(seen: Seen, weight: Tensor | Neighbours) -> Tensor:
    """Sums the rows of an (I, I) matrix over the seen items of each user, (B, I)."""
    if isinstance(weight, Tensor):
        return F.embedding_bag(seen.item, weight, seen.start, mode="sum", per_sample_weights=seen.weight)
    num_users, num_items = len(seen.start), len(weight.index)
    place = seen.row[:, None] * num_items + weight.index[seen.item]  # (e, k)
    flat = weight.value.new_zeros(num_users * num_items)
    value = weight.value[seen.item]  # (e, k)
    value = value if seen.weight is None else value * seen.weight[:, None]
    return flat.index_add_(0, place.flatten(), value.flatten()).view(num_users, num_items)


def _inner_products(vectors: Embeddings, num_rows: int) -> Callable[[Tensor], Tensor]:
    """Returns a function that scores up to `num_rows` users in reused memory: fresh pages cost a fifth of the time."""
    user, item = (_at_least_float32(table) for table in vectors)
    buffer = item.new_empty(num_rows, len(item))

    def score(users: Tensor) -> Tensor:
        return torch.mm(user[users.to(user.device)], item.T, out=buffer[: len(users)])

    return score


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
