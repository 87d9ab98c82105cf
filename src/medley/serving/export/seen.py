"""What the users of a data set have seen, by what the model has learned from, and how long ago.

Shapes: U users, I items, n pairs of `seen`.
"""

import numpy as np
import scipy.sparse as sp

from medley.data.dataset import Dataset
from medley.models import Recommender
from medley.serving.fold_in import FoldIn
from medley.serving.seen import DISLIKED, TEST, TRAIN, VALID

CODES = {"train": TRAIN, "valid": VALID, "test": TEST}


def seen_of(data: Dataset, model: Recommender) -> sp.csr_array:
    """Returns (U, I) int8, the codes of `medley.serving.seen`: TRAIN for all splits that the model has learned from.

    A pair that is in several splits has the first code.
    """
    learned = model.learned_from.split("+")
    codes = {split: TRAIN if split in learned else code for split, code in CODES.items()}
    pairs = [*((data.interactions(split), code) for split, code in codes.items()), (data.disliked, DISLIKED)]
    place = np.concatenate([part.user.astype(np.int64) * data.manifest.num_items + part.item for part, _ in pairs])
    code = np.concatenate([np.full(len(part), code, dtype=np.int8) for part, code in pairs])
    place, first = np.unique(place, return_index=True)
    user, item = np.divmod(place, data.manifest.num_items)
    seen = sp.csr_array((code[first], (user, item)), shape=(data.manifest.num_users, data.manifest.num_items))
    seen.sort_indices()
    return seen


def ages_of(data: Dataset, model: Recommender) -> np.ndarray | None:
    """Returns the ages of what the model has learned from, by user and item; None if the log has no times."""
    learned = data.union(model.learned_from)
    return None if learned.time is None else learned.ages()


def ages_of_all(seen: sp.csr_array, ages: np.ndarray | None, fold_in: FoldIn) -> np.ndarray | None:
    """Returns the ages (n,) of the pairs of `seen`, 0 where the code is not TRAIN; None if no rule reads them."""
    if ages is None or not fold_in.reads_ages:
        return None
    age = np.zeros(len(seen.data), dtype=np.int32)
    age[seen.data == TRAIN] = ages
    return age
