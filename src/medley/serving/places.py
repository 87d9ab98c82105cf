"""The map of the catalogue: items in the plane of the first two principal components of their vectors."""

from typing import Any

import numpy as np

from medley.serving.catalogue import Catalogue
from medley.serving.ranking import Ranking

NUM_PLACES = 2_000


def places(catalogue: Catalogue, ranking: Ranking) -> list[dict[str, Any]]:
    """Returns id, title, x and y in -1..1, popularity and cold of the most popular items."""
    rows = np.flatnonzero(catalogue.allowed(None))
    rows = rows[np.argsort(-catalogue.popularity.values[rows], kind="stable")][:NUM_PLACES]
    rows, vectors = ranking.embedding(rows)
    where = _projected(vectors)
    return [
        {
            "id": catalogue.raw_id(row),
            "title": catalogue.title(row),
            "x": float(x),
            "y": float(y),
            "popularity": int(catalogue.popularity.values[row]),
            "cold": bool(catalogue.cold.values[row]),
        }
        for row, (x, y) in zip(rows.tolist(), where, strict=True)
    ]


def _projected(vectors: np.ndarray) -> np.ndarray:
    """Returns the first two principal components (n, 2) of vectors (n, V), within -1 and 1."""
    if not len(vectors):
        return np.zeros((0, 2))
    centred = np.asarray(vectors, dtype=np.float64) - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    places = np.zeros((len(vectors), 2))
    found = centred @ axes[:, ::-1][:, :2]
    places[:, : found.shape[1]] = found
    return places / max(float(np.abs(places).max()), 1e-12)
