"""Exports a trained model as a bundle: `medley.serving.bundle`.

Which models can be exported:

    final vectors        forward(); the columns are those of parts() where the model has parts
    weights between items   scorer() returns ItemToItem
    MacridVAE            its encoder and its decoder, in numpy

A model with any other scorer is a function of users that only torch can compute, so it cannot be exported. A bundle
without calibration stays in memory and holds any model: `medley.serving.in_memory`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_type_hints

import numpy as np
import scipy.sparse as sp
import torch

from medley import models
from medley.data.dataset import Dataset
from medley.data.parquet import read_parquet
from medley.errors import InputError
from medley.files import refuse_existing
from medley.models import Recommender
from medley.models.inputs import CONTROLS
from medley.models.macridvae import MacridVAE
from medley.models.registry import name_of
from medley.nn.seen import SeenItems
from medley.runs import Run
from medley.serving import bundle as bundles
from medley.serving import new_items
from medley.serving.ages import weighted
from medley.serving.bundle import Bundle
from medley.serving.bundle_manifest import BundleManifest, Data, Modality
from medley.serving.content_paths import PATHS, content_path
from medley.serving.fold_in import FoldIn, Rule, fit_fold_in
from medley.serving.fold_in import document as fold_in_document
from medley.serving.in_memory import Function, InMemory, NoFoldIn, NoNewItems, evaluating
from medley.serving.new_items import NewItems
from medley.serving.new_items_calibration import fit_new_items
from medley.serving.scores import Concepts, ItemToItem, Scores, Vectors, spread
from medley.serving.seen import DISLIKED, TEST, TRAIN, VALID, pairs_of
from medley.serving.sum_rule import sum_rule
from medley.types import Embeddings, Neighbours
from medley.types import ItemToItem as Weights
from medley.version import versions

CODES = {"train": TRAIN, "valid": VALID, "test": TEST}
NUM_COMPARED = 32  # users whose parts are summed
DIGITS = 6  # of a recency: 0.7 in place of the float32 next to it
TOLERANCE = 1e-4  # of a score, as a share of the largest; medley.testing.check_model asks the same
FUNCTION = "its score is a function of users that only torch can compute"
FINITE = "train with a lower learning rate, and look for NaN in the features"
Cold = Literal["model", "features"]


def exportable(model: Recommender | type[Recommender] | str) -> str | None:
    """Returns None if the model can be exported, else the reason why not.

    Args:
        model: a model, or a name, import path or class; of a class, the return type of scorer() decides.

    Raises:
        InputError: no such model.
    """
    if isinstance(model, Recommender):
        if isinstance(model, MacridVAE):
            return None
        with torch.no_grad():
            return None if isinstance(model.scorer(), Embeddings | Weights) else FUNCTION
    found = models.find(model)
    if found.scorer is Recommender.scorer or issubclass(found, MacridVAE):
        return None
    return None if get_type_hints(found.scorer).get("return") in (Embeddings, Weights) else FUNCTION


def listed(model: str) -> dict[str, str | None]:
    """Describes how a model is exported, without building it: `kind`, `new_users`, `new_items`, `reason` if it is not.

    Raises:
        InputError: no such model.
    """
    found, reason = models.find(model), exportable(model)
    row: dict[str, str | None] = {"name": model, "kind": None, "new_users": None, "new_items": None, "reason": reason}
    if reason is not None:
        return row
    if issubclass(found, MacridVAE):
        row |= {"kind": "concepts", "new_users": "exact: its encoder"}
    elif found.scorer is Recommender.scorer:
        is_sum = found.history_sum is not Recommender.history_sum
        exact = "exact: the model's sum over the history"
        row |= {"kind": "vectors", "new_users": exact if is_sum else "inferred from the item vectors"}
    else:
        row |= {"kind": "item-to-item", "new_users": "exact: the history"}
    row["new_items"] = "its own content path" if found in PATHS else "neighbours by features"
    return row


def export(
    run: Run | Recommender,
    data: Dataset,
    out: str | Path | None = None,
    *,
    cold: Cold = "model",
    exposure: float = 1.0,
    thumbnails: Mapping[int, bytes] | None = None,
    overwrite: bool = False,
    calibrate: bool = True,
    seed: int = 0,
) -> Bundle:
    """Exports a trained model.

    Args:
        run: a run, whose best weights are exported, or a trained model.
        data: the data set that the model was trained on; its validation items choose how new users are folded in.
        out: the bundle to write: one file if the name ends in .medley or .zip, else a folder; None keeps the bundle in
            memory.
        cold: vectors of the items without train interactions: those of the `model`, or from `features` like new items.
        exposure: how often new items are shown, in relation to an average item of train.
        thumbnails: item row -> a small JPEG, for pages that show items.
        overwrite: replace the bundle in `out`.
        calibrate: False makes a bundle in memory at once, which refuses new users and new items, for any model.
        seed: of the users and items that calibrate.

    Raises:
        InputError: the model cannot be exported; data of another size; `out` exists; a wrong option.
    """
    if cold not in ("model", "features"):
        raise InputError("cold", expected="model or features", got=repr(cold))
    if isinstance(exposure, bool) or not isinstance(exposure, int | float) or not 0 < exposure < np.inf:
        raise InputError("exposure", expected="a number above 0", got=repr(exposure))
    if out is not None:
        refuse_existing(Path(out), overwrite=overwrite)
    model = run.model(data) if isinstance(run, Run) else run
    if (model.num_users, model.num_items) != (data.manifest.num_users, data.manifest.num_items):
        got = f"{data.manifest.num_users:,} users and {data.manifest.num_items:,} items"
        expected = f"{model.num_users:,} users and {model.num_items:,} items, as the model has"
        raise InputError("data set of an export", expected=expected, got=got, remedy="give the data of the training")
    if not calibrate:
        if out is not None or cold != "model":
            got = "out" if out is not None else "cold"
            raise InputError("export without calibration", expected="no out, and cold items of the model", got=got)
        return _in_memory(run, model, data)
    seen, features, ages = _seen(data, run), _features(data), _ages(data, run)
    train, recency = pairs_of(seen, TRAIN), recency_of(model)
    scores = _scores(model, weighted(train, ages, recency))
    if isinstance(scores, Function):
        name = type(model).__name__
        raise InputError(f"{name} cannot be exported", expected="final vectors or weights between items", got=FUNCTION)
    content = content_path(model, scores, features, train) if isinstance(scores, Vectors) else None
    options = model.spec.options if getattr(model, "spec", None) is not None else {}
    control = next((name.replace("_", " ") for name in CONTROLS if options.get(name)), None)
    reason = f"the model was trained on {control}" if control and model.reads_features else ""
    rule = fit_new_items(scores, features, train, content=content, reason=reason, exposure=exposure, seed=seed)
    exact = sum_rule(model, scores, train)
    if exact is not None:
        fold_in, ages = exact
    else:
        fold_in = fit_fold_in(scores, train, pairs_of(seen, VALID), ages=ages, recency=recency, seed=seed)
    if cold == "features":
        scores = _placed(scores, rule, features, train)
    manifest = _manifest(run, model, data, scores, fold_in, rule, cold)
    made = bundles.of(
        manifest,
        users=read_parquet(data.folder / "users.parquet"),
        items=data.item_table,
        scores=scores,
        seen=seen,
        age=_of_all(seen, ages, fold_in),
        features=features,
        fold_in_rule=fold_in,
        new_item_rule=rule,
        fitted={m: arrays for m in features if (arrays := data.fitted(m))},
        thumbnails=thumbnails or {},
    )
    if out is not None:
        made.write(out, overwrite=overwrite)
    return made


def _in_memory(run: Run | Recommender, model: Recommender, data: Dataset) -> InMemory:
    """Returns a bundle that is not calibrated."""
    seen, ages, recency = _seen(data, run), _ages(data, run), recency_of(model)
    train = pairs_of(seen, TRAIN)
    scores = _scores(model, weighted(train, ages, recency))
    is_exact = isinstance(scores, ItemToItem | Concepts)  # of new users; takes no calibration
    fold_in = fit_fold_in(scores, train, None, recency=recency) if is_exact else NoFoldIn(cast(Rule, "none"))
    rule = NoNewItems("none", "the bundle was made without calibration")
    return InMemory(
        _manifest(run, model, data, scores, fold_in, rule, "model"),
        users=read_parquet(data.folder / "users.parquet"),
        items=data.item_table,
        scores=cast(Scores, scores),
        seen=seen,
        age=_of_all(seen, ages, fold_in),
        features=_features(data),
        fold_in_rule=fold_in,
        new_item_rule=rule,
        ids_of_users=data.users,
        ids_of_items=data.items,
    )


def _manifest(
    run: Run | Recommender,
    model: Recommender,
    data: Dataset,
    scores: Scores | Function,
    fold_in: FoldIn,
    rule: NewItems,
    cold: Cold,
) -> BundleManifest:
    manifest = BundleManifest(
        **_origin(run, model, data),
        num_users=model.num_users,
        num_items=model.num_items,
        kind="vectors" if isinstance(scores, Function) else scores.kind,
        parts={name: (columns.start, columns.stop) for name, columns in scores.parts.items()},
        modalities={
            m: Modality(dim=record.dim, num_present=record.num_present, made_by=record.made_by)
            for m, record in data.manifest.modalities.items()
        },
        scores=_scores_document(scores),
        fold_in=fold_in_document(fold_in),
        new_items=new_items.document(rule),
        cold=cold,
        versions=versions(),
    )
    return manifest.model_copy(update={"kind": scores.kind})  # `function` is not a kind of file


def _origin(run: Run | Recommender, model: Recommender, data: Dataset) -> dict[str, Any]:
    """Fields of the manifest about model, data and measured quality."""
    hashed = Data(name=data.manifest.name, parts=data.manifest.parts, split_hash=data.manifest.split_hash)
    if not isinstance(run, Run):
        spec = getattr(model, "spec", None)
        recipe = {} if spec is None else {"model": spec.name, "options": spec.options, "seed": spec.seed}
        return {"model": name_of(type(model)), "recipe": recipe, "data": hashed}
    metrics, fingerprints = {}, {}
    for split in ("valid", "test"):
        if (run.folder / f"{split}.json").exists():
            evaluation = run.evaluation(split)
            metrics[split], fingerprints[split] = evaluation.metrics, evaluation.fingerprint
    changed = datetime.fromtimestamp((run.folder / "run.json").stat().st_mtime, UTC)
    return {
        "model": run.record.recipe.model,
        "recipe": run.record.recipe.model_dump(mode="json"),
        "trained_at": changed.isoformat(timespec="seconds"),
        "data": hashed,
        "metrics": metrics,
        "fingerprints": fingerprints,
    }


def _seen(data: Dataset, run: Run | Recommender) -> sp.csr_array:
    """Returns (U, I) int8, the codes of `medley.serving.seen`: TRAIN for all splits that the model has learned from.

    A pair that is in several splits has the first code.
    """
    learned = _learned_from(run).split("+")
    codes = {split: TRAIN if split in learned else code for split, code in CODES.items()}
    pairs = [*((data.interactions(split), code) for split, code in codes.items()), (data.disliked, DISLIKED)]
    place = np.concatenate([part.user.astype(np.int64) * data.manifest.num_items + part.item for part, _ in pairs])
    code = np.concatenate([np.full(len(part), code, dtype=np.int8) for part, code in pairs])
    place, first = np.unique(place, return_index=True)
    user, item = np.divmod(place, data.manifest.num_items)
    seen = sp.csr_array((code[first], (user, item)), shape=(data.manifest.num_users, data.manifest.num_items))
    seen.sort_indices()
    return seen


def _learned_from(run: Run | Recommender) -> str:
    return run.record.recipe.settings.train_on if isinstance(run, Run) else "train"


def _ages(data: Dataset, run: Run | Recommender) -> np.ndarray | None:
    """Returns the ages of what the model has learned from, by user and item; None if the log has no times."""
    learned = data.union(_learned_from(run))
    return None if learned.time is None else learned.ages()


def _of_all(seen: sp.csr_array, ages: np.ndarray | None, fold_in: FoldIn) -> np.ndarray | None:
    """Returns the ages (n,) of the pairs of `seen`, 0 where the code is not TRAIN; None if no rule reads them."""
    if ages is None or not fold_in.reads_ages:
        return None
    age = np.zeros(len(seen.data), dtype=np.int32)
    age[seen.data == TRAIN] = ages
    return age


def recency_of(model: Recommender) -> float:
    """Returns the base of the weights of seen items; 1 for a model that weighs them alike, or reads none.

    Raises:
        InputError: the seen items have weights that are not a recency.
    """
    if isinstance(model, MacridVAE):
        return 1.0
    with evaluating(model):
        score = model.scorer()
        if not isinstance(score, Weights):
            return 1.0
        if isinstance(score.seen, SeenItems):
            return round(float(score.seen.recency()), DIGITS)
        if score.seen(torch.arange(min(1, model.num_users))).weight is not None:
            name, expected = type(model).__name__, "seen items that medley.nn.seen.SeenItems weighs"
            raise InputError(f"{name} cannot be exported", expected=expected, got="weights of its own")
    return 1.0


def _features(data: Dataset) -> dict[str, new_items.ItemFeatures]:
    return {m: new_items.ItemFeatures(f.values, f.present) for m, f in data.features.items()}


def _scores(model: Recommender, train: sp.csr_array) -> Scores | Function:
    """Returns the scores of the model, in numpy where numpy can compute them.

    Raises:
        InputError: the parts of the model do not sum to its score, or vectors or weights are not finite.
    """
    with evaluating(model):
        if isinstance(model, MacridVAE):
            return _concepts(model, train)
        score = model.scorer()
        if isinstance(score, Embeddings):
            return _vectors(model, score)
        return _item_to_item(model, score, train) if isinstance(score, Weights) else Function(model, score)


def _vectors(model: Recommender, score: Embeddings) -> Vectors:
    parts, columns, first = model.parts(), {}, 0
    for name, part in parts.items():
        columns[name] = slice(first, first + part.item.shape[1])
        first = columns[name].stop
    sides = zip(*(parts or {"": score}).values(), strict=True)
    user, item = (np.concatenate([_numpy(table) for table in side], axis=1, dtype=np.float32) for side in sides)
    user = np.column_stack(
        [user, spread(user, np.cov(item.T, bias=True).reshape(item.shape[1], -1)).astype(np.float32)]
    )
    item = np.column_stack([item, np.zeros(len(item), dtype=np.float32)])
    _check_sum(user, item, score)
    return Vectors(user, item, columns)


def _check_sum(user: np.ndarray, item: np.ndarray, score: Embeddings) -> None:
    """Refuses vectors that are not finite, and parts that do not sum to the score."""
    some = np.linspace(0, len(user) - 1, min(NUM_COMPARED, len(user))).astype(np.int64)
    exact = _numpy(score.user)[some] @ _numpy(score.item).T
    distance = np.abs(user[some] @ item.T - exact).max(initial=0)
    if not (np.isfinite(user).all() and np.isfinite(item).all()):
        raise InputError("vectors of the model", expected="finite numbers", got="NaN or infinity", remedy=FINITE)
    if distance > TOLERANCE * max(1.0, float(np.abs(exact).max(initial=0))):
        remedy = "medley.testing.check_model tests parts()"
        raise InputError("parts of the score", expected="a sum equal to the score", got=distance, remedy=remedy)


def _item_to_item(model: Recommender, score: Weights, train: sp.csr_array) -> ItemToItem:
    weights: dict[str, np.ndarray | sp.csr_array] = {}
    for name, w in score.weights.items():
        if isinstance(w, Neighbours):
            num_items, k = w.index.shape
            indptr = np.arange(0, num_items * k + 1, k)
            matrix = sp.csr_array(
                (_numpy(w.value).ravel(), _numpy(w.index).ravel(), indptr), shape=(num_items, num_items)
            )
            matrix.sum_duplicates()
            matrix.eliminate_zeros()
            weights[name] = matrix.astype(np.float32)
        else:
            weights[name] = _numpy(w).astype(np.float32)
    values = [w if isinstance(w, np.ndarray) else np.asarray(w.data) for w in weights.values()]
    if not all(np.isfinite(value).all() for value in values):
        raise InputError("weights of the model", expected="finite numbers", got="NaN or infinity", remedy=FINITE)
    columns = {name: slice(at * model.num_items, (at + 1) * model.num_items) for at, name in enumerate(weights)}
    return ItemToItem(weights, train, columns if model.reads_features else {})


def _concepts(model: MacridVAE, train: sp.csr_array) -> Concepts:
    h, t, logits = model._items()
    encoder = {"t": t, "b1": model.b1, "W2": model.W2.weight, "b2": model.b2}
    c = logits.softmax(dim=1)
    return Concepts(_numpy(h), _numpy(c), {name: _numpy(x) for name, x in encoder.items()}, model.tau, train)


def _placed(
    scores: Scores, rule: NewItems, features: dict[str, new_items.ItemFeatures], train: sp.csr_array
) -> Vectors:
    """Returns the scores with vectors from features for all items without train interactions that have features.

    Raises:
        InputError: the kind of the scores has no table of item vectors, or the model cannot embed new items.
    """
    if not isinstance(scores, Vectors) or rule.rule == "none":
        got = rule.reason or f"scores of kind {scores.kind}"
        remedy = "cold=model, and put the items into the running service"
        raise InputError("cold items from features", expected="item vectors", got=got, remedy=remedy)
    item = scores.item.copy()
    for row in np.flatnonzero(np.bincount(train.indices, minlength=len(item)) == 0):
        own = {m: f.values[row] for m, f in features.items() if f.present[row]}
        vector = rule(scores, features, own).vector
        if vector is not None:
            item[row] = vector
    return Vectors(scores.user, item, scores.parts)


def _scores_document(scores: Scores | Function) -> dict[str, Any]:
    if isinstance(scores, Concepts):
        return {"tau": scores.tau}
    return {"weights": list(scores.weights)} if isinstance(scores, ItemToItem) else {}


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """Copies a tensor: the bundle shares no memory with the model."""
    return np.array(tensor.detach().cpu().numpy())
