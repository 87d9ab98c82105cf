"""Scores of queries for items, in numpy: what a bundle computes with. Imports no torch.

A query is the vector of a user, known or new, and an item has a vector too, so that a new item can be scored beside the
items of the bundle. The score of a query q for an item vector v is `match(q, v)`:

    vectors        q . v                                   q: final vector of the user, v: of the item
    item-to-item   q . v                                   q: 1 at the seen items, v: a column of the weights
    concepts       ln sum_k v_k exp(q_k . v_h / tau)       q: a unit vector per concept, v: a unit vector and K weights

The last column of a query is the spread of the user, the standard deviation of the user's scores over items. The last
column of an item vector is an offset in this unit: 0 for the items of the bundle, so it changes none of their scores,
and a calibrated number for new items (`medley.serving.new_items`). In the first two kinds, a part of the score (a
modality, `id`, ...) is a range of columns.

Shapes: U users, I items, B queries, n item vectors, Q and V columns of queries and item vectors, K concepts, d = dim.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import scipy.sparse as sp

Kind = Literal["vectors", "item-to-item", "concepts"]
OFFSET = "new item"  # the part of the score that is the offset of a new item
SMALLEST = 1e-12  # the least denominator


@dataclass(frozen=True)
class Vectors:
    """Inner products of one table of users and one of items."""

    user: np.ndarray  # (U, D + 1) float32, the last column the spread
    item: np.ndarray  # (I, D + 1) float32, the last column 0
    parts: Mapping[str, slice]  # of the columns; empty if the score has no parts
    kind: Kind = "vectors"

    @property
    def num_items(self) -> int:
        """I"""
        return len(self.item)

    @property
    def nbytes(self) -> int:
        """Bytes of both tables."""
        return self.user.nbytes + self.item.nbytes

    def queries(self, users: np.ndarray) -> np.ndarray:
        """Returns the queries (B, D + 1) of user rows (B,)."""
        return np.asarray(self.user[users])

    def item_vectors(self, items: np.ndarray) -> np.ndarray:
        """Returns the vectors (n, D + 1) of item rows (n,)."""
        return np.asarray(self.item[items])

    def mean_vectors(self, weights: sp.csr_array) -> np.ndarray:
        """Returns sums (n, D + 1) of item vectors with weights (n, I)."""
        return np.asarray(weights @ self.item)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Returns the scores (B, I) of queries for all items."""
        return queries @ self.item.T

    def match(self, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Returns the scores (B, n) of queries for item vectors."""
        return queries @ vectors.T

    def match_parts(self, queries: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Returns part -> (B, n); the parts sum to the score."""
        return _match_parts(self.parts, queries, vectors)


@dataclass(frozen=True)
class ItemToItem:
    """Sums of weights from the seen items of a user to an item; P matrices of weights lie side by side."""

    weights: Mapping[str, np.ndarray | sp.csr_array]  # name -> (I, I) float32, dense or sparse
    history: sp.csr_array  # (U, I), the weights of the seen items, 1 where the order does not matter
    parts: Mapping[str, slice]  # name -> its I columns; empty if the score has no parts
    kind: Kind = "item-to-item"

    @property
    def num_items(self) -> int:
        """I"""
        size, _ = cast(tuple[int, int], next(iter(self.weights.values())).shape)
        return size

    @property
    def nbytes(self) -> int:
        """Bytes of weights and histories."""
        return sum(map(_num_bytes, (*self.weights.values(), self.history)))

    @cached_property
    def _columns(self) -> dict[str, np.ndarray | sp.csc_array]:
        return {name: w if isinstance(w, np.ndarray) else sp.csc_array(w) for name, w in self.weights.items()}

    def queries(self, users: np.ndarray) -> np.ndarray:
        """Returns the queries (B, P I + 1) of user rows (B,)."""
        return self.query_of(_dense(self.history[users]))

    def query_of(self, seen: np.ndarray) -> np.ndarray:
        """Returns the queries (B, P I + 1) of weights of seen items (B, I)."""
        spread = _dense(sum(sp.csr_array(seen) @ w for w in self.weights.values())).std(axis=1, keepdims=True)
        return np.concatenate([*[seen] * len(self.weights), spread], axis=1, dtype=np.float32)

    def item_vectors(self, items: np.ndarray) -> np.ndarray:
        """Returns the vectors (n, P I + 1) of item rows (n,): their columns of the weights."""
        columns = [_dense(w[:, items]).T for w in self._columns.values()]
        return np.concatenate([*columns, np.zeros((len(items), 1))], axis=1, dtype=np.float32)

    def mean_vectors(self, weights: sp.csr_array) -> np.ndarray:
        """Returns sums (n, P I + 1) of item vectors with weights (n, I)."""
        columns = [_dense(weights @ w.T) for w in self.weights.values()]
        return np.concatenate([*columns, np.zeros((len(columns[0]), 1))], axis=1, dtype=np.float32)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Returns the scores (B, I) of queries for all items."""
        size = self.num_items
        total = np.zeros((len(queries), size), dtype=np.float32)
        for at, w in enumerate(self.weights.values()):
            q = sp.csr_array(queries[:, at * size : (at + 1) * size])
            total += _dense(q @ w)
        return total

    def match(self, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Returns the scores (B, n) of queries for item vectors."""
        return queries @ vectors.T

    def match_parts(self, queries: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Returns part -> (B, n); the parts sum to the score."""
        return _match_parts(self.parts, queries, vectors)


@dataclass(frozen=True)
class Concepts:
    """Mixtures over K concepts, decoded from unit vectors; `medley.models.macridvae`."""

    item: np.ndarray  # (I, d) float32, h: rows of length one
    concept: np.ndarray  # (I, K) float32, c: rows sum to one
    encoder: Mapping[str, np.ndarray]  # t (I, d), b1 (d,), W2 (2d, d), b2 (2d,)
    tau: float
    history: sp.csr_array  # (U, I), 1 at the seen items
    kind: Kind = "concepts"

    @property
    def num_items(self) -> int:
        """I"""
        return len(self.item)

    @property
    def nbytes(self) -> int:
        """Bytes of items, encoder and histories."""
        return sum(map(_num_bytes, (self.item, self.concept, *self.encoder.values(), self.history)))

    @property
    def parts(self) -> Mapping[str, slice]:
        """None: the logarithm of a sum has no parts."""
        return {}

    def queries(self, users: np.ndarray) -> np.ndarray:
        """Returns the queries (B, K d + 1) of user rows (B,)."""
        return self.query_of(sp.csr_array(self.history[users]))

    def query_of(self, seen: sp.csr_array | np.ndarray) -> np.ndarray:
        """Encodes weights of seen items (B, I) to queries (B, K d + 1), as the model encodes its users."""
        seen = sp.csr_array(seen, dtype=np.float32)
        t, d = self.encoder["t"], self.item.shape[1]
        norm = np.sqrt(np.maximum(seen.power(2) @ np.square(self.concept), SMALLEST))  # (B, K)
        vectors = []
        for k in range(self.concept.shape[1]):
            total = (seen @ (self.concept[:, [k]] * t)) / norm[:, [k]]
            a = np.tanh(total + self.encoder["b1"]) @ self.encoder["W2"][:d].T + self.encoder["b2"][:d]
            vectors.append(a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), SMALLEST))
        queries = np.concatenate([*vectors, np.zeros((len(vectors[0]), 1))], axis=1, dtype=np.float32)
        queries[:, -1] = self.scores(queries).std(axis=1)
        return queries

    def item_vectors(self, items: np.ndarray) -> np.ndarray:
        """Returns the vectors (n, d + K + 1) of item rows (n,)."""
        zero = np.zeros((len(items), 1))
        return np.concatenate([self.item[items], self.concept[items], zero], axis=1, dtype=np.float32)

    def mean_vectors(self, weights: sp.csr_array) -> np.ndarray:
        """Returns sums (n, d + K + 1) of item vectors with weights (n, I)."""
        h, c = weights @ self.item, weights @ self.concept
        return np.concatenate([h, c, np.zeros((len(h), 1))], axis=1, dtype=np.float32)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Returns the scores (B, I) of queries for all items."""
        return self._decode(queries, self.item, self.concept)

    def match(self, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Returns the scores (B, n) of queries for item vectors."""
        d = self.item.shape[1]
        return self._decode(queries, vectors[:, :d], vectors[:, d:-1]) + queries[:, -1:] * vectors[:, -1]

    def match_parts(self, queries: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Returns no parts."""
        return {}

    def _decode(self, queries: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
        p = np.zeros((len(queries), len(h)), dtype=np.float32)
        for z_k, c_k in zip(np.split(queries[:, :-1], c.shape[1], axis=1), c.T, strict=True):
            p += c_k * np.exp(z_k @ h.T / np.float32(self.tau))
        with np.errstate(divide="ignore"):
            return np.log(p)


Scores = Vectors | ItemToItem | Concepts


def spread(user: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Returns the standard deviations (n,) over items of the scores of user vectors (n, D).

    Args:
        user: (n, D).
        covariance: (D, D), of the item vectors.
    """
    return np.sqrt(np.maximum(((user @ covariance) * user).sum(axis=1), 0))


def _num_bytes(matrix: np.ndarray | sp.csr_array) -> int:
    arrays = (matrix,) if isinstance(matrix, np.ndarray) else (matrix.data, matrix.indices, matrix.indptr)
    return sum(array.nbytes for array in arrays)


def _dense(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.toarray() if sp.issparse(matrix) else matrix)


def _match_parts(parts: Mapping[str, slice], queries: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
    found = {name: queries[:, columns] @ vectors[:, columns].T for name, columns in parts.items()}
    if parts and vectors[:, -1].any():
        found[OFFSET] = queries[:, -1:] * vectors[:, -1]
    return found
