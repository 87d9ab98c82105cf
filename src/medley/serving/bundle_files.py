"""Writes and reads the files of a bundle: `medley.serving.bundle` lists them. Imports no torch."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import scipy.sparse as sp
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from medley.data.manifest import FileRecord
from medley.errors import InputError, invalid
from medley.serving import archive
from medley.serving.ages import weighted
from medley.serving.archive import REMEDY, Archive, Buffers
from medley.serving.bundle_manifest import FORMAT_VERSION, BundleManifest
from medley.serving.fold_in import FoldIn
from medley.serving.item_features import ItemFeatures, Scaling
from medley.serving.item_paths import KINDS
from medley.serving.new_items import NewItems
from medley.serving.scores import Concepts, ItemToItem, Scores, Vectors
from medley.serving.seen import TRAIN, pairs_of

if TYPE_CHECKING:
    from medley.serving.bundle import Bundle

MANIFEST, THUMBNAILS = "manifest.json", "thumbnails.parquet"
PLAIN = ("known", "centre", "offset")  # arrays of new_items.safetensors under the names of their fields


def write(bundle: "Bundle", path: Path, *, overwrite: bool) -> None:
    """Writes a bundle in one step.

    Raises:
        InputError: the path exists, and `overwrite` is false.
    """
    document = json.dumps(bundle.manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    archive.write(path, {**contents(bundle), MANIFEST: [document.encode()]}, overwrite=overwrite)


def records(bundle: "Bundle") -> dict[str, FileRecord]:
    """Returns name -> size and hash of all files of a bundle but the manifest."""
    sizes = {name: archive.size_and_hash(content) for name, content in contents(bundle).items()}
    return {name: FileRecord(bytes=size, sha256=digest) for name, (size, digest) in sizes.items()}


def read(path: Path, *, verify: bool) -> tuple[BundleManifest, dict[str, Any]]:
    """Reads the manifest and all other fields of a bundle.

    Args:
        path: the folder or file.
        verify: compare the hash of every file with the manifest.

    Raises:
        InputError: not a bundle, of a newer version, damaged or changed.
    """
    files = Archive(path)
    manifest = _manifest(files)
    for name, record in manifest.files.items():
        if name not in files:
            raise InputError(f"{name} of the bundle", file=path, got="no such file", remedy=REMEDY)
        if files.size(name) != record.bytes:
            expected, got = f"{record.bytes:,} bytes", f"{files.size(name):,}"
            raise InputError(f"{name} of the bundle", file=path, expected=expected, got=got, remedy=REMEDY)
        if verify and files.sha256(name) != record.sha256:
            expected = f"sha256 {record.sha256[:12]}..."
            raise InputError(f"{name} of the bundle was changed", file=path, expected=expected, remedy=REMEDY)
    try:
        fields = _fields(files, manifest)
    except (KeyError, TypeError, ValueError, SafetensorError, pl.exceptions.PolarsError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("a damaged bundle", file=path, got=f"{error!r:.200}", remedy=REMEDY) from None
    _check_shapes(manifest, fields, path)
    return manifest, fields


def contents(bundle: "Bundle") -> dict[str, Buffers]:
    """Returns name -> content of all files of a bundle but the manifest."""
    seen = {"indptr": bundle.seen.indptr, "indices": bundle.seen.indices, "code": bundle.seen.data}
    seen |= {} if bundle.age is None else {"age": bundle.age}
    files: dict[str, Buffers] = {
        "users.parquet": [_parquet(bundle.users)],
        "items.parquet": [_parquet(bundle.items)],
        "seen.safetensors": [save(_contiguous(seen))],
    }
    scores = bundle.scores
    if isinstance(scores, Vectors):
        files |= {"scores/user.npy": archive.npy(scores.user), "scores/item.npy": archive.npy(scores.item)}
    elif isinstance(scores, Concepts):
        files |= {"scores/item.npy": archive.npy(scores.item), "scores/concept.npy": archive.npy(scores.concept)}
        files["scores/encoder.safetensors"] = [save(_contiguous(scores.encoder))]
    else:
        for at, matrix in enumerate(scores.weights.values()):
            if isinstance(matrix, np.ndarray):
                files[f"scores/weights_{at}.npy"] = archive.npy(matrix)
            else:
                arrays = {"indptr": matrix.indptr, "indices": matrix.indices, "value": matrix.data}
                files[f"scores/weights_{at}.safetensors"] = [save(_contiguous(arrays))]
    for m, feature in bundle.features.items():
        files[f"features/{m}.npy"] = archive.npy(feature.values)
        files[f"features/{m}.present.npy"] = archive.npy(feature.present)
    for m, arrays in bundle.fitted.items():
        files[f"fitted/{m}.safetensors"] = [save(_contiguous(arrays))]
    if bundle.thumbnails:
        pictures = {"item": list(bundle.thumbnails), "jpeg": list(bundle.thumbnails.values())}
        files[THUMBNAILS] = [_parquet(pl.DataFrame(pictures, schema={"item": pl.Int64, "jpeg": pl.Binary}))]
    files["fold_in.safetensors"] = [save(_contiguous(bundle.fold_in_rule.arrays))]
    files["new_items.safetensors"] = [save(_contiguous(_arrays_of(bundle.new_item_rule)))]
    return files


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _parquet(table: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def _arrays_of(rule: NewItems) -> dict[str, np.ndarray]:
    arrays = {name: getattr(rule, name) for name in PLAIN}
    arrays |= {f"norms.{m}": norms for m, norms in rule.norms.items()}
    arrays |= {f"means.{m}": means for m, means in rule.means.items()}
    if rule.content is not None:
        arrays |= {f"content.{name}": array for name, array in rule.content.arrays.items()}
        for m, scaling in rule.content.scaling.items():
            arrays |= {f"to_unit.{m}": np.array([scaling.to_unit]), f"shift.{m}": scaling.shift}
            arrays[f"{'matrix' if scaling.factor.ndim == 2 else 'factor'}.{m}"] = scaling.factor
    return arrays


def _manifest(files: Archive) -> BundleManifest:
    path = files.path
    if MANIFEST not in files:
        remedy = "give a bundle that medley.export (medley export) wrote"
        raise InputError("not a bundle", file=path, got=f"no {MANIFEST}", remedy=remedy)
    try:
        document = json.loads(files.read(MANIFEST))
        version = document["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{MANIFEST} of the bundle", file=path, got=f"{error!r:.200}", remedy=REMEDY) from None
    if version != FORMAT_VERSION:
        remedy = "install a newer Medley, or export the bundle again with this one"
        raise InputError("format_version of the bundle", file=path, expected=FORMAT_VERSION, got=version, remedy=remedy)
    try:
        manifest = BundleManifest.model_validate(document)
    except ValidationError as error:
        raise invalid(error, "field", of="the bundle", file=path, remedy=REMEDY) from None
    if manifest.version() != manifest.model_version:
        expected = f"a manifest of version {manifest.model_version[:12]}..."
        raise InputError(f"{MANIFEST} of the bundle was changed", file=path, expected=expected, remedy=REMEDY)
    return manifest


def _fields(files: Archive, manifest: BundleManifest) -> dict[str, Any]:
    """Reads all fields of a bundle but the manifest."""

    def tensors(name: str) -> dict[str, np.ndarray]:
        return load(files.read(name))

    size = (manifest.num_users, manifest.num_items)
    arrays = tensors("seen.safetensors")
    seen = sp.csr_array((arrays["code"], arrays["indices"], arrays["indptr"]), shape=size)
    features = {
        m: ItemFeatures(files.array(f"features/{m}.npy"), np.array(files.array(f"features/{m}.present.npy")))
        for m in manifest.modalities
    }
    fitted = [m for m in manifest.modalities if f"fitted/{m}.safetensors" in manifest.files]
    fold = manifest.fold_in
    fold_in_rule = FoldIn(fold["rule"], tensors("fold_in.safetensors"), fold["settings"], fold["measured"])
    return {
        "users": pl.read_parquet(io.BytesIO(files.read("users.parquet"))),
        "items": pl.read_parquet(io.BytesIO(files.read("items.parquet"))),
        "scores": _scores(files, manifest, _learned(seen, arrays.get("age"), fold_in_rule)),
        "seen": seen,
        "age": arrays.get("age"),
        "features": features,
        "fold_in_rule": fold_in_rule,
        "new_item_rule": _new_items(tensors("new_items.safetensors"), manifest, files.path),
        "fitted": {m: tensors(f"fitted/{m}.safetensors") for m in fitted},
        "thumbnails": _thumbnails(files, manifest),
    }


def _learned(seen: sp.csr_array, age: np.ndarray | None, rule: FoldIn) -> sp.csr_array:
    """Returns (U, I), the weights of the items that users are made of."""
    return weighted(pairs_of(seen, TRAIN), None if age is None else age[seen.data == TRAIN], rule.recency)


def _scores(files: Archive, manifest: BundleManifest, history: sp.csr_array) -> Scores:
    parts = {name: slice(*columns) for name, columns in manifest.parts.items()}
    if manifest.kind == "vectors":
        return Vectors(files.array("scores/user.npy"), files.array("scores/item.npy"), parts)
    if manifest.kind == "concepts":
        item, concept = files.array("scores/item.npy"), files.array("scores/concept.npy")
        encoder = load(files.read("scores/encoder.safetensors"))
        return Concepts(item, concept, encoder, float(manifest.scores["tau"]), history)
    weights: dict[str, np.ndarray | sp.csr_array] = {}
    for at, name in enumerate(manifest.scores["weights"]):
        if f"scores/weights_{at}.npy" in manifest.files:
            weights[name] = files.array(f"scores/weights_{at}.npy")
        else:
            arrays = load(files.read(f"scores/weights_{at}.safetensors"))
            shape = (manifest.num_items, manifest.num_items)
            weights[name] = sp.csr_array((arrays["value"], arrays["indices"], arrays["indptr"]), shape=shape)
    return ItemToItem(weights, history, parts)


def _thumbnails(files: Archive, manifest: BundleManifest) -> dict[int, bytes]:
    if THUMBNAILS not in manifest.files:
        return {}
    table = pl.read_parquet(io.BytesIO(files.read(THUMBNAILS)))
    return dict(zip(table["item"], table["jpeg"], strict=True))


def _new_items(arrays: dict[str, np.ndarray], manifest: BundleManifest, path: Path) -> NewItems:
    lacking = [name for name in PLAIN if name not in arrays]
    if lacking:
        raise InputError(
            "new_items.safetensors of the bundle",
            file=path,
            expected=f"the arrays {', '.join(PLAIN)}",
            got=f"no {' and no '.join(lacking)}, as in bundles of an earlier version",
            remedy="export the bundle again with this version",
        )
    fields, content = dict(manifest.new_items), None
    kind = fields.pop("content")
    if kind is not None:
        own = {name.removeprefix("content."): a for name, a in arrays.items() if name.startswith("content.")}
        read = [name.removeprefix("shift.") for name in arrays if name.startswith("shift.")]
        scaling = {
            m: Scaling(bool(arrays[f"to_unit.{m}"][0]), arrays[f"shift.{m}"], _factor(arrays, m))
            for m in manifest.modalities
            if m in read
        }
        content = KINDS[kind](scaling, own)
    norms, means = (
        {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        for prefix in ("norms.", "means.")
    )
    plain: dict[str, Any] = {name: arrays[name] for name in PLAIN}
    return NewItems(**fields, **plain, content=content, means=means, norms=norms)


def _factor(arrays: Mapping[str, np.ndarray], modality: str) -> np.ndarray:
    return arrays[f"factor.{modality}"] if f"factor.{modality}" in arrays else arrays[f"matrix.{modality}"]


def _check_shapes(manifest: BundleManifest, fields: Mapping[str, Any], path: Path) -> None:
    scores, num_users, num_items = fields["scores"], manifest.num_users, manifest.num_items
    found = {"users": (len(fields["users"]), num_users), "items": (len(fields["items"]), num_items)}
    if isinstance(scores, Vectors):
        found |= {"rows of scores/user.npy": (len(scores.user), num_users)}
        found |= {"columns of scores/user.npy": (scores.user.shape[1], scores.item.shape[1])}
    if isinstance(scores, ItemToItem):
        for name, matrix in scores.weights.items():
            found |= {f"size of the weights {name}": (matrix.shape, (num_items, num_items))}
    else:
        found |= {"rows of scores/item.npy": (len(scores.item), num_items)}
    for name, feature in fields["features"].items():
        expected = (num_items, manifest.modalities[name].dim)
        found |= {f"shape of the features {name}": (feature.values.shape, expected)}
    for what, (got, expected) in found.items():
        if got != expected:
            raise InputError(f"{what} of the bundle", file=path, expected=expected, got=got, remedy=REMEDY)
