"""Raw features of the items of a bundle, what scales them, and the items of train that are nearest to a vector.

Shapes: I items, n of them, d_m raw dimension of modality m, d' dimension that a matrix leaves, k neighbours.
"""

from typing import NamedTuple

import numpy as np

BLOCK = 65_536  # rows of features read at a time
FEW = 8  # a copied row costs as much as so many products
SMALLEST = 1e-12


class ItemFeatures(NamedTuple):
    """Raw features of the items of a bundle in one modality; rows of items that lack it carry no meaning."""

    values: np.ndarray  # (I, d_m) float32 or float16, possibly memory-mapped
    present: np.ndarray  # (I,) bool


class Scaling(NamedTuple):
    """What scales raw features for the model: f -> f / |f| if `to_unit`, else (f - shift) * factor, or (f - shift) @
    factor if the factor is a matrix."""

    to_unit: bool
    shift: np.ndarray  # (d_m,)
    factor: np.ndarray  # (d_m,), or (d_m, d')

    def __call__(self, f: np.ndarray) -> np.ndarray:
        """Scales features (n, d_m) to (n, d_m) or (n, d'), float32."""
        f = np.asarray(f, dtype=np.float32)
        if self.factor.ndim == 2:
            return ((f - self.shift) @ self.factor).astype(np.float32)
        if self.to_unit:
            return f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), SMALLEST)
        return (f - self.shift) * self.factor

    def norms(self, values: np.ndarray) -> np.ndarray:
        """Returns what `nearest` divides by: the lengths (n,) of scaled features, or of raw ones if `to_unit`."""
        parts = np.array_split(values, 1 + len(values) // BLOCK)
        lengths = (np.asarray(x, dtype=np.float32) if self.to_unit else self(x) for x in parts)
        return np.concatenate([np.linalg.norm(x, axis=1) for x in lengths]).astype(np.float32)

    def direction(self, f: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns t (d_m,) and b such that (x . t - b) / norm is the cosine of the scaled raw vectors x and f."""
        scaled = self(f[None])[0]
        scaled /= np.maximum(np.linalg.norm(scaled), SMALLEST)
        if self.to_unit:
            return scaled, 0.0
        t = self.factor @ scaled if self.factor.ndim == 2 else self.factor * scaled
        return t.astype(np.float32), float(self.shift @ t)


def nearest(
    values: np.ndarray, rows: np.ndarray, norms: np.ndarray, direction: np.ndarray, less: float, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the items with the largest (x . direction - less) / norm, best first; equal ones by lower row.

    Args:
        values: (I, d_m) raw features x, possibly memory-mapped.
        rows: (n,) the items that may be found.
        norms: (I,) above 0 in these rows.
        direction: (d_m,).
        less: what is taken off every inner product.
        k: how many, at most.

    Returns:
        Rows (k,) and their cosines (k,).
    """
    dense = len(rows) * FEW > len(values)  # then all products are cheaper than a copy of the rows
    places = range(0, len(values) if dense else len(rows), BLOCK)
    blocks = (values[slice(at, at + BLOCK) if dense else rows[at : at + BLOCK]] for at in places)
    products = [np.asarray(block, dtype=np.float32) @ direction for block in blocks]
    cosine = np.concatenate([np.zeros(0, dtype=np.float32), *products])
    cosine = ((cosine[rows] if dense else cosine) - np.float32(less)) / norms[rows]
    least = np.partition(cosine, len(rows) - k)[len(rows) - k] if k < len(rows) else -np.inf
    near = np.flatnonzero(cosine >= least)  # more than k if some are equal
    near = near[np.lexsort((near, -cosine[near]))][:k]
    return rows[near], cosine[near]
