"""What every model promises."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from medley.errors import InputError
from medley.types import Embeddings, Inputs, Scorer, Triplets


class Spec(NamedTuple):
    """What `models.build` was asked for: enough to build the same model again."""

    name: str
    options: dict[str, Any]
    seed: int


def at_least(least: int, model: str, *, remedy: str | None = None, **options: int) -> None:
    """Refuses options of a model (name -> number) that are smaller."""
    for name, number in options.items():
        if number < least:
            raise InputError(f"{name} of {model}", expected=f"{least} or more", got=number, remedy=remedy)


class Insight(NamedTuple):
    """Something that a model has learned about one user or one item, for people to read."""

    topic: str  # "weights of the modalities", "intents", "fused neighbours", ...
    weights: Mapping[str, float] | Mapping[int, float]  # largest first
    keys: Literal["names", "users", "items"] = "names"  # what the keys are: names, or rows of users or items

    @classmethod
    def ranked(
        cls,
        topic: str,
        keys: Iterable[Any] | Tensor,
        weights: Iterable[float] | Tensor,
        *,
        of: Literal["names", "users", "items"] = "names",
    ) -> "Insight":
        """The keys with their weights, largest first."""
        keys = keys.tolist() if isinstance(keys, Tensor) else keys
        weights = weights.tolist() if isinstance(weights, Tensor) else weights
        return cls(topic, dict(sorted(zip(keys, weights, strict=True), key=lambda pair: -pair[1])), of)

    @classmethod
    def numbered(cls, topic: str, name: str, weights: Tensor) -> "Insight":
        """Of learned things, which have no names of their own: `name` 1, `name` 2, ..., largest first."""
        return cls.ranked(topic, [f"{name} {k}" for k in range(1, len(weights) + 1)], weights)


class Recommender(nn.Module):
    """A model is built from `Inputs` alone, has keyword-only options, and answers three questions.

    forward()    final user and item vectors whose inner product is the score
    loss(batch)  its training objective on a batch
    scorer()     what ranking uses: the vectors of forward(), unless the model says otherwise

    A model whose score is no inner product overrides scorer() with a function from users to scores, and needs no
    forward(): evaluation, recommendation and reports ask for scorer() alone.

    A model that has no parameters is complete when it is built, and is not trained. What is drawn at random while
    training (dropout, masks, noise) comes from torch's default generator, and only where `self.training` is true.

    Shapes: U users, I items, d = dim, B rows of a batch, K recommended items.
    """

    spec: Spec  # set by `models.build`
    reads_features: bool = True  # False, of a class or with some options: it knows interactions alone

    def __init__(self, inputs: Inputs):
        super().__init__()
        self.num_users = inputs.train.num_users
        self.num_items = inputs.train.num_items

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        raise NotImplementedError(f"the score of {type(self).__name__} is no inner product: use scorer()")

    def start_epoch(self) -> None:
        """Called before each epoch, under `torch.no_grad()`: what is drawn or built anew once per epoch.

        What it makes must follow from the parameters and torch's default generator alone, and lives in buffers with
        `persistent=False`, so that a run that is resumed makes the same.
        """

    def loss(self, batch: Triplets) -> Tensor:
        """A scalar to minimise, on B triplets."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to train")

    def scorer(self) -> Scorer:
        """What ranking uses; call it under `torch.no_grad()`.

        A function takes user rows (B,) int64 on the CPU, wherever the model is, and returns (B, I). It draws nothing at
        random, and gives finite scores to a user without train interactions.
        """
        return self()

    def contributions(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """Parts of the scores by name (a modality, `id`, ...), which sum to the scores. Empty where there are none.

        Args:
            users: (B,) int64.
            items: (B, K) int64.

        Returns:
            name -> (B, K).
        """
        return {}

    def about_user(self, user: int) -> list[Insight]:
        """What the model has learned about the user of this row. Empty where it has nothing to tell."""
        return []

    def about_item(self, item: int) -> list[Insight]:
        """What the model has learned about the item of this row. Empty where it has nothing to tell."""
        return []
