"""Scales features of items. Models, extraction and serving share this code, so one item gets the vector of the batch.

    none               raw values
    l2                 rows of length one
    standard           columns of mean 0 and variance 1
    pca-whitening      uncorrelated columns of mean 0 and variance 1, by descending variance before whitening:
                       (x - mean) V diag(lambda)^(-1/2), covariance = V diag(lambda) V^T
    pca-whitening-D    the first D of these columns

Statistics are those of the items of train that have the modality. Features may take gigabytes: scaling goes in parts.

Shapes: I items, n rows, d_m raw dimension of modality m, d' dimension of the result.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from medley.errors import InputError
from medley.types import Features

PART_BYTES = 2**27  # about the size of the parts
LEAST_LENGTH, LEAST_DEVIATION = 1e-12, 1e-6  # that rows and columns are divided by
LEAST_VARIANCE = 1e-6  # share of the largest variance: float32 features hold nothing but rounding below
HOW = "none, l2, standard, pca-whitening or pca-whitening-D"
_WHITENING = re.compile(r"pca-whitening(?:-([1-9]\d{0,5}))?")


def _known(how: str) -> str:
    if how not in ("none", "l2", "standard") and not _WHITENING.fullmatch(how):
        raise ValueError(f"{HOW}, with D a number of dimensions")
    return how


FeatureScale = Annotated[str, AfterValidator(_known), Field(description=HOW)]


class Scale:
    """A fitted scale.

    Attributes:
        how: as in `FeatureScale`.
        arrays: all that was fitted, by name; float32 `mean` and `deviation` (d_m,) of `standard`; float64 `mean` (d_m,)
            and `matrix` (d_m, d') of whitening; empty otherwise.
    """

    def __init__(self, how: str, arrays: Mapping[str, np.ndarray]):
        """Takes arrays as they are; `fit` and `restore` make scales."""
        self.how, self.arrays = how, dict(arrays)

    @property
    def dim(self) -> int | None:
        """d'; None where every dimension is accepted and kept (none, l2)."""
        last = next(reversed(self.arrays.values()), None)
        return None if last is None else last.shape[-1]

    @classmethod
    def fit(cls, how: str, values: np.ndarray, rows: np.ndarray) -> "Scale":
        """Fits a scale.

        Args:
            how: as in `FeatureScale`.
            values: (n, d_m) features.
            rows: the rows to learn from, items of train that have the modality: bool (n,), or row numbers.

        Raises:
            InputError: an unknown scale; no rows to learn from; more dimensions than d_m or than rows.
        """
        _check_how(how)
        if how in ("none", "l2"):
            return cls(how, {})
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if not len(rows):
            raise InputError(
                f"items to fit the scale {how!r} to",
                expected="at least one item of train that has the modality",
                got="none",
                remedy="choose the scale none or l2, which learn nothing, or leave the modality out",
            )
        if how == "standard":
            return cls(how, _standard(values, rows))
        return cls(how, _whitening(how, values, rows))

    @classmethod
    def restore(cls, how: str, arrays: Mapping[str, np.ndarray]) -> "Scale":
        """Makes a fitted scale from its stored `how` and `arrays`.

        Raises:
            InputError: an unknown scale, or arrays that do not belong to it.
        """
        _check_how(how)
        second = "deviation" if how == "standard" else "matrix"
        expected = [] if how in ("none", "l2") else ["mean", second]
        fits = sorted(arrays) == expected or sorted(arrays) == expected[::-1]
        if fits and expected:
            mean, last = arrays["mean"], arrays[second]
            fits = mean.ndim == 1 and last.ndim == (1 if how == "standard" else 2) and len(last) == len(mean)
        if not fits:
            got = ", ".join(f"{name} {values.shape}" for name, values in arrays.items()) or "none"
            wanted = f"{' and '.join(expected) or 'none'}, of one dimension"
            raise InputError(f"arrays of the scale {how!r}", expected=wanted, got=got, remedy="fit the scale again")
        return cls(how, {name: arrays[name] for name in expected})

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scales features.

        Args:
            values: (n, d_m) numbers.

        Returns:
            (n, d') float32, a new array.

        Raises:
            InputError: `values` have another dimension than those that the scale was fitted to.
        """
        if values.ndim != 2 or (self.arrays and values.shape[1] != len(self.arrays["mean"])):
            width = len(self.arrays["mean"]) if self.arrays else "d"
            remedy = "use the encoder that made the features"
            raise InputError("features to scale", expected=f"shape (n, {width})", got=values.shape, remedy=remedy)
        if "matrix" in self.arrays:
            return self._whiten(values)
        return self._scale_in_place(np.array(values, dtype=np.float32))

    def _scale_in_place(self, values: np.ndarray) -> np.ndarray:
        """Overwrites float32 values; returns them."""
        if self.how == "l2":
            for rows in _parts(values, axis=0):
                rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), LEAST_LENGTH)
        elif self.how == "standard":
            for rows in _parts(values, axis=0):
                rows -= self.arrays["mean"]
                rows /= self.arrays["deviation"]
        return values

    def _whiten(self, values: np.ndarray) -> np.ndarray:
        mean, matrix = self.arrays["mean"], self.arrays["matrix"]
        scaled = np.empty((len(values), matrix.shape[1]), dtype=np.float32)
        for source, target in zip(_parts(values, axis=0), _parts(values, axis=0, of=scaled), strict=True):
            target[:] = (source.astype(np.float64) - mean) @ matrix
        return scaled


def scale(features: Features, how: str, *, train: np.ndarray) -> Features:
    """Scales the features of all items; rows of items that lack the modality become zero and are not learned from.

    Args:
        features: values (I, d_m) and presence (I,).
        how: as in `FeatureScale`.
        train: the items of train: bool (I,), or item rows.

    Returns:
        Features with values (I, d') float32, a new array.

    Raises:
        InputError: as in `Scale.fit`.
    """
    in_train = np.zeros(len(features.present), dtype=bool)
    in_train[train] = True
    known = features.present & in_train
    if _WHITENING.fullmatch(how):
        values = Scale.fit(how, features.values, known).apply(features.values)
    else:
        values = np.array(features.values, dtype=np.float32)  # the only copy
        Scale.fit(how, values, known)._scale_in_place(values)
    values[~features.present] = 0
    return Features(values, features.present)


def _check_how(how: str) -> None:
    try:
        _known(how)
    except ValueError as error:
        raise InputError("scale of features", expected=error, got=repr(how)) from None


def _standard(values: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    mean, deviation = [], []
    for columns in _parts(values, axis=1):
        known = columns[rows].astype(np.float32, copy=False)
        mean.append(known.mean(axis=0))
        deviation.append(np.maximum(known.std(axis=0), LEAST_DEVIATION))
    return {"mean": np.concatenate(mean), "deviation": np.concatenate(deviation)}


def _whitening(how: str, values: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `mean` (d_m,) and `matrix` (d_m, d'). The covariance is summed up in parts, in double precision."""
    found = _WHITENING.fullmatch(how)
    most = min(values.shape[1], len(rows))
    dim = int(found[1]) if found and found[1] else most
    if dim > most:
        raise InputError(
            f"dimensions of the scale {how!r}",
            expected=f"at most {most:,}: features have {values.shape[1]:,} dimensions, {len(rows):,} items of train "
            "have the modality",
            got=f"{dim:,}",
            remedy=f"choose pca-whitening-{most} or fewer dimensions",
        )
    total = np.zeros(values.shape[1])
    for part in _doubles(values, rows):
        total += part.sum(axis=0)
    mean = total / len(rows)
    covariance = np.zeros((values.shape[1],) * 2)
    for part in _doubles(values, rows):
        part -= mean
        covariance += part.T @ part
    variance, vectors = np.linalg.eigh(covariance / len(rows))  # ascending
    variance, vectors = variance[::-1][:dim], vectors[:, ::-1][:, :dim]
    largest = np.abs(vectors).argmax(axis=0)  # its sign is made positive: eigenvectors come with any sign
    vectors = vectors * np.where(vectors[largest, np.arange(dim)] < 0, -1.0, 1.0)
    least = max(LEAST_VARIANCE * variance[0], LEAST_DEVIATION**2)
    return {"mean": mean, "matrix": np.ascontiguousarray(vectors / np.sqrt(np.maximum(variance, least)))}


def _doubles(values: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows in float64, in parts."""
    for some in np.array_split(rows, 1 + len(rows) * values.shape[1] * 8 // PART_BYTES):
        yield values[some].astype(np.float64)


def _parts(values: np.ndarray, axis: int, *, of: np.ndarray | None = None) -> list[np.ndarray]:
    """Splits `of`, by default the values, into as many views as the values have times PART_BYTES in float32."""
    return np.array_split(values if of is None else of, 1 + values.size * 4 // PART_BYTES, axis=axis)
