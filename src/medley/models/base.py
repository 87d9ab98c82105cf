"""The contract of models, and the types of their options."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from medley.errors import InputError
from medley.models.spaces import LR, Space
from medley.scoring.blocks import parts_of
from medley.types import Embeddings, HistorySum, Inputs, Interactions, ItemToItem, Scorer, Triplets

Count = Annotated[int, Field(ge=1)]  # of what a model cannot do without: dimensions, neighbours, intents
Layers = Annotated[int, Field(ge=0)]  # 0 leaves the layers out
Share = Annotated[float, Field(ge=0, le=1)]  # of a whole
Rate = Annotated[float, Field(ge=0, lt=1)]  # of what is dropped or masked, which is never all
Weight = Annotated[float, Field(ge=0)]  # of a term; 0 leaves it out
Positive = Annotated[float, Field(gt=0)]


class Spec(NamedTuple):
    """The arguments of `build`: enough to build the same model again."""

    name: str
    options: dict[str, Any]
    seed: int


class Insight(NamedTuple):
    """Weights that a model has learned about one user or one item, for people to read."""

    topic: str  # "weights of the modalities", "intents", "fused neighbours", ...
    weights: Mapping[str, float] | Mapping[int, float]  # largest first
    kind: Literal["names", "users", "items"] = "names"  # of the keys of the weights: names, or rows

    @classmethod
    def ranked(
        cls,
        topic: str,
        keys: Iterable[Any] | Tensor,
        weights: Iterable[float] | Tensor,
        *,
        kind: Literal["names", "users", "items"] = "names",
    ) -> "Insight":
        """Makes an insight from keys and their weights, sorted by weight, largest first."""
        keys = keys.tolist() if isinstance(keys, Tensor) else keys
        weights = weights.tolist() if isinstance(weights, Tensor) else weights
        return cls(topic, dict(sorted(zip(keys, weights, strict=True), key=lambda pair: -pair[1])), kind)

    @classmethod
    def numbered(cls, topic: str, name: str, weights: Tensor) -> "Insight":
        """Makes an insight from weights without keys (intents, concepts): `name` 1, `name` 2, ..., largest first."""
        return cls.ranked(topic, [f"{name} {k}" for k in range(1, len(weights) + 1)], weights)


class Recommender(nn.Module):
    """Base of all models. A model is built from `Inputs` alone, has keyword-only options, and has four methods.

    forward()    final user and item vectors whose inner product is the score
    parts()      part of the score (a modality, `id`, ...) -> vectors whose inner product is this part
    loss(batch)  the training objective on a batch
    scorer()     the score for ranking and serving: by default, the vectors of forward()

    A model whose score is not an inner product overrides scorer() with weights between items or with a function from
    users to scores (`medley.types.Scorer`), and needs no forward().

    A model without parameters is complete when it is built, and is not trained. Random numbers during training
    (dropout, masks, noise) come from torch's default generator, and are drawn only while `self.training` is true.

    Shapes: U users, I items, d = dim, B rows of a batch, K recommended items.
    """

    spec: Spec  # set by `build`
    reads_features: bool = True  # False, for a class or with some options: the model reads interactions alone
    folds_in: bool = False  # whether `scorer_of` works: a user is made of seen items alone
    search_space: ClassVar[Mapping[str, Space]] = {"lr": LR}  # option or setting -> the values that `medley tune` tries
    default_settings: ClassVar[Mapping[str, Any]] = {}  # settings of the training that differ from `TrainSettings`

    def __init__(self, inputs: Inputs):
        super().__init__()
        self.num_users = inputs.train.num_users
        self.num_items = inputs.train.num_items
        self.num_interactions = len(inputs.train)
        self.learned_from = inputs.splits  # train, or more after a refit: train+valid, ...

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        raise NotImplementedError(f"the score of {type(self).__name__} is not an inner product: use scorer()")

    def parts(self) -> dict[str, Embeddings]:
        """Returns name of a part -> user (U, d') and item (I, d') vectors; their inner products sum to the score.

        Empty if the score is not such a sum. A part with the name of a modality is the contribution of the modality.
        """
        return {}

    def start_epoch(self) -> None:
        """Draws or builds anew what changes once per epoch; called before each epoch, under `torch.no_grad()`.

        The result must follow from the parameters and torch's default generator alone, and is held in buffers with
        `persistent=False`, so that a resumed run computes the same.
        """

    def loss(self, batch: Triplets) -> Tensor:
        """Returns a scalar to minimise, on B triplets."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to train")

    def scorer(self) -> Scorer:
        """Returns the score for ranking and serving; call this method under `torch.no_grad()`.

        A function takes user rows (B,) int64 on the CPU, wherever the model is, and returns (B, I). The function draws
        nothing at random, and gives finite scores to a user without train interactions.
        """
        return self()

    def scorer_of(self, history: Interactions) -> Scorer:
        """Returns the score of users who are made of `history` in place of their train interactions.

        Only for models with `folds_in`: nothing is trained on `history`. Call this method under `torch.no_grad()`.

        Raises:
            InputError: the model has learned a vector per user.
        """
        raise InputError(
            f"users of {type(self).__name__} from a history",
            expected="a model that makes users of their items (itemknn, ease, mosaic, sasrec, ...)",
            got="a model with a learned vector per user",
            remedy="refit the model on the new history, or export it: its bundle folds new users in",
        )

    def history_sum(self) -> HistorySum | None:
        """Returns how user vectors are sums over seen items; None, the default, if they are anything else.

        With it a bundle makes new users as the model does; else it infers their vectors. Call this method under
        `torch.no_grad()`.
        """
        return None

    @torch.no_grad()
    def contributions(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """Returns parts of the scores by name, which sum to the scores. Empty if the score has no parts.

        Args:
            users: (B,) int64.
            items: (B, K) int64.

        Returns:
            name -> (B, K).
        """
        parts = self.parts()
        if parts:
            return {name: (x.user[users][:, None] * x.item[items]).sum(dim=2) for name, x in parts.items()}
        return {name: part.gather(1, items) for name, part in self.part_scores(users).items()}

    @torch.no_grad()
    def part_scores(self, users: Tensor) -> dict[str, Tensor]:
        """Returns parts of the scores of users (B,) for all items: name -> (B, I). Empty if the score has no parts."""
        parts = self.parts()
        if parts:
            return {name: x.user[users] @ x.item.T for name, x in parts.items()}
        score = self.scorer() if type(self).scorer is not Recommender.scorer else None
        return parts_of(score, users) if isinstance(score, ItemToItem) and self.reads_features else {}

    def about_user(self, user: int) -> list[Insight]:
        """Returns insights about the user in this row. Empty by default."""
        return []

    def about_item(self, item: int) -> list[Insight]:
        """Returns insights about the item in this row. Empty by default."""
        return []
