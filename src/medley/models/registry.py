"""Models by name: a written list, entry points of installed packages, and any class by its import path."""

import inspect
from typing import Any

from medley import plugins
from medley.errors import InputError
from medley.models.acf import ACF
from medley.models.base import Recommender
from medley.models.bm3 import BM3
from medley.models.cb2cf import CB2CF
from medley.models.clcrec import CLCRec
from medley.models.disengcn import DisenGCN
from medley.models.dropoutnet import DropoutNet
from medley.models.dualgnn import DualGNN
from medley.models.duif import DUIF
from medley.models.ease import EASE
from medley.models.egogcn import EgoGCN
from medley.models.freedom import FREEDOM
from medley.models.gat import GAT
from medley.models.graphsage import GraphSAGE
from medley.models.grcn import GRCN
from medley.models.gru4rec import GRU4Rec
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
from medley.models.mosaic import Mosaic
from medley.models.ngcf import NGCF
from medley.models.popularity import Popularity
from medley.models.sasrec import SASRec
from medley.models.stargcn import STARGCN
from medley.models.vbpr import VBPR

MODELS: dict[str, type[Recommender]] = {
    "mosaic": Mosaic,
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
    "dropoutnet": DropoutNet,
    "clcrec": CLCRec,
    "sasrec": SASRec,
    "gru4rec": GRU4Rec,
}

ENTRY_POINTS = "medley.models"  # the group under which another package lists its models


def names() -> list[str]:
    """Returns the names of all models: ours, then those of installed packages."""
    return plugins.with_installed(MODELS, ENTRY_POINTS)


def find(model: str | type[Recommender]) -> type[Recommender]:
    """Finds the class of a model.

    Args:
        model: a name out of `names()`, an import path such as `mypkg.mymodel:Mine`, or the class itself.

    Raises:
        InputError: no such model, or its module cannot be imported.
    """
    if isinstance(model, str):
        found = _by_name(model)
    else:
        found = model
    if not (inspect.isclass(found) and issubclass(found, Recommender)):
        raise InputError(f"model {model!r}", expected="a subclass of medley.models.Recommender", got=repr(found))
    return found


def learns(model: str | type[Recommender]) -> bool:
    """Returns whether a model has a loss; a model without one draws nothing at random, and no setting changes it.

    Args:
        model: as in `find`.

    Raises:
        InputError: no such model, or its module cannot be imported.
    """
    return find(model).loss is not Recommender.loss


def name_of(model: str | type[Recommender]) -> str:
    """Returns the name under which `find` finds a model: its name in the list, else its import path."""
    if isinstance(model, str):
        return model
    if not inspect.isclass(model):
        raise InputError("model", expected="a name, an import path or a class", got=repr(model))
    listed = next((name for name, known in MODELS.items() if known is model), None)
    return listed or f"{model.__module__}:{model.__qualname__}"


def _by_name(name: str) -> Any:
    if name in MODELS:
        return MODELS[name]
    entry = plugins.installed(ENTRY_POINTS).get(name) or plugins.at_path(name, ENTRY_POINTS)
    if entry is not None:
        return plugins.load(
            "model", name, entry, remedy="is the package installed, and is the path module:Class right?"
        )
    expected = f"{' or '.join(names())}, or an import path such as mypkg.mymodel:Mine"
    raise InputError("unknown model", expected=expected, got=repr(name))
