"""The codes of what users have seen: entries of the sparse table `seen` (U, I) of a bundle. U users, I items."""

import numpy as np
import scipy.sparse as sp

TRAIN, VALID, TEST, DISLIKED = 1, 2, 3, 4


def pairs_of(seen: sp.csr_array, code: int) -> sp.csr_array:
    """Returns (U, I) float32, 1 at the pairs with this code: TRAIN, VALID, TEST or DISLIKED."""
    found = sp.csr_array((seen.data == code, seen.indices, seen.indptr), shape=seen.shape, dtype=np.float32, copy=True)
    found.eliminate_zeros()
    return found
