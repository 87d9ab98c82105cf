"""The paths of models from item features to item vectors, as numpy arrays: for models whose item vectors, or parts of
them, follow from features alone. Items of other models have trained IDs or aggregate users, which a new item lacks.

Each path is compared with the vectors of the model's own items before it is used.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from torch import nn

from medley.models import Recommender
from medley.models.cb2cf import CB2CF
from medley.models.clcrec import CLCRec
from medley.models.dropoutnet import DropoutNet
from medley.models.duif import DUIF
from medley.models.mosaic import Mosaic
from medley.models.vbpr import VBPR
from medley.nn.modalities import ItemFeatures
from medley.nn.scale import Scale
from medley.serving.item_features import Scaling
from medley.serving.item_paths import ContentPath, ItemGraph, LeakyMlp, Linear, Mlp, OwnPath, Table, TanhMlp
from medley.serving.scores import Vectors

NUM_COMPARED = 64  # items
TOLERANCE = 1e-3  # of a number of an item vector, as a share of the largest
AGREEING = 0.9  # share of these items: where several are equally similar, rounding chooses the nearest

OneLayer = DUIF | CB2CF | CLCRec | DropoutNet


def content_path(model: Recommender, scores: Vectors, table: Table, train: sp.csr_array) -> OwnPath | None:
    """Returns the content path of a model, or None if it has none, or if it does not give the model's own vectors.

    Args:
        model: built by `medley.build`.
        scores: the tables of the model.
        table: raw features of its items.
        train: (U, I), what the model was trained on.
    """
    make = PATHS.get(type(model))
    path = make(model, scores, table, train) if make is not None else None
    if path is None:
        return None
    known = np.bincount(train.indices, minlength=len(scores.item)) > 0  # (I,)
    if not _agrees(path, scores, table, np.flatnonzero(~known)):
        return None
    of_all = path.is_whole and bool(known.any()) and _agrees(path, scores, table, np.flatnonzero(known))
    return OwnPath(path, of_all)


def _mlp(model: OneLayer, scores: Vectors, table: Table, train: sp.csr_array) -> ContentPath | None:
    scaling = _scalings(model, model.W1.f, table, train)
    if scaling is None:
        return None
    arrays = {f"W_{m}": _numpy(W.weight) for m, W in model.W1.W.items()}
    arrays |= {f"absent_{m}": _absent(model, m) for m in model.W1.W}
    arrays |= {"b1": _numpy(model.W1.b), "W2": _numpy(model.W2.weight)}
    arrays["b2"] = np.zeros(len(arrays["W2"]), dtype=np.float32) if model.W2.bias is None else _numpy(model.W2.bias)
    return ACTIVATED[type(model)](scaling, arrays)


def _absent(model: OneLayer, modality: str) -> np.ndarray:
    """The learned vector of items that lack a modality; 0 where no item of the model did."""
    known = model.W1.absent
    return _numpy(known[modality])[0] if modality in known else np.zeros(model.W2.in_features, dtype=np.float32)


def _linear(model: VBPR, scores: Vectors, table: Table, train: sp.csr_array) -> ContentPath | None:
    scaling = _scalings(model, model.f, table, train)
    if scaling is None:
        return None
    arrays = {}
    for m in model.f:
        arrays[f"W_{m}"] = np.concatenate([_numpy(model.E[m].weight), _numpy(model.beta_content[m].weight)])
        arrays[f"columns_{m}"] = np.arange(scores.parts[m].start, scores.parts[m].stop)
    return Linear(scaling, arrays)


def _item_graph(model: Mosaic, scores: Vectors, table: Table, train: sp.csr_array) -> ContentPath | None:
    read = {m: view.f for m, view in model.views.items() if view.f is not None}
    scaling, declared = _scalings(model, read, table, train), model.history_sum()
    if not scaling or declared is None:
        return None
    known = np.bincount(train.indices, minlength=model.num_items) > 0  # (I,)
    arrays = {"known": known, "length": _numpy(declared.length)}
    arrays["prior"] = np.array([float(model.cold_offset())], dtype=np.float32)
    arrays["k"] = np.array([model.spec.options["k"]])
    for m, view in model.views.items():
        arrays["g"] = np.array([view.graph_weight], dtype=np.float32)
        if view.W is not None:
            arrays[f"W_{m}"] = _numpy(view.W.weight)
        if view.S is not None:
            arrays[f"norms_{m}"] = scaling[m].norms(table[m].values)
    return ItemGraph(scaling, arrays)


ACTIVATED: Mapping[type[Recommender], type[Mlp]] = {DUIF: Mlp, CB2CF: Mlp, CLCRec: LeakyMlp, DropoutNet: TanhMlp}
PATHS: Mapping[type[Recommender], Callable[..., ContentPath | None]] = {
    **dict.fromkeys(ACTIVATED, _mlp),
    VBPR: _linear,
    Mosaic: _item_graph,
}


def _scalings(
    model: Recommender, scaled: Mapping[str, ItemFeatures] | nn.ModuleDict, table: Table, train: sp.csr_array
) -> dict[str, Scaling] | None:
    """Finds what scales raw features for the model; None for features of another dimension."""
    how, found = model.spec.options.get("feature_scale"), {}
    in_train = np.bincount(train.indices, minlength=model.num_items) > 0  # (I,)
    for m, features in scaled.items():
        assert isinstance(features, ItemFeatures)
        raw, shape = table[m].values, table[m].values.shape[1]
        if str(how).startswith("pca-whitening"):
            fitted = Scale.fit(str(how), raw, table[m].present & in_train).arrays  # as the model has fitted it
            if features.dim != fitted["matrix"].shape[1]:
                return None
            found[m] = Scaling(False, fitted["mean"], fitted["matrix"])
            continue
        if features.dim != shape or how not in ("none", "l2", "standard"):
            return None
        if how == "standard":
            found[m] = _by_column(raw, _numpy(features.values), _numpy(features.present)[:, 0])
        else:
            found[m] = Scaling(how == "l2", np.zeros(shape, np.float32), np.ones(shape, np.float32))
    return found


def _by_column(raw: np.ndarray, scaled: np.ndarray, present: np.ndarray) -> Scaling:
    """Reads shift and factor of every column from two of its values; a constant column is left out."""
    rows = np.flatnonzero(present)
    x, y = np.asarray(raw[rows], dtype=np.float64), scaled[rows].astype(np.float64)
    column = np.arange(x.shape[1])
    low, high = x.argmin(axis=0), x.argmax(axis=0)
    width = x[high, column] - x[low, column]
    varies = width > 0
    factor = np.divide(y[high, column] - y[low, column], width, out=np.zeros(len(column)), where=varies)
    shift = np.divide(-y[low, column], factor, out=np.zeros(len(column)), where=factor != 0) + x[low, column]
    return Scaling(False, shift.astype(np.float32), factor.astype(np.float32))


def _agrees(path: ContentPath, scores: Vectors, table: Table, rows: np.ndarray) -> bool:
    """Whether the path gives the vectors that the model has for most of some of these items (n,)."""
    right, compared = 0, 0
    for row in rows[:: max(1, len(rows) // NUM_COMPARED)]:
        features = {m: f.values[row] for m, f in table.items() if f.present[row]}
        if path.reads(features):
            exact = scores.item[row]
            vector = np.array(exact)
            path.write(features, vector, scores, table)
            right += int(np.abs(vector - exact).max() <= TOLERANCE * max(1.0, float(np.abs(exact).max())))
            compared += 1
    return right >= AGREEING * compared


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()
