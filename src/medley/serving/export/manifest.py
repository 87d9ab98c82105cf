"""The manifest of an exported bundle."""

from datetime import UTC, datetime
from typing import Any, Literal

from medley.data.dataset import Dataset
from medley.models import Recommender
from medley.models.registry import name_of
from medley.runs import Run
from medley.serving import new_items
from medley.serving.bundle_manifest import BundleManifest, Data, Modality
from medley.serving.fold_in import FoldIn
from medley.serving.fold_in import document as fold_in_document
from medley.serving.in_memory import Function
from medley.serving.new_items import NewItems
from medley.serving.scores import Concepts, ItemToItem, Scores
from medley.version import versions

Cold = Literal["model", "features"]


def manifest_of(
    run: Run | Recommender,
    model: Recommender,
    data: Dataset,
    scores: Scores | Function,
    fold_in: FoldIn,
    rule: NewItems,
    cold: Cold,
) -> BundleManifest:
    """Returns the manifest of a bundle that is made of a run or a model, without the hashes of files."""
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


def _scores_document(scores: Scores | Function) -> dict[str, Any]:
    if isinstance(scores, Concepts):
        return {"tau": scores.tau}
    return {"weights": list(scores.weights)} if isinstance(scores, ItemToItem) else {}
