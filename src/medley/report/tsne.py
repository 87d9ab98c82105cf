"""Maps of vectors in two dimensions by t-SNE (van der Maaten and Hinton, JMLR 2008)."""

import numpy as np
from numpy.typing import ArrayLike

from medley.errors import InputError, MissingExtraError

FEWEST = 4  # points
PERPLEXITY = 30.0  # about how many neighbours of a point stay near; less for few points, at most a third of them


def tsne(vectors: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """Places vectors on a map so that near vectors stay near; distances between far groups mean nothing.

    Args:
        vectors: (n, d).
        seed: of the optimisation.

    Returns:
        (n, 2) positions, centred, of unit spread.

    Raises:
        InputError: too few vectors, or a value that is not finite.
        MissingExtraError: scikit-learn, which comes with the extra media, is not installed.
    """
    x = np.asarray(vectors, dtype=np.float32)
    if x.ndim != 2 or len(x) < FEWEST or not np.isfinite(x).all():
        got = f"shape {x.shape}, or NaN or Inf among them"
        raise InputError("vectors of a map", expected=f"(n, d) finite numbers, n at least {FEWEST}", got=got)
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise MissingExtraError("A map by t-SNE", "media") from None
    spread = x.std()
    x = x / spread if spread else x  # so that the steps of the optimisation fit any scale
    how = "pca" if x.shape[1] > 1 and spread else "random"
    placed = TSNE(perplexity=min(PERPLEXITY, (len(x) - 1) / 3), init=how, random_state=seed).fit_transform(x)
    placed = placed - placed.mean(axis=0)
    return (placed / (placed.std() or 1.0)).astype(np.float64)
