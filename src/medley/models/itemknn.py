"""ItemKNN. Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 2004,
https://doi.org/10.1145/963770.963776.

    s_ui = sum over the items j seen by u of recency^age(u, j) S_ji      row j of S: the k items most similar to j

    similarity = "interactions"     S_ji = n_ji / (sqrt(n_j n_i) + shrinkage)
    similarity = "content"          S_ji = sum_m cos(f_jm, f_im), with k neighbours per modality m

n_ji = sum of 1 / n_u^damping over the users u who have seen both, n_j = n_jj, n_u the number of items of u. So S_ji is
the cosine of the items' columns, which `shrinkage` lowers where few users support it. With damping = 0 these are
columns of the 0/1 matrix; with damping = 1 the row of every user, 1 / sqrt(n_u) at each item, has length one, the
paper's row normalisation. With content every modality has its own part of the score; an item that lacks m has no
part_m. age(u, j) is the number of items that u has seen after j; recency < 1 forgets, and S does not depend on it.

Shapes: U users, I items, k neighbours.
The paper leaves open: which of several equally similar items is a neighbour (here the item in the lower row).
Differs from the paper: shrinkage, content and recency are not in it; its conditional probabilities, its similarities
that sum to one over the neighbours of an item, and its models of sets of items are left out. A user without
interactions has the score 0 for all items.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from medley import graphs
from medley.errors import InputError
from medley.models.base import Count, Insight, Recommender, Weight
from medley.models.spaces import Choice, Log, Space, Uniform
from medley.nn.chosen import Recency
from medley.nn.seen import SeenItems
from medley.types import Inputs, Interactions, ItemToItem, Neighbours

Similarity = Literal["interactions", "content"]
NUM_EXAMPLES = 10  # neighbours in an insight


class ItemKNN(Recommender):
    """The items most similar to those of the user, by common users or by content; no parameters.

    Choose it as a baseline without training that is often strong on sparse data; content finds new items.
    """

    folds_in = True
    search_space: ClassVar[Mapping[str, Space]] = {
        "k": Choice((5, 10, 20, 50, 100, 200, 500)),
        "shrinkage": Log(1.0, 1e4),  # the study of TikTok chose the largest of 10, 100, 1000
        "damping": Uniform(0.0, 1.0),
        "recency": Choice((1.0, "auto")),
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        k: Count = 100,
        similarity: Similarity = "interactions",
        shrinkage: Weight = 3.0,  # of similarity=interactions, as is damping; the paper has none
        damping: Weight = 0.5,  # with 1 rows have length one, as in the paper; docs/results/defaults.md
        recency: Recency = "auto",  # with 1 the order of a history means nothing, as in the paper
    ):
        super().__init__(inputs)
        if similarity == "content" and not inputs.features:
            raise InputError(
                "content similarity",
                expected="a data set with at least one modality",
                got="none",
                remedy="import features with the interactions, or choose similarity=interactions",
            )
        self.seen = SeenItems(inputs.train, recency)
        self.reads_features = similarity == "content"
        if similarity == "interactions":
            matrices = {"interactions": graphs.item_cosine(inputs.train, k, shrinkage=shrinkage, damping=damping)}
        else:
            matrices = {m: graphs.item_knn(f, k, include_self=False) for m, f in inputs.features.items()}
        self.neighbours = nn.ModuleDict({name: _Neighbours(matrix) for name, matrix in matrices.items()})

    def scorer(self) -> ItemToItem:
        """Returns S of every part."""
        return self._score(self.seen)

    def scorer_of(self, history: Interactions) -> ItemToItem:
        """Returns S of every part, for users who have seen `history`."""
        return self._score(self.seen.of(history))

    def _score(self, seen: SeenItems) -> ItemToItem:
        return ItemToItem(seen, {name: neighbours() for name, neighbours in self.neighbours.items()})

    def about_item(self, item: int) -> list[Insight]:
        """The nearest neighbours of the item, by common users or in each modality."""
        insights = []
        for name, neighbours in self.neighbours.items():
            index, value = neighbours.get_buffer("index")[item], neighbours.get_buffer("value")[item]
            best = value.topk(min(NUM_EXAMPLES, int(value.count_nonzero())))
            insights.append(Insight.ranked(f"neighbours by {name}", index[best.indices], best.values, kind="items"))
        return insights


class _Neighbours(nn.Module):
    """S, with rows padded by similarities of 0."""

    index: Tensor  # (I, k) int64
    value: Tensor  # (I, k) float32

    def __init__(self, matrix: sp.csr_array):
        super().__init__()
        size = np.diff(matrix.indptr)
        row, place = np.repeat(np.arange(len(size)), size), np.concatenate([np.arange(n) for n in size])
        index, value = (np.zeros((len(size), size.max()), dtype) for dtype in (np.int64, np.float32))
        index[row, place], value[row, place] = matrix.indices, matrix.data
        self.register_buffer("index", torch.from_numpy(index), persistent=False)
        self.register_buffer("value", torch.from_numpy(value), persistent=False)

    def forward(self) -> Neighbours:
        return Neighbours(self.index, self.value)
