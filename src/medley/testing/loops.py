"""Steps that papers share, as slow loops over a few nodes."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from medley.testing.inputs import BATCH, EDGES
from medley.types import Features, Inputs, Triplets


def unit(x: np.ndarray) -> np.ndarray:
    """Scales vectors to length one."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: Any) -> np.ndarray:
    """Returns the softmax over the last axis."""
    odds = np.exp(x)
    return odds / odds.sum(axis=-1, keepdims=True)


def leaky_relu(x: np.ndarray, slope: float = 0.01) -> np.ndarray:
    """Multiplies negative numbers by the slope."""
    return np.where(x > 0, x, slope * x)


def content_of(w: Mapping[str, np.ndarray], layer: str, inputs: Inputs, i: int) -> np.ndarray:
    """Returns the output of a `medley.nn.modalities.Content` for item i, without b.

    Args:
        w: parameters by name.
        layer: name of the `Content` in the model.
        inputs: inputs of the model.
        i: row of the item.
    """
    return sum(
        (
            w[f"{layer}.W.{m}.weight"] @ f.values[i] if f.present[i] else w[f"{layer}.absent.{m}"][0]
            for m, f in inputs.features.items()
        ),
        np.zeros(1),
    )


def nearest(features: Features, i: int, k: int) -> dict[int, float]:
    """Returns the k items most similar to item i, including i, with their cosine; empty if i has no features."""
    if not features.present[i]:
        return {}
    x = features.values.astype(float)
    cosine = {int(j): float(unit(x[i]) @ unit(x[j])) for j in np.flatnonzero(features.present)}
    return dict(sorted(cosine.items(), key=lambda pair: -pair[1])[:k])


def edge_weights(edges: Collection[tuple[int, int]] = EDGES) -> dict[tuple[int, int], float]:
    """Returns 1 / sqrt(|N_u| |N_i|) of each edge (user, item)."""
    users, items = zip(*edges, strict=True)
    return {(u, i): 1 / np.sqrt(users.count(u) * items.count(i)) for u, i in edges}


def lightgcn(
    user: np.ndarray, item: np.ndarray, num_layers: int, edges: Collection[tuple[int, int]] = EDGES
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over the layers of LightGCN (eq. 3, 4), of users (U, d) and of items (I, d)."""
    users, items = [user], [item]
    for _ in range(num_layers):
        user, item = np.zeros_like(user), np.zeros_like(item)
        for (u, i), weight in edge_weights(edges).items():
            user[u] += weight * items[-1][i]
            item[i] += weight * users[-1][u]
        users, items = [*users, user], [*items, item]
    return np.mean(users, axis=0), np.mean(items, axis=0)


def bpr(scores: np.ndarray, batch: Triplets = BATCH) -> float:
    """Returns the mean of -ln sigmoid(s_ui - s_uj) over the triplets, from scores (U, I)."""
    return float(np.mean([np.log1p(np.exp(scores[u, j] - scores[u, i])) for u, i, j in torch.stack(batch).T.tolist()]))
