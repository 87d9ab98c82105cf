"""Options about item features. `build` applies these options to the inputs of every model that reads features, so that
no model has to.

    modalities         a subset of those of the data set, as a list or as `visual,acoustic`; all by default
    drop_modalities    share of the items that lose one modality each, drawn at random (DualGNN, Sec. V-H)
    random_features    a control: N(0, 1) in place of the features, which then identify items and carry no content
    constant_features  a control: all items have the mean of the features, which says only who has the modality
    shuffled_features  a control: items exchange their features: the values stay, the content goes
"""

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from medley.errors import InputError
from medley.models.base import Share
from medley.types import Features, Inputs


def _split(value: Any) -> Any:
    """Splits `visual,acoustic` into a list of names."""
    if isinstance(value, list | tuple) and not value:
        raise ValueError("one modality at least")
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


Modalities = Annotated[list[str] | None, BeforeValidator(_split)]
FEATURE_OPTIONS: dict[str, Any] = {
    "modalities": (Modalities, None),
    "drop_modalities": (Share, 0.0),
    "random_features": (bool, False),
    "constant_features": (bool, False),
    "shuffled_features": (bool, False),
}
CONTROLS = ("random_features", "constant_features", "shuffled_features")


def change_inputs(
    inputs: Inputs,
    *,
    seed: int,
    modalities: list[str] | None = None,
    drop_modalities: float = 0.0,
    random_features: bool = False,
    constant_features: bool = False,
    shuffled_features: bool = False,
) -> Inputs:
    """Applies the options of this file, in the order of the arguments.

    Raises:
        InputError: the data set has no such modality, or several controls at a time.
    """
    asked = [
        name for name, on in zip(CONTROLS, (random_features, constant_features, shuffled_features), strict=True) if on
    ]
    if len(asked) > 1:
        raise InputError("features", expected="one control at a time", got=" and ".join(asked))
    if modalities:
        inputs = choose(inputs, modalities)
    if drop_modalities:
        inputs = drop(inputs, drop_modalities, seed=seed)
    if random_features:
        return randomise(inputs, seed)
    if constant_features:
        return level(inputs)
    return shuffle(inputs, seed) if shuffled_features else inputs


def choose(inputs: Inputs, chosen: list[str]) -> Inputs:
    """Returns the inputs with the chosen modalities alone, in the order of the data set.

    Raises:
        InputError: the data set has no such modality.
    """
    unknown = [m for m in chosen if m not in inputs.features]
    if unknown:
        there = " or ".join(inputs.features) or "none, for the data set has no features"
        raise InputError("modalities", expected=there, got=repr(unknown[0]))
    return inputs._replace(features={m: features for m, features in inputs.features.items() if m in chosen})


def randomise(inputs: Inputs, seed: int) -> Inputs:
    """Returns the inputs with feature values from N(0, 1), float32, of the same shapes; missing stays missing.

    Every modality has its own generator, so its values do not depend on which other modalities are chosen.
    """
    drawn = {}
    for m, features in inputs.features.items():
        generator = np.random.default_rng([seed, *m.encode()])
        drawn[m] = Features(generator.standard_normal(features.values.shape, dtype=np.float32), features.present)
    return inputs._replace(features=drawn)


def level(inputs: Inputs) -> Inputs:
    """Returns the inputs where all items that have a modality have the mean of its features, float32."""
    constant = {}
    for m, features in inputs.features.items():
        values = np.zeros(features.values.shape, dtype=np.float32)
        if features.present.any():
            values[features.present] = features.values[features.present].mean(axis=0, dtype=np.float64)
        constant[m] = Features(values, features.present)
    return inputs._replace(features=constant)


def shuffle(inputs: Inputs, seed: int) -> Inputs:
    """Returns the inputs where the items that have a modality exchange its features at random; missing stays missing.

    Every modality has its own generator, so the features of an item come from several others.
    """
    shuffled = {}
    for m, features in inputs.features.items():
        rows = np.flatnonzero(features.present)
        values = np.array(features.values)
        values[rows] = values[np.random.default_rng([seed, *m.encode()]).permutation(rows)]
        shuffled[m] = Features(values, features.present)
    return inputs._replace(features=shuffled)


def drop(inputs: Inputs, ratio: float, *, seed: int) -> Inputs:
    """Returns the inputs where randomly chosen items lose one modality each, as many items per modality (Sec. V-H).

    Args:
        inputs: train interactions and item features.
        ratio: share of the items that are chosen, 0 to 1.
        seed: of the choice.
    """
    if not inputs.features:
        return inputs
    num_items = inputs.train.num_items
    chosen = np.random.default_rng(seed).permutation(num_items)[: round(ratio * num_items)]
    features = {}
    for (m, whole), lost in zip(inputs.features.items(), np.array_split(chosen, len(inputs.features)), strict=True):
        present = whole.present.copy()
        present[lost] = False
        features[m] = whole._replace(present=present)
    return inputs._replace(features=features)
