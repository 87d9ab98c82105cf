"""Inputs on which a model can be tested: five nodes for equations by hand, a checkerboard for the contract."""

import numpy as np
import torch

from medley.types import Features, Inputs, Interactions, Triplets

SEEN = {0: [0, 1], 1: [2]}  # user -> items, in `five_nodes`
SEEN_BY = {0: [0], 1: [0], 2: [1]}  # item -> users, in `five_nodes`
EDGES = [(u, i) for u, items in SEEN.items() for i in items]
BATCH = Triplets(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([2, 0, 2]))


def five_nodes() -> Inputs:
    """Two users and three items; item 2 lacks the acoustic modality, and is the only item of user 1.

    user 0: item 1, then item 0          user 1: item 2
    """
    rng = np.random.default_rng(5)
    user, item, time = np.array([0, 0, 1], "i4"), np.array([0, 1, 2], "i4"), np.array([2.0, 1.0, 1.0])
    train = Interactions(user, item, num_users=2, num_items=3, time=time)
    visual, acoustic = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(3, 2)).astype("f4")
    acoustic[2] = 0
    return Inputs(
        train,
        {
            "visual": Features(visual, np.ones(3, dtype=bool)),
            "acoustic": Features(acoustic, np.array([True, True, False])),
        },
    )


def checkerboard() -> Inputs:
    """24 users and 32 items of two colours; every user has seen three quarters of the items of one colour, no others.

    The features of three modalities hold the colour, with noise. Item 31 has no interaction, item 3 lacks a modality.
    """
    rng = np.random.default_rng(0)
    num_users, num_items = 24, 32
    user_colour, item_colour = np.arange(num_users) % 2, np.arange(num_items) % 2
    seen = (user_colour[:, None] == item_colour) & (
        (np.arange(num_users)[:, None] // 2 + np.arange(num_items) // 2) % 4 > 0
    )
    seen[:, num_items - 1] = False
    user, item = np.nonzero(seen)
    time = np.random.default_rng(1).permutation(len(user))
    train = Interactions(user.astype("i4"), item.astype("i4"), num_users, num_items, time)
    colour = np.where(item_colour[:, None] == 0, 1.0, -1.0)
    features = {}
    for name, dim in (("visual", 6), ("acoustic", 3), ("mood", 4)):
        values = (colour + 0.3 * rng.normal(size=(num_items, dim))).astype("f4")
        present = np.ones(num_items, dtype=bool)
        if name == "mood":
            present[3], values[3] = False, 0
        features[name] = Features(values, present)
    return Inputs(train, features)


def with_99_where_missing(inputs: Inputs) -> Inputs:
    """Returns the inputs with 99 in the feature rows of items that lack the modality; no model may read these rows."""
    values = {m: np.where(f.present[:, None], f.values, 99) for m, f in inputs.features.items()}
    return inputs._replace(features={m: f._replace(values=values[m]) for m, f in inputs.features.items()})
