"""Checks of the scores. Each function is a promise, which is its docstring."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medley.models.base import Insight
from medley.models.registry import learns
from medley.testing.computed import Model, scores_of
from medley.testing.inputs import checkerboard
from medley.testing.small import Options, batch_of, require, small
from medley.types import Features, Inputs, ItemToItem, Neighbours


def scores_all_users_and_items(model: Model, options: Options) -> None:
    """Scores are finite for all users and items, also for those without interactions or modalities."""
    inputs = checkerboard()
    inputs = inputs._replace(train=replace(inputs.train, num_users=25))
    scores = scores_of(small(model, inputs, options))
    require(np.isfinite(scores[:24]).all(), "some scores are NaN or infinite")
    require(np.isfinite(scores).all(), "scores of a user without interactions are NaN or infinite")


def scores_without_chance(model: Model, options: Options) -> None:
    """Nothing is drawn at random in evaluation mode: neither in the scores nor in the loss."""
    inputs = checkerboard()
    built = small(model, inputs, options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = scores_of(built)
        state = torch.get_rng_state()
        require(_same(scores_of(built), first), "the scores of two calls differ")
        if learns(model):
            with torch.no_grad():
                built.eval().loss(batch_of(inputs))
        require(torch.equal(torch.get_rng_state(), state), "random numbers are drawn in evaluation mode")


def follows_its_seed(model: Model, options: Options) -> None:
    """The seed decides the parameters, and the caller's random state stays as it is."""
    state = torch.get_rng_state()
    first, again, other = (small(model, checkerboard(), options, seed=seed) for seed in (3, 3, 4))
    require(torch.equal(torch.get_rng_state(), state), "building the model changes torch's random state")
    require(_same(scores_of(first), scores_of(again)), "the same seed gives other scores")
    if learns(model):
        require(not _same(scores_of(first), scores_of(other)), "another seed gives the same scores")


def restores_its_scores_from_saved_weights(model: Model, options: Options) -> None:
    """The state dict of one model gives another model the same scores."""
    saved, fresh = (small(model, checkerboard(), options, seed=seed) for seed in (1, 2))
    fresh.load_state_dict({key: value.clone() for key, value in saved.state_dict().items()})
    require(_same(scores_of(fresh), scores_of(saved)), "the scores differ after load_state_dict")


def accepts_one_modality_of_any_name(model: Model, options: Options) -> None:
    """One modality of any name is enough."""
    inputs = checkerboard()
    inputs = inputs._replace(features={"smell-of-it": inputs.features["visual"]})
    own = {key: value for key, value in options.items() if key != "modalities"}
    require(np.isfinite(scores_of(small(model, inputs, own))).all(), "some scores are NaN or infinite")


def has_parts_that_sum_to_the_score(model: Model, options: Options) -> None:
    """The parts of the scores, if the model has any, sum to the scores of all users for all items."""
    inputs = checkerboard()
    built = small(model, inputs, options)
    scores = scores_of(built)
    with torch.no_grad():
        parts = {name: (user @ item.T).numpy() for name, (user, item) in built.parts().items()}
        scorer = built.scorer()
    if isinstance(scorer, ItemToItem):
        seen = inputs.train.csr().toarray()
        parts = {name: seen @ _dense(weight) for name, weight in scorer.weights.items()}
    if parts:
        distance = np.abs(sum(parts.values()) - scores).max() / max(1, np.abs(scores).max())
        require(distance < 1e-4, f"the sum of the parts {', '.join(parts)} differs from the scores by {distance:.2g}")


def ignores_the_numbering_of_items(model: Model, options: Options) -> None:
    """Renumbered items get the same scores and insights: nothing in the order of users is read as if of items."""
    given = checkerboard()
    num_items = given.train.num_items - 1  # 31, so that parameters with a row per item are known by their length
    new = np.random.default_rng(0).permutation(num_items)
    old = np.argsort(new)  # new row -> old row
    features = {m: Features(f.values[:num_items], f.present[:num_items]) for m, f in given.features.items()}
    renumbered = {m: Features(f.values[old], f.present[old]) for m, f in features.items()}
    train = replace(given.train, num_items=num_items)
    first = small(model, Inputs(train, features), options)
    second = small(model, Inputs(replace(train, item=new[train.item].astype("i4")), renumbered), options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for x, y in zip(first.parameters(), second.parameters(), strict=True):
            x.normal_(generator=generator)
            y.copy_(x[old] if x.dim() and len(x) == num_items else x)
    close = np.allclose(scores_of(second), scores_of(first)[:, old], rtol=1e-3, atol=1e-3)
    require(close, "the scores change with the numbering of the items")
    for row in range(4):
        insights = [*first.about_user(row), *first.about_item(row)]
        others = [*second.about_user(row), *second.about_item(int(new[row]))]
        for insight, other in zip(insights, others, strict=True):
            require(
                _agree(insight, other, new), f"the insight {insight.topic!r} changes with the numbering of the items"
            )


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second)


def _dense(weight: Tensor | Neighbours) -> np.ndarray:
    """(I, I)"""
    if isinstance(weight, Tensor):
        return weight.numpy()
    matrix = np.zeros((len(weight.index), len(weight.index)))
    for row, (index, value) in enumerate(zip(weight.index.tolist(), weight.value.tolist(), strict=True)):
        for column, number in zip(index, value, strict=True):
            matrix[row, column] += number
    return matrix


def _agree(insight: Insight, other: Insight, new: np.ndarray) -> bool:
    """Whether two insights say the same, the second about renumbered items (old row -> `new` row)."""
    found: dict[Any, float] = dict(other.weights.items())
    expected = {int(new[key]) if insight.kind == "items" else key: weight for key, weight in insight.weights.items()}
    both = expected.keys() & found.keys()  # among equal weights, any may be the first few
    pairs = [*zip(found.values(), expected.values(), strict=True), *((found[key], expected[key]) for key in both)]
    return all(np.isclose(a, b, rtol=1e-3, atol=1e-3) for a, b in pairs)
