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
from medley.models.duif import DUIF
from medley.models.vbpr import VBPR
from medley.nn.modalities import ItemFeatures
from medley.nn.scale import Scale
from medley.serving import new_items
from medley.serving.new_items import ContentPath, Scaling
from medley.serving.scores import Vectors

NUM_COMPARED = 64  # items
TOLERANCE = 1e-3  # of a number of an item vector, as a share of the largest

Raw = Mapping[str, new_items.ItemFeatures]


def content_path(model: Recommender, scores: Vectors, table: Raw, train: sp.csr_array) -> ContentPath | None:
    """Returns the content path of a model, or None if it has none, or if it does not give the model's own vectors.

    Args:
        model: built by `medley.build`.
        scores: the tables of the model.
        table: raw features of its items.
        train: (U, I), what the model was trained on.
    """
    make = PATHS.get(type(model))
    path = make(model, scores, table, train) if make is not None else None
    return path if path is not None and _agrees(path, scores, table) else None


def _mlp(model: DUIF | CB2CF, scores: Vectors, table: Raw, train: sp.csr_array) -> ContentPath | None:
    scaling = _scalings(model, model.W1.f, table, train)
    if scaling is None:
        return None
    arrays = {f"W_{m}": _numpy(W.weight) for m, W in model.W1.W.items()}
    arrays |= {f"absent_{m}": _absent(model, m) for m in model.W1.W}
    arrays |= {"b1": _numpy(model.W1.b), "W2": _numpy(model.W2.weight)}
    arrays["b2"] = np.zeros(len(arrays["W2"]), dtype=np.float32) if model.W2.bias is None else _numpy(model.W2.bias)
    return ContentPath("mlp", scaling, arrays)


def _absent(model: DUIF | CB2CF, modality: str) -> np.ndarray:
    """The learned vector of items that lack a modality; 0 where no item of the model did."""
    known = model.W1.absent
    return _numpy(known[modality])[0] if modality in known else np.zeros(model.W2.in_features, dtype=np.float32)


def _linear(model: VBPR, scores: Vectors, table: Raw, train: sp.csr_array) -> ContentPath | None:
    scaling = _scalings(model, model.f, table, train)
    if scaling is None:
        return None
    arrays = {}
    for m in model.f:
        arrays[f"W_{m}"] = np.concatenate([_numpy(model.E[m].weight), _numpy(model.beta_content[m].weight)])
        arrays[f"columns_{m}"] = np.arange(scores.parts[m].start, scores.parts[m].stop)
    return ContentPath("linear", scaling, arrays)


PATHS: dict[type[Recommender], Callable[..., ContentPath | None]] = {DUIF: _mlp, CB2CF: _mlp, VBPR: _linear}


def _scalings(model: Recommender, scaled: nn.ModuleDict, table: Raw, train: sp.csr_array) -> dict[str, Scaling] | None:
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


def _agrees(path: ContentPath, scores: Vectors, table: Raw) -> bool:
    """Whether the path gives the vectors that the model has for its items."""
    step = max(1, len(scores.item) // NUM_COMPARED)
    for row in range(0, len(scores.item), step):
        features = {m: f.values[row] for m, f in table.items() if f.present[row]}
        vector = np.array(scores.item[row])
        path.write(features, vector)
        if np.abs(vector - scores.item[row]).max() > TOLERANCE * max(1.0, float(np.abs(scores.item[row]).max())):
            return False
    return True


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()
