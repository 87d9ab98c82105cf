"""Makes the bundle of a run or a model, calibrated or at once.

Shapes: U users, I items.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import scipy.sparse as sp

from medley.data.dataset import Dataset
from medley.data.parquet import read_parquet
from medley.errors import InputError
from medley.files import refuse_existing
from medley.models import Recommender
from medley.models.inputs import CONTROLS
from medley.runs import Run
from medley.serving import bundle as bundles
from medley.serving.ages import weighted
from medley.serving.bundle import Bundle
from medley.serving.export.content_paths import content_path
from medley.serving.export.kinds import FUNCTION
from medley.serving.export.manifest import Cold, manifest_of
from medley.serving.export.new_items import fit_new_items
from medley.serving.export.scores import recency_of, scores_of
from medley.serving.export.seen import ages_of, ages_of_all, seen_of
from medley.serving.export.sum_rule import sum_rule
from medley.serving.fold_in import Rule, fit_fold_in
from medley.serving.in_memory import Function, InMemory, NoFoldIn, NoNewItems
from medley.serving.item_features import ItemFeatures
from medley.serving.new_items import NewItems
from medley.serving.scores import Concepts, ItemToItem, Scores, Vectors
from medley.serving.seen import TRAIN, VALID, pairs_of


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
    seen, features, ages = seen_of(data, model), _features(data), ages_of(data, model)
    train, recency = pairs_of(seen, TRAIN), recency_of(model)
    scores = scores_of(model, weighted(train, ages, recency))
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
    manifest = manifest_of(run, model, data, scores, fold_in, rule, cold)
    made = bundles.of(
        manifest,
        users=read_parquet(data.folder / "users.parquet"),
        items=data.item_table,
        scores=scores,
        seen=seen,
        age=ages_of_all(seen, ages, fold_in),
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
    seen, ages, recency = seen_of(data, model), ages_of(data, model), recency_of(model)
    train = pairs_of(seen, TRAIN)
    scores = scores_of(model, weighted(train, ages, recency))
    is_exact = isinstance(scores, ItemToItem | Concepts)  # of new users; takes no calibration
    fold_in = fit_fold_in(scores, train, None, recency=recency) if is_exact else NoFoldIn(cast(Rule, "none"))
    rule = NoNewItems("none", "the bundle was made without calibration")
    return InMemory(
        manifest_of(run, model, data, scores, fold_in, rule, "model"),
        users=read_parquet(data.folder / "users.parquet"),
        items=data.item_table,
        scores=cast(Scores, scores),
        seen=seen,
        age=ages_of_all(seen, ages, fold_in),
        features=_features(data),
        fold_in_rule=fold_in,
        new_item_rule=rule,
        ids_of_users=data.users,
        ids_of_items=data.items,
    )


def _features(data: Dataset) -> dict[str, ItemFeatures]:
    return {m: ItemFeatures(f.values, f.present) for m, f in data.features.items()}


def _placed(scores: Scores, rule: NewItems, features: dict[str, ItemFeatures], train: sp.csr_array) -> Vectors:
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
