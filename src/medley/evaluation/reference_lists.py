"""Lists that no model made, to compare lists of recommendations with: the most popular and random unseen items.

Shapes: q users, I items, K items of a list.
"""

import numpy as np
from numba import njit

from medley.evaluation.ranking import Queries
from medley.evaluation.ties import tie_places


def popular_lists(queries: Queries, popularity: np.ndarray, k: int) -> np.ndarray:
    """Returns (q, k), the most popular unseen items of each user, best first, padded with -1.

    Args:
        queries: the users and their seen items.
        popularity: (I,), equal values as in rankings, by `tie_places`.
        k: length of a list.
    """
    order = np.lexsort((tie_places(queries.num_items), -popularity))
    lists = np.full((len(queries.user), k), -1, dtype=np.int64)
    _first_unseen(order, queries.seen_start, queries.seen_item, np.zeros(queries.num_items, dtype=np.bool_), lists)
    return lists


def random_lists(queries: Queries, k: int, *, generator: np.random.Generator) -> np.ndarray:
    """Returns (q, k), unseen items of each user drawn uniformly without replacement, padded with -1.

    Args:
        queries: the users and their seen items.
        k: length of a list.
        generator: draws the items.
    """
    order, seen = np.arange(queries.num_items), np.zeros(queries.num_items, dtype=np.bool_)
    lists = np.full((len(queries.user), k), -1, dtype=np.int64)
    _draw_unseen(order, queries.seen_start, queries.seen_item, seen, generator, lists)
    return lists


@njit(cache=True, nogil=True)
def _first_unseen(order, seen_start, seen_item, seen, lists):  # pragma: no cover (compiled)
    for row in range(lists.shape[0]):
        of_user = seen_item[seen_start[row] : seen_start[row + 1]]
        seen[of_user] = True
        place = 0
        for item in order:
            if place == lists.shape[1]:
                break
            if not seen[item]:
                lists[row, place] = item
                place += 1
        seen[of_user] = False


@njit(cache=True, nogil=True)
def _draw_unseen(order, seen_start, seen_item, seen, generator, lists):  # pragma: no cover (compiled)
    """Shuffles the front of `order` (I,) for each user (Fisher-Yates); a shuffle may start from any permutation."""
    num_items = len(order)
    for row in range(lists.shape[0]):
        of_user = seen_item[seen_start[row] : seen_start[row + 1]]
        seen[of_user] = True
        found = place = 0
        while found < lists.shape[1] and place < num_items:
            other = generator.integers(place, num_items)
            order[place], order[other] = order[other], order[place]
            item = order[place]
            place += 1
            if not seen[item]:
                lists[row, found] = item
                found += 1
        seen[of_user] = False
