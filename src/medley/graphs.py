"""Interactions -> graphs. Built from the train split only, because that is all that `Inputs` holds."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from torch import nn

from medley.nn.sparse import SparseMatrix
from medley.types import Features, Interactions


class Bipartite(nn.Module):
    """Users and items joined by interactions, with the weights of one normalisation.

    users_from_items (U, I) carries item vectors to users; items_from_users (I, U) the other way.
    """

    def __init__(self, users_from_items: sp.csr_array, items_from_users: sp.csr_array):
        super().__init__()
        self.users_from_items = SparseMatrix(users_from_items)
        self.items_from_users = SparseMatrix(items_from_users)


def symmetric(train: Interactions) -> SparseMatrix:
    """D_u^-1/2 R D_i^-1/2, (U, I). With its transpose it is the propagation of LightGCN, NGCF and others.

    He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126, eq. 3.
    """
    weight_u = _inverse(np.sqrt(train.items_per_user()))
    weight_i = _inverse(np.sqrt(train.users_per_item()))
    return SparseMatrix(_scaled(train.csr(), weight_u, weight_i))


def mean_over_neighbours(train: Interactions, *, of: Features | None = None) -> Bipartite:
    """Every node averages its neighbours: D_u^-1 R and D_i^-1 R^T.

    Args:
        train: the interactions.
        of: keep only edges of items that have this modality, so that no average contains a missing feature.
    """
    kept = train if of is None else _with_items(train, of.present)
    matrix = kept.csr()
    weight_u, weight_i = _inverse(kept.items_per_user()), _inverse(kept.users_per_item())
    ones_u, ones_i = np.ones(train.num_users), np.ones(train.num_items)
    return Bipartite(_scaled(matrix, weight_u, ones_i), _scaled(sp.csr_array(matrix.T), weight_i, ones_u))


def _with_items(train: Interactions, kept: np.ndarray) -> Interactions:
    chosen = kept[train.item]
    return replace(train, user=train.user[chosen], item=train.item[chosen])


def _inverse(degree: np.ndarray) -> np.ndarray:
    """1 / degree, and 0 for isolated nodes."""
    return np.divide(1.0, degree, out=np.zeros(len(degree)), where=degree > 0)


def _scaled(matrix: sp.csr_array, rows: np.ndarray, columns: np.ndarray) -> sp.csr_array:
    """diag(rows) matrix diag(columns)"""
    data = matrix.data * np.repeat(rows, np.diff(matrix.indptr)) * columns[matrix.indices]
    return sp.csr_array((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
