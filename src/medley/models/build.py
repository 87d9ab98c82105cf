"""Builds models from a name and options; every refused option gets an error of one sentence."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from medley.errors import InputError, invalid
from medley.modality_names import PARTS_OF_SCORES
from medley.models.base import Recommender, Spec
from medley.models.inputs import FEATURE_OPTIONS, change_inputs
from medley.models.registry import find, name_of
from medley.types import Inputs


def build(model: str | type[Recommender], inputs: Inputs, *, seed: int = 0, **options: Any) -> Recommender:
    """Returns a new model with parameters drawn under `seed`, ready to score; leaves torch's random state unchanged.

    Args:
        model: a name, an import path (`mypkg.mymodel:Mine`) or a class, see `medley.models.registry.find`.
        inputs: train interactions and item features, e.g. `dataset.inputs()`.
        seed: of the initial parameters, of random features and of dropped modalities.
        options: the model's own options, and those of `medley.models.inputs` if it reads features; see `describe`.

    Raises:
        InputError: unknown model, option or modality, a value of the wrong type or range, or a modality with the name
            of another part of a score.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError("seed", expected="a whole number of at least 0", got=repr(seed))
    seed = int(seed)
    checked = check_options(model, options)
    own = {key: value for key, value in checked.items() if key not in FEATURE_OPTIONS}
    changes = {key: value for key, value in checked.items() if key in FEATURE_OPTIONS and value}
    inputs = change_inputs(inputs, seed=seed, **changes)
    if "modalities" in changes:
        changes["modalities"] = list(inputs.features)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = find(model)(inputs, **own)
    name = name_of(model)
    if changes and not built.reads_features:
        remedy = f"leave it out, or choose options of {name} with which it does"
        got = "options with which it reads no features"
        raise InputError(f"{' and '.join(changes)} of {name}", got=got, remedy=remedy)
    if built.reads_features:
        _refuse_names_of_parts(inputs)
    built.spec = Spec(name, own | changes, seed)
    return built.eval()


def _refuse_names_of_parts(inputs: Inputs) -> None:
    """Imports refuse these names, but arrays in memory and data sets of earlier versions may have them."""
    for modality in inputs.features:
        if modality in PARTS_OF_SCORES:
            raise InputError(
                "name of a modality",
                expected="a name that no other part of a score has",
                got=repr(modality),
                remedy="rename the modality and import the data again, or choose other modalities",
            )


def check_options(
    model: str | type[Recommender], options: Mapping[str, Any], *, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns all options of a model, JSON-able: the given options, typed and checked, over the defaults.

    Args:
        model: as in `build`.
        options: the given options.
        settings: names that the caller accepts too; the error for an unknown option lists them too.

    Raises:
        InputError: an unknown option, a value of the wrong type or range, or an option about features for a model
            that reads none.
    """
    name = name_of(model)
    for option in FEATURE_OPTIONS.keys() & options.keys():
        if not find(model).reads_features:
            raise InputError(
                f"option {option!r} of {name}",
                expected="a model that reads item features",
                got=f"{name}, which knows items by their interactions alone",
                remedy="leave the option out, or choose another model",
            )
    schema = _schema(model)
    try:
        return schema.model_validate(dict(options)).model_dump(mode="json")
    except ValidationError as error:
        known = {f"options of {name}": [*schema.model_fields]} | ({"settings": [*settings]} if settings else {})
        raise invalid(error, "option", of=name, known=known) from None


def describe(model: str | type[Recommender]) -> dict[str, Any]:
    """Returns name, title, paper, summary, when to choose the model, and options with types and defaults.

    Raises:
        InputError: as in `find`.
    """
    found = find(model)
    module_doc = inspect.getdoc(inspect.getmodule(found)) or ""
    own_doc = inspect.cleandoc(vars(found).get("__doc__") or "")  # `inspect.getdoc` would take that of `Recommender`
    summary, _, choice = own_doc.partition("\n\nChoose it ")
    return {
        "name": name_of(model),
        "title": found.__name__,
        "summary": summary,
        "choice": choice,
        "paper": " ".join(module_doc.split("\n\n")[0].split()),
        "options": {
            key: {"type": _type_of(field), "default": field.default}
            for key, field in _schema(model).model_fields.items()
        },
        "settings": dict(found.default_settings),
    }


def _schema(model: str | type[Recommender]) -> type[BaseModel]:
    """Returns a pydantic model of the keyword-only options in a model's constructor, and of those about features."""
    found = find(model)
    parameters = inspect.signature(found, eval_str=True).parameters.values()
    fields: dict[str, Any] = {p.name: (p.annotation, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
    if found.reads_features:
        fields |= FEATURE_OPTIONS
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model(f"{found.__name__}_options", __config__=config, **fields)


def _type_of(field: FieldInfo) -> str:
    """Describes the type of an option, `int, 1 or more`, unless the type describes itself."""
    if field.description:
        return field.description
    bounds = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}
    ranges = [
        text.format(getattr(limit, name))
        for limit in field.metadata
        for name, text in bounds.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([inspect.formatannotation(field.annotation), *ranges])
