"""The TikTok table (docs/results/tiktok.md): each model of the catalogue, then variants of the systems."""

from typing import Any

from medley.experiments.declaration import Declaration, DeclaredEntry, DeclaredVariants
from medley.experiments.entries import Entry
from medley.experiments.studies.catalogue import BASELINES, BEYOND, ENTRIES, SIMPLE, SYSTEMS, TRAINING

__all__ = ["BASELINES", "BEYOND", "ENTRIES", "SIMPLE", "STUDY", "SYSTEMS", "TRAINING", "VARIANTS"]


def _variant(of: Entry, label: str, **options: Any) -> Entry:
    return Entry(of.model, f"{of.label}: {label}", options, {}, variant_of=of.label)


_MMGCN, _LUDP, _DUALGNN, _EGOGCN, _HUIGN = SYSTEMS
VARIANTS = (
    _variant(_MMGCN, "max", aggregation="max"),
    _variant(_MMGCN, "without id", use_id=False, reg=1e-3),  # with more, all vectors vanish
    _variant(_MMGCN, "concatenated", combination="concat", reg=1e-3),
    _variant(_LUDP, "sum", fusion="sum"),
    _variant(_LUDP, "concat", fusion="concat"),
    _variant(_LUDP, "item graph only", use_user_graph=False),
    _variant(_LUDP, "user graph only", use_item_graph=False),
    _variant(_DUALGNN, "Dual-A", construction="mean"),
    _variant(_DUALGNN, "Dual-U", num_user_layers=0),
    _variant(_DUALGNN, "Dual-A-U", construction="mean", num_user_layers=0),
    _variant(_DUALGNN, "max", construction="max"),
    _variant(_DUALGNN, "concat", construction="concat"),
    _variant(_DUALGNN, "mean aggregation", aggregation="mean"),
    _variant(_EGOGCN, "hard", fusion="hard", epsilon=0.4),
    _variant(_EGOGCN, "graph merge", fusion="merge"),
    _variant(_EGOGCN, "node alignment", fusion="align", self_loops=False),
    _variant(_EGOGCN, "soft-pruned IDs", soft_pruning=True),
    _variant(_EGOGCN, "IDs alone", fusion="none", self_loops=False),
    _variant(_HUIGN, "one level", levels=[32]),
    _variant(_HUIGN, "two levels", levels=[32, 8]),
    _variant(_HUIGN, "without its two losses", entropy_reg=0.0, independence_reg=0.0),
    *(_variant(one, "random features", random_features=True) for one in (*SYSTEMS, BEYOND[0])),
    *(_variant(one, f"{m} alone", modalities=[m]) for one in (_DUALGNN, _EGOGCN) for m in ("visual", "acoustic")),
)

STUDY = Declaration(
    title="The TikTok table",
    about="Each model over a small grid, and variants of the systems with the settings chosen for the system.",
    entries=[DeclaredEntry(use=["all"])],
    variants=[
        DeclaredVariants(
            of=[one.variant_of], label=one.label.removeprefix(f"{one.variant_of}: "), options={**one.options}
        )
        for one in VARIANTS
    ],
)
