"""The k best unseen items of each user."""

from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from medley.errors import InputError
from medley.scoring.blocks import item_mask, refuse_nan, score_blocks
from medley.types import Scorer


@torch.no_grad()
def top_k(
    score: Scorer,
    users: np.ndarray | Tensor,
    seen: sp.csr_array,
    k: int,
    *,
    place: np.ndarray | None = None,
    memory_mb: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k best unseen items of each user, best first; equal scores by ascending row.

    Args:
        score: the scorer of a model.
        users: (B,) user rows.
        seen: (U, I), non-zero where an item must not be listed.
        k: length of a list.
        place: (I,) distinct numbers; equal scores are ordered by ascending place instead.
        memory_mb: bound on a block of scores (at least one row).

    Returns:
        Items (B, k) int64 and their scores (B, k), padded with -1 and -inf where fewer than k items may be listed.

    Raises:
        InputError: k < 1, or the scores hold NaN or have another shape than (B, I).
    """
    if k < 1:
        raise InputError("k", expected="a whole number of at least 1", got=k)
    users = torch.as_tensor(users, dtype=torch.int64).cpu().numpy()
    seen = sp.csr_array(seen)
    _, num_items = cast(tuple[int, int], seen.shape)
    items = np.full((len(users), k), -1, dtype=np.int64)
    values = np.full((len(users), k), -np.inf, dtype=np.float32)
    by_place = None if place is None else torch.from_numpy(np.argsort(place))  # (I,)
    for rows, scores in score_blocks(score, users, num_items, memory_mb):
        refuse_nan(int(scores.isnan().sum()))
        of_rows = sp.csr_array(seen[users[rows]])
        unseen = ~item_mask(of_rows.indptr, of_rows.indices, num_items, scores.device)  # (B, I)
        masked = scores.masked_fill(~unseen, -torch.inf)
        least = masked.topk(min(k, num_items), sorted=False).values.amin(dim=1, keepdim=True)  # (B, 1)
        chosen = unseen & (masked >= least)
        crowded = (chosen.sum(dim=1) > k).nonzero()[:, 0]  # rows with more equal scores than places
        if len(crowded):
            better = masked[crowded] > least[crowded]
            tied = chosen[crowded] & ~better
            room = k - better.sum(dim=1, keepdim=True)
            if by_place is None:
                chosen[crowded] = better | (tied & (tied.cumsum(dim=1) <= room))
            else:
                first = by_place.to(tied.device)
                tied[:, first] &= tied[:, first].cumsum(dim=1) <= room
                chosen[crowded] = better | tied
        row, item = chosen.nonzero(as_tuple=True)
        if place is not None:
            first = torch.argsort(torch.from_numpy(place[item.cpu().numpy()]).to(row.device))
            row, item = row[first], item[first]
        order = torch.argsort(masked[row, item], descending=True, stable=True)
        order = order[torch.argsort(row[order], stable=True)]
        row, item = row[order], item[order]  # by user, then score, then item or place
        column = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
        where = (row.cpu().numpy() + rows.start, column.cpu().numpy())
        items[where], values[where] = item.cpu().numpy(), masked[row, item].cpu().numpy()
    return items, values
