"""Popularity: every user is recommended the items with the most interactions, or with the most recent ones.

    s_i = sum over the train interactions (u, i, t) of recency^age(u, i) 2^(-(T - t) / half_life)

By default every interaction counts 1, so s_i = |N_i|. age(u, i) is the number of items that u has seen after i: recency
asks what people chose last, and needs the order of each user alone. T is the time of the latest interaction of train:
half_life forgets by the clock, in the unit of the log's times. A clock that all users share is needed, so half_life is
refused on logs whose times are places in the list of a user (`medley import sequences`).

Shapes: U users, I items, n train interactions.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medley.errors import InputError
from medley.models.base import Positive, Recommender
from medley.models.spaces import Choice, Space
from medley.nn.chosen import RECENCIES, Auto, ChosenNumber, Recency, expecting
from medley.types import Embeddings, Inputs, Interactions

_HALF_LIFE = "a number more than 0, auto or null"
HalfLife = Annotated[Positive | Auto | None, Field(description=_HALF_LIFE), expecting(_HALF_LIFE)]
FORGETS_NOTHING = 1e9  # times the span: every weight is 1 in float32
SPANS = (
    FORGETS_NOTHING,
    4.0,
    1.0,
    0.5,
    0.25,
    0.1,
    0.05,
    0.02,
    0.01,
)  # half-lives to try, as shares of the time from first to latest


class Popularity(Recommender):
    """The number of train interactions of an item, or of its recent interactions. No parameters.

    Choose it as the baseline that every model must beat, and for users without interactions.
    """

    reads_features = False
    folds_in = True  # users differ in nothing
    search_space: ClassVar[Mapping[str, Space]] = {"recency": Choice((1.0, "auto"))}

    popularity: Tensor | None  # (I, 1) float32; None: it depends on numbers that validation may choose
    item: Tensor  # (n,) int64
    age: Tensor  # (n,) int64
    ago: Tensor  # (n,) float32, T - t

    def __init__(self, inputs: Inputs, *, recency: Recency = 1.0, half_life: HalfLife = None):
        super().__init__(inputs)
        train = inputs.train
        if train.time is None or not len(train):
            _refuse_without_times(recency, half_life)
            recency, half_life = 1.0, None
        if half_life is not None and _are_places(train):
            if half_life != "auto":
                got, remedy = "places in the list of each user", "choose recency, which needs no common clock"
                raise InputError("half_life of popularity", expected="times of one clock", got=got, remedy=remedy)
            half_life = None
        self.half_life = None if half_life is None else _half_life(train, half_life)
        self.recency = ChosenNumber(recency, among=RECENCIES, start=1.0)
        if recency == 1 and half_life is None:
            popularity = torch.from_numpy(train.users_per_item()).float()
            self.register_buffer("popularity", popularity[:, None], persistent=False)
            return
        assert train.time is not None
        ago = (train.time.max() - train.time).astype(np.float32)
        columns = {"item": train.item.astype(np.int64), "age": train.ages(), "ago": ago}
        self.register_buffer("popularity", None, persistent=False)
        for name, column in columns.items():
            self.register_buffer(name, torch.from_numpy(column), persistent=False)

    def forward(self) -> Embeddings:
        """User (U, 1) and item (I, 1) vectors."""
        popularity = self._recent() if self.popularity is None else self.popularity
        return Embeddings(popularity.new_ones(self.num_users, 1), popularity)

    def scorer_of(self, history: Interactions) -> Embeddings:
        """Returns the score, which does not depend on what a user has seen."""
        return self()

    def _recent(self) -> Tensor:
        weight = self.recency() ** self.age
        if self.half_life is not None:
            weight = weight * torch.exp2(-self.ago / self.half_life())
        return weight.new_zeros(self.num_items).index_add(0, self.item, weight)[:, None]


def _half_life(train: Interactions, given: float | Auto) -> ChosenNumber:
    assert train.time is not None
    span = float(train.time.max() - train.time.min()) or 1.0
    among = [share * span for share in SPANS]
    return ChosenNumber(given, among=among, start=among[0])


def _are_places(train: Interactions) -> bool:
    """Whether the lists of all users begin at the same moment, so the times are places in these lists."""
    assert train.time is not None
    order = np.lexsort((train.time, train.user))
    _, first = np.unique(train.user[order], return_index=True)
    begins = train.time[order][first]
    return len(begins) > 1 and bool((begins == begins[0]).all())


def _refuse_without_times(recency: Recency, half_life: float | Auto | None) -> None:
    for name, given, is_plain in (("recency", recency, recency == 1), ("half_life", half_life, half_life is None)):
        if not is_plain and given != "auto":
            remedy = f"import the data with a time column, or leave {name} out"
            raise InputError(f"{name} of popularity", expected="interactions with times", got="none", remedy=remedy)
