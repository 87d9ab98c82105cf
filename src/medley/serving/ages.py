"""The order of what users have seen, for scores in which an item weighs recency^age.

The age of a pair is the number of later pairs of the same user among those that the model has learned from
(`medley.types.Interactions.ages`). A bundle keeps ages only if its rule for users reads them.

Shapes: U users, I items, n pairs of `seen`.
"""

import numpy as np
import scipy.sparse as sp


def weighted(pairs: sp.csr_array, ages: np.ndarray | None, recency: float) -> sp.csr_array:
    """Returns 0/1 pairs (U, I) with the weights recency^age; the pairs themselves without ages or with recency 1.

    Args:
        pairs: (U, I), one stored 1 per pair.
        ages: of these pairs, in their order; None: unknown.
        recency: above 0, at most 1.
    """
    if ages is None or recency == 1:
        return pairs
    return sp.csr_array(((recency**ages).astype(np.float32), pairs.indices, pairs.indptr), shape=pairs.shape)


def by_place(num_items: int) -> np.ndarray:
    """Returns the ages (n,) of a history whose latest item is the last."""
    return np.arange(num_items - 1, -1, -1)
