"""Items joined by the similarity of their users: the k nearest by cosine, shrunk where few users support it.

    s_ij = n_ij / (sqrt(n_i n_j) + shrinkage)        n_ij = sum over the common users u of 1 / n_u^damping

n_u is the number of items of u, and n_i = n_ii. Row i keeps its k largest entries, equal ones by lower row. As with
`cooccurrence`, one row at a time is counted and the matrix of all pairs is never formed.

Shapes: I items, e edges of the graph.
"""

import numba
import numpy as np
import scipy.sparse as sp

from medley.engine.top_k import offer
from medley.errors import InputError
from medley.types import Interactions


def item_cosine(train: Interactions, k: int, *, shrinkage: float = 0.0, damping: float = 0.0) -> sp.csr_array:
    """Returns (I, I) float32: similarity of each item and its k nearest others, or all that share a user with it.

    The graph is directed: j may be near to i without i being among the nearest of j.

    Args:
        train: the interactions.
        k: most neighbours of an item, 1 or more.
        shrinkage: added to the denominator, 0 or more; one user in common is little evidence.
        damping: how much less a user with many items counts; 0: not at all, 1: the items of a user share a weight of 1.

    Raises:
        InputError: an option is out of its range.
    """
    if k < 1:
        raise InputError("number of neighbours", expected="1 or more", got=k)
    for name, value in {"shrinkage": shrinkage, "damping": damping}.items():
        if value < 0:
            raise InputError(name, expected="0 or more", got=value)
    x = train.csr()
    items = sp.csr_array(x.T)
    items.sort_indices()
    weight = np.maximum(train.items_per_user(), 1).astype(np.float64) ** -damping  # of a user
    n = np.bincount(train.item, weights=weight[train.user], minlength=train.num_items)
    width = min(k, train.num_items)
    index, value = np.full((train.num_items, width), -1, np.int32), np.full((train.num_items, width), -np.inf, "f4")
    _nearest(items.indptr, items.indices, x.indptr, x.indices, weight, n, shrinkage, index, value)
    found = index >= 0
    start = np.concatenate([[0], found.sum(axis=1).cumsum()])
    graph = sp.csr_array((value[found], index[found], start), shape=(train.num_items, train.num_items))
    graph.sort_indices()
    return graph


@numba.njit(cache=True)
def _nearest(start, user, start_u, item, weight, n, shrinkage, index, value):  # pragma: no cover - compiled
    num_items = len(n)
    common, reached = np.zeros(num_items), np.empty(num_items, dtype=np.int32)
    for row in range(num_items):
        found = 0
        for edge in range(start[row], start[row + 1]):
            for back in range(start_u[user[edge]], start_u[user[edge] + 1]):
                other = item[back]
                if common[other] == 0:
                    reached[found] = other
                    found += 1
                common[other] += weight[user[edge]]
        for place in range(found):
            other = reached[place]
            if other != row:
                score = np.float32(common[other] / (np.sqrt(n[row] * n[other]) + shrinkage))
                offer(value[row], index[row], score, other)
            common[other] = 0
