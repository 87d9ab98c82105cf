"""What the service says about items and the model: lists, reasons, descriptions.

Shapes: Q and V columns of queries and item vectors, n items of a list.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from medley.serving.bundle import Bundle
from medley.serving.catalogue import Catalogue
from medley.serving.requests import Because, ItemAnswer, ModelAnswer, RankedItem, Why

NUM_BECAUSE = 3
NUM_PROBES = 1_000  # items that tell how much a part of the score decides


class Answers:
    """Turns rows and scores into answers."""

    def __init__(self, bundle: Bundle, catalogue: Catalogue):
        self.bundle, self.catalogue = bundle, catalogue
        self.thumbnails = dict(bundle.thumbnails)

    def listed(
        self,
        rows: np.ndarray,
        scores: np.ndarray,
        *,
        query: np.ndarray | None = None,
        history: np.ndarray | None = None,
    ) -> list[RankedItem]:
        whys: Sequence[Why | None] = [None] * len(rows)
        if query is not None and history is not None and len(rows):
            whys = self.why(query, history, rows)
        found = []
        for row, score, why in zip(rows.tolist(), scores.tolist(), whys, strict=True):
            attributes = self.catalogue.attributes(row)
            title = attributes.pop("title", None)
            found.append(
                RankedItem(
                    id=self.catalogue.raw_id(row),
                    score=score,
                    title=None if title is None else str(title),
                    cold=bool(self.catalogue.cold.values[row]),
                    attributes=attributes,
                    why=why,
                )
            )
        return found

    def why(self, query: np.ndarray, history: np.ndarray, rows: np.ndarray) -> list[Why]:
        vectors = self.catalogue.vectors(rows)
        parts = {name: values[0] for name, values in self.bundle.scores.match_parts(query[None], vectors).items()}
        known = history[history < self.catalogue.num_bundled]
        whys = []
        for at in range(len(rows)):
            own = {name: float(values[at]) for name, values in parts.items()}
            size = sum(map(abs, own.values()))
            shares = {name: value / size if size else 0.0 for name, value in own.items()}
            others = known[known != rows[at]]
            near, similarity = self.bundle.because(query, others, vectors[at], NUM_BECAUSE)
            because = [
                Because(id=self.catalogue.raw_id(row), title=self.catalogue.title(row), similarity=value)
                for row, value in zip(near.tolist(), similarity.tolist(), strict=True)
            ]
            whys.append(Why(parts=own, shares=shares, because=because))
        return whys

    def taste(self, query: np.ndarray) -> dict[str, float]:
        """Part -> its share of the spread of a user's scores over the items: how much the part decides."""
        if not self.bundle.parts:
            return {}
        num_items = self.catalogue.num_bundled
        rows = np.linspace(0, num_items - 1, min(NUM_PROBES, num_items)).astype(np.int64)
        parts = self.bundle.scores.match_parts(query[None], self.catalogue.vectors(np.unique(rows)))
        spread = {name: float(parts[name].std()) for name in self.bundle.parts}
        total = sum(spread.values())
        return {name: value / total if total else 0.0 for name, value in spread.items()}

    def about(self, row: int, similar: dict[str, list[RankedItem]]) -> ItemAnswer:
        attributes = self.catalogue.attributes(row)
        title, has = attributes.pop("title", None), self.catalogue.features(row)
        return ItemAnswer(
            id=self.catalogue.raw_id(row),
            title=None if title is None else str(title),
            attributes=attributes,
            cold=bool(self.catalogue.cold.values[row]),
            popularity=int(self.catalogue.popularity.values[row]),
            modalities=list(has),
            missing=[m for m in self.bundle.features if m not in has],
            listed=bool(self.catalogue.placed.values[row]),
            media=["image"] if row in self.thumbnails else [],
            similar=similar,
        )

    def model(self, *, index: str, nbytes: Mapping[str, int]) -> ModelAnswer:
        """Describes the model and its data.

        Args:
            index: how items are searched.
            nbytes: table -> bytes.
        """
        m = self.bundle.manifest
        split = next((split for split in ("test", "valid") if split in m.metrics), None)
        modalities = {
            name: {"dim": each.dim, "share_of_items": each.num_present / max(m.num_items, 1), "made_by": each.made_by}
            for name, each in m.modalities.items()
        }
        counts = {"users": m.num_users, "items": self.catalogue.num_alive, "interactions": self.bundle.seen.nnz}
        return ModelAnswer(
            model_version=m.model_version,
            model=m.model,
            recipe=m.recipe,
            trained_at=m.trained_at or "",
            dataset=m.data.name,
            fingerprint=m.fingerprints.get(split) if split else None,
            metrics={f"{split}/{name}": value for name, value in m.metrics[split].items()} if split else {},
            modalities=modalities,
            parts=list(self.bundle.parts),
            counts=counts,
            bytes=dict(nbytes),
            index=index,
        )
