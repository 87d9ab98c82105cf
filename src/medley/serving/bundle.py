"""The bundle: all that serving needs of a trained model, in one folder or one file. Reading it needs neither torch nor
the data set.

manifest.json              what the bundle is, measured quality, and the hash of every file
users.parquet              user_id (text), any metadata            row = user row
items.parquet              item_id (text), title, any metadata     row = item row
scores/*.npy, *.safetensors  what scores are computed from: `medley.serving.scores`
seen.safetensors           (U, I): 1 seen in train, 2 in validation, 3 in test, 4 disliked
features/<m>.npy, <m>.present.npy   raw features, as the encoders give them
fold_in.safetensors        what folds in a new user: `medley.serving.fold_in`
new_items.safetensors      what embeds a new item: `medley.serving.new_items`
fitted/<m>.safetensors     what encodes the media of a new item, besides the encoder; only of extracted modalities
thumbnails.parquet         item (row), jpeg; only if the export was given media

`model_version` is the sha256 of the manifest, which holds the hashes of all other files: two bundles of one version
score alike. It detects damage and careless changes; it is not a signature.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.numpy import load, save

from medley.data.ids import IdMap
from medley.data.manifest import FileRecord
from medley.errors import InputError, invalid
from medley.files import sha256_of_json
from medley.serving import archive, fold_in, new_items
from medley.serving.ages import weighted
from medley.serving.archive import REMEDY, Archive, Buffers
from medley.serving.fold_in import FoldIn
from medley.serving.new_items import ContentPath, Embedded, ItemFeatures, NewItems, Scaling
from medley.serving.scores import Concepts, ItemToItem, Kind, Scores, Vectors

FORMAT_VERSION = 1
TRAIN, VALID, TEST, DISLIKED = 1, 2, 3, 4  # codes in `seen`
MANIFEST, THUMBNAILS = "manifest.json", "thumbnails.parquet"
PLAIN = ("known", "centre", "judges", "least")  # arrays of new_items.safetensors under the names of their fields
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"


class Modality(BaseModel):
    """One modality of a bundle."""

    dim: int
    num_present: int
    made_by: dict[str, Any] | None = None  # encoder and revision, as in the manifest of the data set


class Data(BaseModel):
    """The data set of the model."""

    name: str
    parts: dict[str, str]  # part -> hash: `log`, `users`, `items`, `features/<modality>`
    split_hash: str


class BundleManifest(BaseModel):
    """The document manifest.json."""

    model_config = ConfigDict(extra="forbid")

    format_version: int = FORMAT_VERSION
    model_version: str = ""  # sha256 of all other fields
    model: str  # a name of the registry, or an import path
    recipe: dict[str, Any]
    trained_at: str | None = None  # ISO 8601; None: the model came from memory
    data: Data
    metrics: dict[str, dict[str, float]] = {}  # split -> metric -> mean
    fingerprints: dict[str, str] = {}  # split -> hash of the protocol of these metrics
    num_users: int = Field(ge=0)
    num_items: int = Field(ge=0)
    kind: Kind
    parts: dict[str, tuple[int, int]]  # part of the score -> first column, last column + 1
    modalities: dict[str, Modality]
    scores: dict[str, Any]  # what `scores/` holds: names of the weights, tau
    fold_in: dict[str, Any]
    new_items: dict[str, Any]
    cold: Literal["model", "features"] = "model"  # vectors of items without train interactions
    files: dict[str, FileRecord] = {}
    versions: dict[str, str]

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        import re

        for name in files:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"a plain file name instead of {name!r}")
        return files

    def version(self) -> str:
        """Computes `model_version`."""
        return sha256_of_json(self.model_dump(mode="json", exclude={"model_version"}))


@dataclass(frozen=True)
class Bundle:
    """A model ready to serve, in memory or memory-mapped."""

    manifest: BundleManifest
    users: pl.DataFrame  # user_id and metadata
    items: pl.DataFrame  # item_id, title and metadata
    scores: Scores
    seen: sp.csr_array  # (U, I) int8, codes TRAIN to DISLIKED
    features: Mapping[str, ItemFeatures]
    fold_in_rule: FoldIn
    new_item_rule: NewItems
    age: np.ndarray | None = None  # (n,) int32, of the pairs of `seen`: `medley.serving.ages`; None: no rule reads it
    fitted: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)  # modality -> arrays of its encoder
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)  # item row -> a small JPEG

    @cached_property
    def user_ids(self) -> IdMap:
        """Raw ids of the users, in row order."""
        return IdMap(self.users["user_id"], kind="user")

    @cached_property
    def item_ids(self) -> IdMap:
        """Raw ids of the items, in row order."""
        return IdMap(self.items["item_id"], kind="item")

    @cached_property
    def popularity(self) -> np.ndarray:
        """(I,) int64, the number of train interactions of each item."""
        return np.bincount(self.seen.indices[self.seen.data == TRAIN], minlength=self.manifest.num_items)

    @property
    def kind(self) -> Kind:
        """How scores are computed: `medley.serving.scores`."""
        return self.scores.kind

    @property
    def parts(self) -> Mapping[str, slice]:
        """Part of the score -> its columns in queries and item vectors; empty if the score has no parts."""
        return self.scores.parts

    @property
    def user(self) -> np.ndarray | None:
        """The table of users (U, D + 1) of kind `vectors`; None for the other kinds, whose users are histories."""
        return self.scores.user if isinstance(self.scores, Vectors) else None

    @property
    def item(self) -> np.ndarray | None:
        """The table of items: (I, D + 1) of kind `vectors`, (I, d) of `concepts`; None for `item-to-item`."""
        return None if isinstance(self.scores, ItemToItem) else self.scores.item

    @property
    def weights(self) -> Mapping[str, np.ndarray | sp.csr_array]:
        """Part -> weights (I, I) of kind `item-to-item`; empty for the other kinds."""
        return self.scores.weights if isinstance(self.scores, ItemToItem) else {}

    def history(self, user: int, codes: Sequence[int] = (TRAIN,)) -> np.ndarray:
        """Returns the item rows (n,) of a user with these codes in `seen`, ascending."""
        row = slice(self.seen.indptr[user], self.seen.indptr[user + 1])
        return self.seen.indices[row][np.isin(self.seen.data[row], codes)]

    def ages(self, user: int) -> np.ndarray:
        """Returns the ages (n,) of what the model has learned from, in the order of `history`."""
        row = slice(self.seen.indptr[user], self.seen.indptr[user + 1])
        learned = self.seen.data[row] == TRAIN
        return np.zeros(learned.sum(), dtype=np.int32) if self.age is None else self.age[row][learned]

    def fold_in(self, history: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Returns the query (Q,) of a user with this history of item rows (n,), the latest last.

        How it is made: `medley.serving.fold_in.FoldIn`.

        Raises:
            InputError: rows out of range or twice, or wrong weights.
        """
        return self.fold_in_rule(self.scores, history, weights)

    def embed(self, features: Mapping[str, np.ndarray]) -> Embedded:
        """Returns the vector (V,) of a new item from raw features, or the reason why there is none.

        Raises:
            InputError: an unknown modality, or a vector of another length or not finite.
        """
        return self.new_item_rule(self.scores, self.features, features)

    def weighted(self, queries: np.ndarray, weights: Mapping[str, float]) -> np.ndarray:
        """Returns queries (B, Q) whose parts weigh as given; 1 for parts that are not named.

        Raises:
            InputError: a part that the score does not have.
        """
        queries = np.array(queries)
        for name, weight in weights.items():
            if name not in self.parts:
                expected = " or ".join(self.parts) or "none: the score of this model has no parts"
                raise InputError("part of the score", expected=expected, got=repr(name))
            queries[..., self.parts[name]] *= weight
        return queries

    def because(
        self, query: np.ndarray, history: np.ndarray, vector: np.ndarray, k: int = 3
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the items of a history that speak most for an item, and how much.

        For weights between items this is what each adds to the score; else the cosine of the vectors of both items,
        each column weighted as the user weighs it on average over the history.

        Args:
            query: (Q,), of the user; only `item-to-item` reads it.
            history: (n,) item rows.
            vector: (V,), of the recommended item.
            k: the most items to return.

        Returns:
            Item rows (k,) and their weights (k,), largest first; only positive weights.
        """
        history = np.asarray(history, dtype=np.int64)
        if isinstance(self.scores, ItemToItem):
            size = self.manifest.num_items
            added = (query * vector)[: size * len(self.weights)].reshape(-1, size).sum(axis=0)
            weight = added[history]
        else:
            width = self.scores.item.shape[1] if isinstance(self.scores, Concepts) else -1
            own, other = self.scores.item_vectors(history)[:, :width], vector[:width]
            length = np.linalg.norm(own, axis=1) * np.linalg.norm(other)
            weight = own @ other / np.maximum(length, 1e-12)
        best = np.argsort(-weight, kind="stable")[:k]
        best = best[weight[best] > 0]
        return history[best], weight[best]

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the bundle in one step: one file if the name ends in .medley or .zip, else a folder.

        Raises:
            InputError: the path exists, and `overwrite` is false.
        """
        document = json.dumps(self.manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        archive.write(Path(path), {**_files(self), MANIFEST: [document.encode()]}, overwrite=overwrite)

    @classmethod
    def read(cls, path: str | Path, *, verify: bool = True) -> "Bundle":
        """Opens a bundle; arrays are memory-mapped.

        Args:
            path: the folder or file.
            verify: compare the hash of every file with the manifest (reads everything once).

        Raises:
            InputError: not a bundle, of a newer version, damaged or changed.
        """
        path = Path(path)
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
            bundle = _read(files, manifest)
        except (KeyError, TypeError, ValueError, SafetensorError, pl.exceptions.PolarsError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("a damaged bundle", file=path, got=f"{error!r:.200}", remedy=REMEDY) from None
        _check_shapes(bundle, path)
        return bundle


def of(manifest: BundleManifest, **fields: Any) -> Bundle:
    """Returns a bundle whose manifest lists its files and has its version."""
    draft = Bundle(manifest, **fields)
    records = {}
    for name, content in _files(draft).items():
        size, digest = archive.size_and_hash(content)
        records[name] = FileRecord(bytes=size, sha256=digest)
    listed = manifest.model_copy(update={"files": records})
    return Bundle(listed.model_copy(update={"model_version": listed.version()}), **fields)


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


def _files(bundle: Bundle) -> dict[str, Buffers]:
    """Name -> content of all files but the manifest."""
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
            arrays[f"factor.{m}"] = scaling.factor
    return arrays


def _read(files: Archive, manifest: BundleManifest) -> Bundle:
    def tensors(name: str) -> dict[str, np.ndarray]:
        return load(files.read(name))

    size = (manifest.num_users, manifest.num_items)
    arrays = tensors("seen.safetensors")
    seen = sp.csr_array((arrays["code"], arrays["indices"], arrays["indptr"]), shape=size)
    features = {
        m: ItemFeatures(files.array(f"features/{m}.npy"), np.array(files.array(f"features/{m}.present.npy")))
        for m in manifest.modalities
    }
    fold = manifest.fold_in
    fold_in_rule = FoldIn(fold["rule"], tensors("fold_in.safetensors"), fold["settings"], fold["measured"])
    return Bundle(
        manifest,
        users=pl.read_parquet(io.BytesIO(files.read("users.parquet"))),
        items=pl.read_parquet(io.BytesIO(files.read("items.parquet"))),
        scores=_scores(files, manifest, _learned(seen, arrays.get("age"), fold_in_rule)),
        seen=seen,
        age=arrays.get("age"),
        features=features,
        fold_in_rule=fold_in_rule,
        new_item_rule=_new_items(tensors("new_items.safetensors"), manifest),
        fitted={m: tensors(name) for m in manifest.modalities if (name := f"fitted/{m}.safetensors") in manifest.files},
        thumbnails=_thumbnails(files, manifest),
    )


def pairs_of(seen: sp.csr_array, code: int) -> sp.csr_array:
    """Returns (U, I) float32, 1 at the pairs with this code: TRAIN, VALID, TEST or DISLIKED."""
    found = sp.csr_array((seen.data == code, seen.indices, seen.indptr), shape=seen.shape, dtype=np.float32, copy=True)
    found.eliminate_zeros()
    return found


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


def _new_items(arrays: dict[str, np.ndarray], manifest: BundleManifest) -> NewItems:
    fields, content = dict(manifest.new_items), None
    kind = fields.pop("content")
    if kind is not None:
        own = {name.removeprefix("content."): a for name, a in arrays.items() if name.startswith("content.")}
        read = [name.removeprefix("shift.") for name in arrays if name.startswith("shift.")]
        scaling = {
            m: Scaling(bool(arrays[f"to_unit.{m}"][0]), arrays[f"shift.{m}"], arrays[f"factor.{m}"])
            for m in manifest.modalities
            if m in read
        }
        content = ContentPath(kind, scaling, own)
    norms, means = (
        {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        for prefix in ("norms.", "means.")
    )
    plain: dict[str, Any] = {name: arrays[name] for name in PLAIN}
    return NewItems(**fields, **plain, content=content, means=means, norms=norms)


def _check_shapes(bundle: Bundle, path: Path) -> None:
    m, scores = bundle.manifest, bundle.scores
    found = {"users": (len(bundle.users), m.num_users), "items": (len(bundle.items), m.num_items)}
    if isinstance(scores, Vectors):
        found |= {"rows of scores/user.npy": (len(scores.user), m.num_users)}
        found |= {"columns of scores/user.npy": (scores.user.shape[1], scores.item.shape[1])}
    if not isinstance(scores, ItemToItem):
        found |= {"rows of scores/item.npy": (len(scores.item), m.num_items)}
    for name, matrix in bundle.weights.items():
        found |= {f"size of the weights {name}": (matrix.shape, (m.num_items, m.num_items))}
    for name, feature in bundle.features.items():
        expected = (m.num_items, m.modalities[name].dim)
        found |= {f"shape of the features {name}": (feature.values.shape, expected)}
    for what, (got, expected) in found.items():
        if got != expected:
            raise InputError(f"{what} of the bundle", file=path, expected=expected, got=got, remedy=REMEDY)


def fold_in_document(rule: FoldIn) -> dict[str, Any]:
    """Returns what the manifest says about folding in users."""
    return fold_in.document(rule)


def new_items_document(rule: NewItems) -> dict[str, Any]:
    """Returns what the manifest says about embedding new items."""
    return new_items.document(rule)
