"""Groups of users: by activity, and by the part of the score that dominates it.

The scores of a user are a sum of parts, s_ui = sum_p s_ui^p. The share of a part in their spread is

    share_u^p = Cov_i(s_ui^p, s_ui) / Var_i(s_ui)        over the unseen items i

The shares of a user sum to 1; a part that lowers the spread of the others has a negative share. The largest share says
which part decides the order of the list. `medley.serving.explain` asks something else with its margins: which part sets
the seen items of a user apart.

Shapes: q users, I items, B users of a block.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from medley.evaluation.ranking import Queries
from medley.scoring.blocks import item_mask

EQUAL = 1e-12  # of the sum of squares: scores in single precision that differ by so little are equal

PartScores = Callable[[Tensor], Mapping[str, Tensor]]
"""From user rows (B,) int64 on the CPU to part of the score -> (B, I)."""


def by_activity(num_seen: np.ndarray) -> dict[str, np.ndarray]:
    """Divides users into thirds by their number of train interactions (q,); users with equal numbers stay together.

    A user belongs to the third in which the middle of all users with the same number lies.

    Returns:
        sparse, medium, dense -> (q,) bool, without empty groups; empty if all users are in one group.
    """
    ordered = np.sort(num_seen)
    below, upto = (np.searchsorted(ordered, num_seen, side) for side in ("left", "right"))
    third = 3 * (below + upto), 2 * len(num_seen)  # twice the middle place, as a whole number
    groups = {"sparse": third[0] < third[1], "dense": third[0] > 2 * third[1]}
    groups = {"sparse": groups["sparse"], "medium": ~(groups["sparse"] | groups["dense"]), "dense": groups["dense"]}
    return _if_several(groups)


def by_dominant_part(parts: PartScores, queries: Queries, *, memory_mb: int = 64) -> dict[str, np.ndarray]:
    """Groups users by the part with the largest share of the spread of their scores, of equal ones the first.

    Args:
        parts: parts of the score.
        queries: the users and their seen items.
        memory_mb: bound on a block of parts of scores (at least one user).

    Returns:
        Part -> (q,) bool, without empty groups; a user whose scores are all equal is in no group. Empty if all users
        are in one group.
    """
    shares = shares_of_spread(parts, queries, memory_mb=memory_mb)
    if not shares:
        return {}
    table = np.array(list(shares.values()))  # (parts, q)
    known = ~np.isnan(table).any(axis=0)
    largest = np.where(known, table, 0).argmax(axis=0)
    return _if_several({name: known & (largest == place) for place, name in enumerate(shares)})


@torch.no_grad()
def shares_of_spread(parts: PartScores, queries: Queries, *, memory_mb: int = 64) -> dict[str, np.ndarray]:
    """Returns part -> (q,), its share of the spread of the scores over unseen items; NaN where all scores are equal.

    Args:
        parts: parts of the score.
        queries: the users and their seen items.
        memory_mb: bound on a block of parts of scores (at least one user).
    """
    users = torch.from_numpy(queries.user)
    names = list(parts(users[:1]))
    shares = {name: np.full(len(users), np.nan) for name in names}
    step = max(1, (memory_mb << 20) // (queries.num_items * (4 * len(names) + 16)))
    for first in range(0, len(users), step):
        rows = slice(first, min(first + step, len(users)))
        scores = {name: part.float() for name, part in parts(users[rows]).items()}
        total = sum(scores.values(), start=torch.zeros(()))  # (B, I)
        start, item = queries.seen_start[rows.start : rows.stop + 1], queries.seen_item
        seen = item_mask(start, item, queries.num_items, total.device)
        total = total.masked_fill(seen, 0)
        mean = total.sum(dim=1, keepdim=True) / (~seen).sum(dim=1, keepdim=True)
        deviation = (total - mean).masked_fill_(seen, 0)  # sums to 0: what is multiplied with it may have any mean
        spread = _inner(deviation, deviation)
        is_known = spread > EQUAL * _inner(total, total)
        for name, part in scores.items():
            share = _inner(deviation, part - part.mean(dim=1, keepdim=True)) / spread
            shares[name][rows] = torch.where(is_known, share, torch.nan).cpu().numpy()
    return shares


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """Returns (B,), the inner products of the rows of x and y (B, I)."""
    return torch.einsum("bi,bi->b", x, y)


def _if_several(groups: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {name: members for name, members in groups.items() if members.any()}
    return found if len(found) > 1 else {}
