"""EASE^R. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, https://arxiv.org/abs/1905.03375.

    s_uj = (w_u * x_u) . B_j                          x_u: row of the 0/1 matrix X of train interactions
                                                      w_ui = recency^age(u, i)
    min_B ||X - X B||_F^2 + reg ||B||_F^2  with  diag(B) = 0
    P = (X^T X + reg I)^-1       B_ij = -P_ij / P_jj for i != j,  B_jj = 0

The optimum is computed when the model is built, so there is nothing to train, to save or to draw at random. The inverse
is computed in place from a Cholesky factor: 4 I^2 bytes, I^3 multiplications. age(u, i) is the number of items that u
has seen after i; recency < 1 forgets, and B does not depend on it.

Shapes: U users, I items.
Differs from the paper: float32 throughout; recency is not in it. A user without interactions has the score 0 for all
items.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from scipy.linalg import get_lapack_funcs
from torch import Tensor

from medley.errors import InputError
from medley.models.base import Insight, Positive, Recommender
from medley.models.spaces import Choice, Log, Space
from medley.nn.chosen import Recency
from medley.nn.seen import SeenItems
from medley.types import Inputs, Interactions, ItemToItem

BLOCK = 2**24  # numbers in a block of temporary rows
NUM_EXAMPLES = 10  # items in an insight


class EASE(Recommender):
    """A linear model from the items of a user to all items, in closed form; no parameters.

    Choose it as a baseline without training, up to some ten thousand items: its weights are items times items.
    """

    reads_features = False
    folds_in = True
    search_space: ClassVar[Mapping[str, Space]] = {
        "reg": Log(1.0, 1e4),  # the paper chose 200, 500 and 1,000
        "recency": Choice((1.0, "auto")),
    }
    weight: Tensor  # (I, I) float32, B

    def __init__(
        self,
        inputs: Inputs,
        *,
        reg: Positive = 100.0,
        recency: Recency = "auto",  # with 1 the order of a history means nothing, as in the paper
        memory_gb: Positive = 16.0,
    ):
        super().__init__(inputs)
        needed = 4 * self.num_items**2 / 1e9
        if needed > memory_gb:
            raise InputError(
                f"the {self.num_items:,} x {self.num_items:,} weights of ease",
                expected=f"at most {memory_gb:g} GB",
                got=f"{needed:,.2f} GB",
                remedy="allow more with memory_gb, import fewer items (kcore), or choose itemknn",
            )
        self.seen = SeenItems(inputs.train, recency)
        self.register_buffer("weight", torch.from_numpy(_weights(inputs.train, reg)), persistent=False)

    def scorer(self) -> ItemToItem:
        """Returns B."""
        return ItemToItem(self.seen, {"interactions": self.weight})

    def scorer_of(self, history: Interactions) -> ItemToItem:
        """Returns B, for users who have seen `history`."""
        return ItemToItem(self.seen.of(history), {"interactions": self.weight})

    def about_item(self, item: int) -> list[Insight]:
        """The items with the largest weights from this item."""
        best = self.weight[item].topk(min(NUM_EXAMPLES, self.num_items))
        return [Insight.ranked("speaks for", best.indices, best.values, kind="items")]


def _weights(train: Interactions, reg: float) -> np.ndarray:
    """Computes B, (I, I)."""
    matrix = _gram(train)
    matrix[np.diag_indices_from(matrix)] += reg
    _invert(matrix)
    diagonal = np.diag(matrix).copy()  # P_jj
    matrix /= -diagonal
    np.fill_diagonal(matrix, 0)
    return matrix


def _gram(train: Interactions) -> np.ndarray:
    """Computes X^T X, (I, I)."""
    x = train.csr()
    items, size = sp.csr_array(x.T), train.num_items
    gram = np.empty((size, size), dtype=np.float32)
    step = max(1, BLOCK // size)
    for first in range(0, size, step):
        gram[first : first + step] = (items[first : first + step] @ x).toarray()
    return gram


def _invert(matrix: np.ndarray) -> None:
    """Replaces a symmetric positive definite matrix by its inverse."""
    factorise, invert = get_lapack_funcs(("potrf", "potri"), dtype=matrix.dtype)
    columns = matrix.T  # LAPACK reads columns, which are the rows of a symmetric matrix
    _, problem = factorise(columns, lower=True, clean=False, overwrite_a=True)
    if not problem:
        _, problem = invert(columns, lower=True, overwrite_c=True)
    if problem:
        raise InputError("X^T X + reg I", expected="a matrix that float32 can invert", remedy="raise reg of ease")
    size, step = len(matrix), max(1, BLOCK // len(matrix))
    for first in range(0, size, step):  # the upper triangle of `matrix` was written; mirror it
        last = min(first + step, size)
        block = matrix[first:last, first:last]
        block[:] = np.triu(block) + np.triu(block, 1).T
        matrix[last:, first:last] = matrix[first:last, last:].T
