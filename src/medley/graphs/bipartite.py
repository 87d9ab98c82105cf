"""Users and items joined by interactions."""

import numpy as np
import scipy.sparse as sp
from torch import nn

from medley.graphs.normalise import inverse, scaled
from medley.nn.sparse import SparseMatrix
from medley.types import Features, Interactions


class Bipartite(nn.Module):
    """Users and items joined by interactions, with the weights of one normalisation.

    users_from_items (U, I) propagates item vectors to users; items_from_users (I, U) propagates user vectors to items.
    """

    def __init__(self, users_from_items: sp.csr_array, items_from_users: sp.csr_array):
        super().__init__()
        self.users_from_items = SparseMatrix(users_from_items)
        self.items_from_users = SparseMatrix(items_from_users)


def symmetric(train: Interactions) -> SparseMatrix:
    """Returns D_u^-1/2 R D_i^-1/2, (U, I): with its transpose, the propagation of LightGCN, NGCF and others.

    He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126, eq. 3.
    """
    weight_u = inverse(np.sqrt(train.items_per_user()))
    weight_i = inverse(np.sqrt(train.users_per_item()))
    return SparseMatrix(scaled(train.csr(), weight_u, weight_i))


def mean_over_neighbours(train: Interactions, *, of: Features | None = None) -> Bipartite:
    """Returns the weights of means over neighbours: D_u^-1 R and D_i^-1 R^T.

    Args:
        train: the interactions.
        of: keep only edges of items that have this modality, so that no mean contains a missing feature.
    """
    kept = train if of is None else with_modality(train, of)
    matrix = kept.csr()
    weight_u, weight_i = inverse(kept.items_per_user()), inverse(kept.users_per_item())
    ones_u, ones_i = np.ones(train.num_users), np.ones(train.num_items)
    return Bipartite(scaled(matrix, weight_u, ones_i), scaled(sp.csr_array(matrix.T), weight_i, ones_u))


def with_modality(train: Interactions, features: Features) -> Interactions:
    """Returns the interactions with items that have a modality: the edges of the modality's graph."""
    kept = features.present[train.item]
    return train.only(kept)
