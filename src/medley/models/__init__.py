"""The models, by the names that users type. `build` makes one from data; `describe` says what each one is."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, create_model

from medley.errors import InputError
from medley.models.acf import ACF
from medley.models.base import Recommender, Scorer, Spec
from medley.models.bm3 import BM3
from medley.models.cb2cf import CB2CF
from medley.models.disengcn import DisenGCN
from medley.models.dualgnn import DualGNN
from medley.models.duif import DUIF
from medley.models.ease import EASE
from medley.models.egogcn import EgoGCN
from medley.models.features import FEATURE_OPTIONS, choose_modalities, random_features
from medley.models.freedom import FREEDOM
from medley.models.gat import GAT
from medley.models.graphsage import GraphSAGE
from medley.models.grcn import GRCN
from medley.models.huign import HUIGN
from medley.models.itemknn import ItemKNN
from medley.models.lattice import LATTICE
from medley.models.lightgcn import LightGCN
from medley.models.lrgccf import LRGCCF
from medley.models.ludp import LUDP
from medley.models.macridvae import MacridVAE
from medley.models.mf import MF
from medley.models.mgcn import MGCN
from medley.models.mmgcn import MMGCN
from medley.models.ngcf import NGCF
from medley.models.popularity import Popularity
from medley.models.stargcn import STARGCN
from medley.models.vbpr import VBPR
from medley.types import Inputs

MODELS: dict[str, type[Recommender]] = {
    "popularity": Popularity,
    "mf": MF,
    "vbpr": VBPR,
    "lightgcn": LightGCN,
    "mmgcn": MMGCN,
    "ludp": LUDP,
    "huign": HUIGN,
    "dualgnn": DualGNN,
    "egogcn": EgoGCN,
    "duif": DUIF,
    "cb2cf": CB2CF,
    "acf": ACF,
    "stargcn": STARGCN,
    "macridvae": MacridVAE,
    "itemknn": ItemKNN,
    "ease": EASE,
    "graphsage": GraphSAGE,
    "gat": GAT,
    "ngcf": NGCF,
    "lrgccf": LRGCCF,
    "freedom": FREEDOM,
    "bm3": BM3,
    "mgcn": MGCN,
    "disengcn": DisenGCN,
    "grcn": GRCN,
    "lattice": LATTICE,
}

__all__ = ["MODELS", "Recommender", "Scorer", "Spec", "build", "check_options", "describe", "find"]


def build(name: str, inputs: Inputs, *, seed: int = 0, **options: Any) -> Recommender:
    """A new model with parameters drawn under `seed`, ready to score; the caller's random state is left as it was.

    Args:
        name: a key of `MODELS`.
        inputs: train interactions and item features, e.g. `dataset.inputs()`.
        seed: of the initial parameters, and of random features.
        options: the model's own options, and those of `medley.models.features` if it reads features; see `describe`.

    Raises:
        InputError: unknown model, option or modality, or a value of the wrong type.
    """
    checked = check_options(name, options)
    own = {key: value for key, value in checked.items() if key not in FEATURE_OPTIONS}
    chosen = {key: value for key, value in checked.items() if key in FEATURE_OPTIONS and value}
    if "modalities" in chosen:
        inputs = choose_modalities(inputs, chosen["modalities"])
        chosen["modalities"] = list(inputs.features)
    if "random_features" in chosen:
        inputs = random_features(inputs, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = find(name)(inputs, **own)
    if chosen and not model.reads_features:
        remedy = f"leave it out, or choose options of {name} with which it does"
        raise InputError(
            f"{' and '.join(chosen)} of {name}", got="options with which it reads no features", remedy=remedy
        )
    model.spec = Spec(name, own | chosen, seed)
    return model.eval()


def find(name: str) -> type[Recommender]:
    """The class of a model, or InputError with the names there are."""
    if name not in MODELS:
        raise InputError("unknown model", expected=" or ".join(MODELS), got=repr(name))
    return MODELS[name]


def check_options(name: str, options: dict[str, Any], *, more: Sequence[str] = ()) -> dict[str, Any]:
    """All options of a model: the given ones, typed and checked, over its defaults.

    Args:
        name: of the model.
        options: the given ones.
        more: names that the caller takes itself; the error for an unknown option lists them too.

    Raises:
        InputError: an unknown option, a value of the wrong type, or an option about features for a model without.
    """
    for option in FEATURE_OPTIONS.keys() & options.keys():
        if not find(name).reads_features:
            raise InputError(
                f"option {option!r}",
                expected="a model that reads item features",
                got=f"{name}, which knows items by their interactions alone",
                remedy="leave the option out, or choose another model",
            )
    try:
        return _schema(name).model_validate(options).model_dump(mode="json")
    except ValidationError as error:
        problem = error.errors()[0]
        option = ".".join(str(part) for part in problem["loc"])
        known = ", ".join([*_schema(name).model_fields, *more]) or "none"
        raise InputError(
            f"option {option!r} of {name}",
            got=f"{problem['input']!r} ({problem['msg']})",
            remedy=f"its options: {known}",
        ) from None


def describe(name: str) -> dict[str, Any]:
    """Name, paper, summary, when to choose it, and options with types and defaults of one model, read from its file."""
    model = find(name)
    module_doc = inspect.getdoc(inspect.getmodule(model)) or ""
    summary, _, choice = (inspect.getdoc(model) or "").partition("\n\nChoose it ")
    fields = _schema(name).model_fields
    return {
        "name": name,
        "title": model.__name__,
        "summary": summary,
        "choice": choice,
        "paper": " ".join(module_doc.split("\n\n")[0].split()),
        "options": {
            key: {"type": inspect.formatannotation(field.annotation), "default": field.default}
            for key, field in fields.items()
        },
    }


def _schema(name: str) -> type[BaseModel]:
    """A pydantic model of the keyword-only options in a model's constructor, and of those about features.

    A `dim` that is said to be an int is 1 or more.
    """
    model = find(name)
    parameters = inspect.signature(model).parameters.values()
    fields: dict[str, Any] = {p.name: (p.annotation, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
    if fields.get("dim", (None,))[0] is int:
        fields["dim"] = (PositiveInt, fields["dim"][1])
    if model.reads_features:
        fields |= FEATURE_OPTIONS
    return create_model(f"{name}_options", __config__=ConfigDict(extra="forbid"), **fields)
