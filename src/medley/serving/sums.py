"""Users who are sums over their items, made exactly as the model makes them. In numpy; imports no torch.

    x = sum_j w_j length_j v_j A        query = scale x / |x|, in every part without constants; 0 if x is 0

A model declares this form by `medley.types.HistorySum`; `medley.serving.export.sum_rule` makes the arrays at export:

    place        (D,), which of the d + k columns of a user each column of a query repeats: all parts without constants
                 repeat the direction of x, and v_j is the sum of their columns in the vector of item j
    constants    (k,)
    length       (I,); the rest of what is summed is in the item vectors of the bundle
    covariance   (d + k, d + k) of the item vectors in these columns
    A            (d, d), if the model has a transition
    by_age       (L,), w of the latest items, if the order matters

New items have the vector that `medley.serving.new_items` makes, and the length that the model's own path gives them, so
they count as items without interactions do in the model. A model without such a path gives them the mean length of the
items of train; a mean over neighbours that disagree is a short vector, so such an item weighs less.

Shapes: I items, n items of a history, D + 1 columns of queries and item vectors, d of x, k constants, L ages.
"""

from collections.abc import Mapping

import numpy as np

from medley.serving.scores import spread

SCALE, NEW_LENGTH = "scale", "length_of_new_items"  # settings of the rule


def lengths_of(
    rows: np.ndarray, arrays: Mapping[str, np.ndarray], settings: Mapping[str, float], own: Mapping[int, float]
) -> np.ndarray:
    """Returns the lengths (n,) of items.

    Args:
        rows: (n,), of the items; I and more: new items.
        arrays: of the rule.
        settings: of the rule.
        own: row -> length of items whose vector is not that of the bundle.
    """
    known = arrays["length"]
    bundled = rows < len(known)
    length = np.full(len(rows), settings[NEW_LENGTH])
    length[bundled] = known[rows[bundled]]
    for at, row in enumerate(rows.tolist()):
        length[at] = own.get(row, length[at])
    return length


def summed(
    vectors: np.ndarray, weights: np.ndarray, arrays: Mapping[str, np.ndarray], settings: Mapping[str, float]
) -> np.ndarray:
    """Returns the query (D + 1,) of a history.

    Args:
        vectors: (n, D + 1), of the items.
        weights: (n,), w_j length_j; negative: items that the user dislikes.
        arrays: of the rule.
        settings: of the rule.
    """
    place, constants, size = arrays["place"], arrays["constants"], len(arrays["covariance"])
    total = weights @ np.asarray(vectors[:, :-1], dtype=np.float64)  # (D,)
    x = np.bincount(place, weights=total, minlength=size)[: size - len(constants)]
    x = x @ arrays["A"] if "A" in arrays else x
    norm = np.linalg.norm(x)
    user = np.concatenate([settings[SCALE] * x / norm if norm else x, constants])
    return np.concatenate([user[place], spread(user[None], arrays["covariance"])], dtype=np.float32)


def weights_by_age(ages: np.ndarray, by_age: np.ndarray) -> np.ndarray:
    """Returns the weights (n,) of items of these ages (n,), 0 for items older than the table (L,)."""
    ages = np.asarray(ages, dtype=np.int64)
    return np.where(ages < len(by_age), by_age[np.minimum(ages, len(by_age) - 1)], 0.0).astype(np.float64)
