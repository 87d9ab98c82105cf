"""The service: all that is asked of a trained model, without HTTP. The API, the page and the command line call this class.

    bundle        what was learned                      store      what happened since, durable
    catalogue     items, those added since included     people     users, those added since included
    index         search by score                       similarity similar items

Changes are written to the store first, then applied: what a caller was told is never lost. Reading needs no lock:
writers publish whole objects, one writer at a time.

Shapes: B questions, Q and V columns of queries and item vectors, N items with those added since, k results.
"""

import base64
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError

from medley.errors import InputError, MedleyError, invalid
from medley.serving.bundle import Bundle
from medley.serving.catalogue import Catalogue
from medley.serving.diversity import num_candidates, rerank
from medley.serving.filters import Filter
from medley.serving.people import People
from medley.serving.ranking import Ranking
from medley.serving.records import Event as StoredEvent
from medley.serving.records import Outcome
from medley.serving.requests import (
    BatchRequest,
    Because,
    Event,
    ExplainAnswer,
    FeedbackAnswer,
    ItemAnswer,
    ItemPatch,
    ItemRequest,
    ItemsAnswer,
    Media,
    ModelAnswer,
    RankedItem,
    RecommendAnswer,
    RecommendRequest,
    Rejected,
    ScoreAnswer,
    ScoredItem,
    ScoreRequest,
    SimilarAnswer,
    UserAnswer,
    UserRequest,
    Why,
)
from medley.serving.similarity import ALL, Similarity
from medley.serving.store import Store

NEGATIVE = frozenset({"dislike", "skip", "hide", "report", "unlike"})  # types of feedback that speak against an item
NUM_BECAUSE = 3
NUM_SIMILAR = 6
NUM_PLACES = 2_000


class MediaEncoder(Protocol):
    """Turns media into features: `medley.media.uploads.Uploads`, whose room serving does not know."""

    def encode(
        self, *, text: str | None, image: bytes | None, audio: bytes | None, video: bytes | None
    ) -> tuple[dict[str, np.ndarray], bytes | None]:
        """Returns modality -> raw features (d_m,), and a JPEG of the picture."""
        ...

    def close(self) -> None:
        """Ends its processes."""
        ...


class Service:
    """Answers questions about one bundle."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        store: Store | None = None,
        index: str | None = None,
        media: MediaEncoder | None = None,
    ):
        """Args:
        bundle: the trained model.
        store: what happened since, which is applied now; None keeps changes in memory alone.
        index: exact, hnsw, ivf or qdrant, for scores that are inner products; by default by the size of the catalogue.
        media: encodes the media of new items; None: items are put with features.
        """
        self.bundle, self.store, self._media = bundle, store or _Unsaved(), media
        self.model_version = bundle.manifest.model_version
        self.catalogue = Catalogue(bundle)
        self.people = People(bundle, self.catalogue)
        self.ranking = Ranking(bundle, self.catalogue, kind=index)
        self.similarity = Similarity(bundle, self.catalogue)
        self.counters: Counter[str] = Counter()
        self._thumbnails = dict(bundle.thumbnails)
        self._writing = threading.RLock()
        if store is not None:
            self._replay(store)

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        *,
        store: str | Path | None = None,
        index: str | None = None,
        media: MediaEncoder | None = None,
        verify: bool = True,
    ) -> "Service":
        """Opens a bundle, and the store beside it.

        Raises:
            InputError: not a bundle, a damaged one, or a damaged store.
        """
        read = Bundle.read(bundle, verify=verify)
        return cls(read, store=None if store is None else Store(store), index=index, media=media)

    def close(self) -> None:
        """Closes the store, and ends the processes that decode media."""
        self.store.close()
        if self._media is not None:
            self._media.close()

    # -- questions ------------------------------------------------------------------------------------------------

    def model(self) -> ModelAnswer:
        """Describes the model and its data."""
        m = self.bundle.manifest
        split = next((split for split in ("test", "valid") if split in m.metrics), None)
        modalities = {
            name: {"dim": each.dim, "share_of_items": each.num_present / max(m.num_items, 1), "made_by": each.made_by}
            for name, each in m.modalities.items()
        }
        counts = {"users": m.num_users, "items": self.catalogue.num_alive, "interactions": self.bundle.seen.nnz}
        return ModelAnswer(
            model_version=self.model_version,
            model=m.model,
            recipe=m.recipe,
            trained_at=m.trained_at or "",
            dataset=m.data.name,
            fingerprint=m.fingerprints.get(split) if split else None,
            metrics={f"{split}/{name}": value for name, value in m.metrics[split].items()} if split else {},
            modalities=modalities,
            parts=list(self.bundle.parts),
            counts=counts,
            bytes=self.nbytes,
            index=self.ranking.kind,
        )

    @property
    def nbytes(self) -> dict[str, int]:
        """Table -> bytes, memory-mapped ones included."""
        sizes = {"index": self.ranking.nbytes, "seen": self.bundle.seen.data.nbytes + self.bundle.seen.indices.nbytes}
        if self.bundle.user is not None:
            sizes["users"] = self.bundle.user.nbytes
        return sizes | {f"features/{m}": f.values.nbytes for m, f in self.bundle.features.items()}

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """Returns the best items of a user, a history, or items that are liked.

        Raises:
            InputError: an unknown column of the filter, or an unknown part among the weights.
        """
        query, history, hidden, unknown = self._who(request)
        excluded, strangers = self.catalogue.rows(request.exclude)
        unknown += strangers
        hidden = np.union1d(hidden if request.hide_seen else hidden[:0], excluded)
        allowed = self._allowed(request.filter)
        if query is None:
            return self._popular(request, allowed, hidden, unknown)
        if request.weights:
            query = self.bundle.weighted(query, request.weights)
        crowd = num_candidates(request.k, request.diversity)
        rows, scores = self.ranking.search(query, crowd, allowed=allowed, hidden=hidden)
        if request.diversity and len(rows):
            chosen = rerank(scores, self.catalogue.vectors(rows)[:, :-1], request.k, request.diversity)
            rows, scores = rows[chosen], scores[chosen]
        items = self._listed(rows, scores, query=query if request.explain else None, history=history)
        fallback = "features" if len(history) and self.catalogue.cold.values[history].all() else None
        self._count(rows, fallback)
        return RecommendAnswer(items=items, fallback=fallback, unknown=unknown)

    def batch(self, request: BatchRequest) -> list[RecommendAnswer | InputError]:
        """Answers several questions; an error is the answer of its element."""
        answers: list[RecommendAnswer | InputError] = []
        for each in request.requests:
            try:
                answers.append(self.recommend(RecommendRequest.model_validate(each)))
            except ValidationError as error:
                answers.append(invalid(error, "field"))
            except InputError as error:
                answers.append(error)
        return answers

    def score(self, request: ScoreRequest) -> ScoreAnswer:
        """Scores given items."""
        asked = RecommendRequest(user=request.user, history=request.history, weights=request.weights)
        query, _, _, unknown = self._who(asked)
        known = {each: row for each in request.items if (row := self._alive(each)) is not None}
        unknown += [each for each in request.items if each not in known]
        rows = np.array(list(known.values()), dtype=np.int64)
        if query is None:
            values = self.catalogue.popularity.values[rows].astype(np.float32)
            self.counters["fallback_popular"] += 1
        else:
            query = self.bundle.weighted(query, request.weights)
            values = self.ranking.scores(query, rows)
        found = dict(zip(known, values.tolist(), strict=True))
        items = [ScoredItem(id=each, score=found.get(each)) for each in request.items]
        return ScoreAnswer(items=items, fallback="popular" if query is None else None, unknown=unknown)

    def similar(self, item: str, *, by: str = ALL, k: int = 10, filter: Filter | None = None) -> SimilarAnswer:
        """Returns the items that are most similar to an item.

        Args:
            item: raw id.
            by: behaviour, a modality, or all.
            k: number of items.
            filter: which items may be listed.

        Raises:
            NotFoundError: an unknown item.
            InputError: an unknown `by`, or a modality that the item lacks.
        """
        row = self.catalogue.row(item)
        similarity = self.similarity.to(row, by)
        rows, values = self._nearest(similarity, row, k, self._allowed(filter))
        return SimilarAnswer(items=self._listed(rows, values), by=by)

    def explain(self, user: str, item: str) -> ExplainAnswer:
        """Explains the score of an item for a user: its parts, the user's own items, and the rank without each part.

        Raises:
            NotFoundError: an unknown user or item.
        """
        query, row = self.people.query(user), self.catalogue.row(item)
        history, hidden = self.people.history(user), self.people.hidden(user)
        why = self._why(query, history, np.array([row]))[0]
        without = {
            part: self.ranking.rank(self.bundle.weighted(query, {part: 0.0}), row, hidden) for part in self.bundle.parts
        }
        score = float(self.ranking.scores(query, np.array([row]))[0])
        rank = self.ranking.rank(query, row, hidden)
        return ExplainAnswer(user=user, item=item, score=score, rank=rank, why=why, without=without)

    def items(self, q: str = "", *, cursor: str | None = None, k: int = 50) -> ItemsAnswer:
        """Lists items whose id or title contains a text, the most popular first.

        Raises:
            InputError: not a cursor of an earlier answer.
        """
        rows = self.catalogue.containing(q) if q else np.arange(len(self.catalogue))
        rows = rows[self.catalogue.alive.values[rows]]
        rows = rows[np.lexsort((rows, -self.catalogue.popularity.values[rows]))]
        start = _cursor(cursor)
        page = rows[start : start + k]
        more = str(start + k) if start + k < len(rows) else None
        values = self.catalogue.popularity.values[page].astype(float)
        return ItemsAnswer(items=self._listed(page, values), cursor=more, total=len(rows))

    def item(self, raw_id: str) -> ItemAnswer:
        """Describes an item, with its nearest items by all that can be compared.

        Raises:
            NotFoundError: an unknown item.
        """
        row = self.catalogue.row(raw_id)
        similar = {}
        for by in self.similarity.available(row):
            rows, values = self._nearest(self.similarity.to(row, by), row, NUM_SIMILAR, self._allowed(None))
            similar[by] = self._listed(rows, values)
        return self._about(row, similar)

    def users(self, q: str = "", *, k: int = 20) -> list[str]:
        """Returns ids of users that begin with a text."""
        return self.people.beginning(q, k)

    def user(self, raw_id: str) -> UserAnswer:
        """Describes a user.

        Raises:
            NotFoundError: an unknown user.
        """
        history, query = self.people.history(raw_id)[::-1], self.people.query(raw_id)
        shown = history[self.catalogue.alive.values[history]]
        values = np.zeros(len(shown))
        return UserAnswer(
            id=raw_id,
            attributes=self.people.attributes(raw_id),
            history=self._listed(shown, values),
            folded_in=self.people.is_folded_in(raw_id),
            weights=self._taste(query),
        )

    def places(self) -> list[dict[str, Any]]:
        """Returns the map of the catalogue: id, title, x and y in -1..1, popularity and cold, of the most popular items."""
        rows = np.flatnonzero(self.catalogue.alive.values)
        rows = rows[np.argsort(-self.catalogue.popularity.values[rows], kind="stable")][:NUM_PLACES]
        where = _projected(self.ranking.embedding(rows))
        return [
            {
                "id": self.catalogue.raw_id(row),
                "title": self.catalogue.title(row),
                "x": float(x),
                "y": float(y),
                "popularity": int(self.catalogue.popularity.values[row]),
                "cold": bool(self.catalogue.cold.values[row]),
            }
            for row, (x, y) in zip(rows.tolist(), where, strict=True)
        ]

    def thumbnail(self, raw_id: str) -> tuple[bytes, str] | None:
        """Returns a small picture of an item and its media type, if there is one.

        Raises:
            NotFoundError: an unknown item.
        """
        row = self.catalogue.row(raw_id)
        picture = self._thumbnails.get(row)
        return None if picture is None else (picture, "image/jpeg")

    # -- changes --------------------------------------------------------------------------------------------------

    def put_item(self, raw_id: str, request: ItemRequest) -> ItemAnswer:
        """Adds an item, or replaces one; it is ranked at once.

        Raises:
            InputError: media and features of one modality, features of a wrong form, media that cannot be read.
        """
        features, thumbnail = self._features(request.features, request.media)
        with self._writing:
            attributes = self.catalogue.checked(request.attributes)
            self.store.put_item(raw_id, attributes, features, thumbnail)
            return self._about(self._put(raw_id, attributes, features, thumbnail), {})

    def put_items(self, requests: Sequence[tuple[str, ItemRequest]]) -> list[ItemAnswer | MedleyError]:
        """Puts several items; an error is the answer of its element."""
        answers: list[ItemAnswer | MedleyError] = []
        for raw_id, request in requests:
            try:
                answers.append(self.put_item(raw_id, request))
            except MedleyError as error:
                answers.append(error)
        return answers

    def patch_item(self, raw_id: str, request: ItemPatch) -> ItemAnswer:
        """Changes some attributes or modalities of an item; an attribute that is None is removed.

        Raises:
            NotFoundError: an unknown item.
            InputError: as in `put_item`.
        """
        new, thumbnail = self._features(request.features, request.media)
        with self._writing:
            row = self.catalogue.row(raw_id)
            attributes = self.catalogue.checked({**self.catalogue.attributes(row), **request.attributes})
            features = {**self.catalogue.features(row), **new}
            thumbnail = thumbnail or self._thumbnails.get(row)
            self.store.put_item(raw_id, attributes, features, thumbnail)
            return self._about(self._put(raw_id, attributes, features, thumbnail), {})

    def delete_item(self, raw_id: str) -> None:
        """Stops listing an item.

        Raises:
            NotFoundError: an unknown item.
        """
        with self._writing:
            row = self.catalogue.row(raw_id)
            self.store.delete_item(raw_id)
            self._delete(row)

    def put_user(self, raw_id: str, request: UserRequest) -> UserAnswer:
        """Adds a user with a history, or replaces all that is known about one.

        Raises:
            InputError: an unknown item in the history.
        """
        with self._writing:
            rows, unknown = self.catalogue.rows(request.history)
            if unknown:
                got = ", ".join(map(repr, unknown[:5]))
                raise InputError("history", expected="known items", got=got, remedy="put the items first")
            self.store.put_user(raw_id, request.attributes, request.history)
            self.people.put(raw_id, rows.tolist(), request.attributes)
        return self.user(raw_id)

    def delete_user(self, raw_id: str) -> None:
        """Forgets a user: history, attributes and feedback.

        Raises:
            NotFoundError: an unknown user.
        """
        with self._writing:
            self.people.delete(raw_id)
            self.store.delete_user(raw_id)

    def feedback(self, events: Sequence[Event]) -> FeedbackAnswer:
        """Accepts feedback; each accepted event is seen by the next question. An event with a known id is a duplicate."""
        rejected, known, now = [], [], time.time()
        for at, event in enumerate(events):
            if self._alive(event.item) is None:
                rejected.append(Rejected(index=at, code="not_found", message=f"item {event.item!r} is not known"))
                continue
            moment, number = now if event.time is None else event.time, event.id or uuid.uuid4().hex
            known.append((at, StoredEvent(number, event.user, event.item, event.type, moment)))
        with self._writing:
            outcomes = self.store.add_feedback([event for _, event in known])
            for (at, event), outcome in zip(known, outcomes, strict=True):
                if outcome == "new":
                    self._react(event)
                elif outcome == "conflict":
                    rejected.append(Rejected(index=at, code="conflict", message=f"id {event.id!r} is of another event"))
        accepted, duplicate = outcomes.count("new"), outcomes.count("duplicate")
        rejected.sort(key=lambda each: each.index)
        return FeedbackAnswer(accepted=accepted, duplicate=duplicate, rejected=rejected)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _who(self, request: RecommendRequest) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, list[str]]:
        """Returns query (or None), history rows, hidden rows and unknown ids of a question."""
        nothing = np.zeros(0, dtype=np.int64)
        if request.user is not None:
            if not self.people.is_known(request.user):
                return None, nothing, nothing, [request.user]
            history = self.people.history(request.user)
            hidden = self.people.hidden(request.user)
            return (self.people.query(request.user) if len(hidden) else None), history, hidden, []
        liked, unknown = self.catalogue.rows(request.history if request.history is not None else request.positive or [])
        disliked, strangers = self.catalogue.rows(request.negative or [])
        disliked = np.setdiff1d(disliked, liked)
        if not len(liked):
            return None, nothing, disliked, [*unknown, *strangers]
        query = self.people.fold_in(liked.tolist(), disliked.tolist())
        return query, liked, np.union1d(liked, disliked), [*unknown, *strangers]

    def _popular(
        self, request: RecommendRequest, allowed: np.ndarray, hidden: np.ndarray, unknown: list[str]
    ) -> RecommendAnswer:
        may = allowed.copy()
        may[hidden] = False
        rows = np.flatnonzero(may)
        counts = self.catalogue.popularity.values[rows]
        best = np.lexsort((rows, -counts))[: request.k]
        self._count(rows[best], "popular")
        items = self._listed(rows[best], counts[best].astype(float))
        return RecommendAnswer(items=items, fallback="popular", unknown=unknown)

    def _count(self, rows: np.ndarray, fallback: str | None) -> None:
        self.counters["recommendations"] += 1
        self.counters["listed"] += len(rows)
        self.counters["listed_cold"] += int(self.catalogue.cold.values[rows].sum())
        if fallback:
            self.counters[f"fallback_{fallback}"] += 1

    def _allowed(self, filter: Filter | None) -> np.ndarray:
        """(N,) bool: items that can be listed and pass the filter."""
        alive, mask = self.catalogue.alive.values, self.catalogue.filters.mask(filter)
        if mask is None:
            return alive
        size = min(len(mask), len(alive))
        return mask[:size] & alive[:size]

    def _listed(
        self,
        rows: np.ndarray,
        scores: np.ndarray,
        *,
        query: np.ndarray | None = None,
        history: np.ndarray | None = None,
    ) -> list[RankedItem]:
        whys: Sequence[Why | None] = [None] * len(rows)
        if query is not None and history is not None and len(rows):
            whys = self._why(query, history, rows)
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

    def _why(self, query: np.ndarray, history: np.ndarray, rows: np.ndarray) -> list[Why]:
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

    def _taste(self, query: np.ndarray) -> dict[str, float]:
        """Part -> its share of the spread of a user's scores over the items: how much the part decides."""
        if not self.bundle.parts:
            return {}
        rows = np.linspace(0, self.catalogue.num_bundled - 1, min(1000, self.catalogue.num_bundled)).astype(np.int64)
        parts = self.bundle.scores.match_parts(query[None], self.catalogue.vectors(np.unique(rows)))
        spread = {name: float(parts[name].std()) for name in self.bundle.parts}
        total = sum(spread.values())
        return {name: value / total if total else 0.0 for name, value in spread.items()}

    def _nearest(self, similarity: np.ndarray, row: int, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = min(len(similarity), len(allowed))
        rows = np.flatnonzero(allowed[:size] & np.isfinite(similarity[:size]))
        rows = rows[rows != row]
        if len(rows) > k:
            least = np.partition(-similarity[rows], k - 1)[k - 1]
            rows = rows[-similarity[rows] <= least]
        rows = rows[np.lexsort((rows, -similarity[rows]))][:k]
        return rows, similarity[rows]

    def _about(self, row: int, similar: dict[str, list[RankedItem]]) -> ItemAnswer:
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
            media=["image"] if row in self._thumbnails else [],
            similar=similar,
        )

    def _alive(self, raw_id: str) -> int | None:
        row = self.catalogue.find(raw_id)
        return row if row is not None and self.catalogue.alive.values[row] else None

    def _features(
        self, features: Mapping[str, Sequence[float]] | None, media: Media | None
    ) -> tuple[dict[str, np.ndarray], bytes | None]:
        """Returns modality -> raw features of a request, and a thumbnail."""
        found = {m: np.asarray(values, dtype=np.float32) for m, values in (features or {}).items()}
        self._check(found)
        if media is None or not any(media.model_dump().values()):
            return found, None
        if self._media is None:
            remedy = "put features, or start the service with encoders: medley serve --media"
            raise InputError("media of an item", expected="a service that encodes media", got="none", remedy=remedy)
        files = {name: _decoded(name, getattr(media, name)) for name in ("image", "audio", "video")}
        encoded, thumbnail = self._media.encode(text=media.text, **files)
        if twice := sorted(encoded.keys() & found.keys()):
            raise InputError("item", expected="features or media of a modality", got=f"both of {', '.join(twice)}")
        found |= {m: vector for m, vector in encoded.items() if m in self.bundle.features}
        self._check(found)
        return found, thumbnail

    def _check(self, features: Mapping[str, np.ndarray]) -> None:
        for m, vector in features.items():
            if m not in self.bundle.features:
                raise InputError("modality", expected=" or ".join(self.bundle.features) or "none", got=repr(m))
            dim = self.bundle.features[m].values.shape[1]
            if vector.shape != (dim,) or not np.isfinite(vector).all():
                raise InputError(f"features {m}", expected=f"{dim} finite numbers", got=f"shape {vector.shape}")

    def _put(
        self, raw_id: str, attributes: Mapping[str, Any], features: Mapping[str, np.ndarray], thumbnail: bytes | None
    ) -> int:
        row = self.catalogue.put(raw_id, attributes, features)
        if thumbnail is not None:
            self._thumbnails[row] = thumbnail
        self.ranking.update(row)
        return row

    def _delete(self, row: int) -> None:
        self.catalogue.delete(row)
        self.ranking.update(row)

    def _react(self, event: StoredEvent) -> None:
        """Applies one accepted event."""
        row = self._alive(event.item)
        if row is None:
            return  # deleted since
        liked = event.type not in NEGATIVE
        self.people.add(event.user, row, liked=liked)
        if liked:
            self.catalogue.popularity.values[row] += 1

    def _replay(self, store: Store) -> None:
        """Applies what the store holds: items, then users, then feedback."""
        for item in store.items():
            if not item.deleted:
                self._put(item.item, item.attributes, item.features, item.thumbnail)
            elif (row := self.catalogue.find(item.item)) is not None:
                self._delete(row)
        for user in store.forgotten(self.bundle.users["user_id"]):
            self.people.delete(user)
        for user in store.users():
            rows, _ = self.catalogue.rows(user.history)  # items that a new bundle no longer has are left out
            self.people.put(user.user, rows.tolist(), user.attributes)
        for event in store.feedback():
            self._react(event)


class _Unsaved:
    """A store that forgets everything but the ids of feedback: changes live in memory alone."""

    def __init__(self) -> None:
        self._events: dict[str, StoredEvent] = {}

    def put_item(self, *_: object) -> None: ...
    def delete_item(self, *_: object) -> None: ...
    def put_user(self, *_: object) -> None: ...
    def delete_user(self, *_: object) -> None: ...
    def close(self) -> None: ...

    def add_feedback(self, events: Sequence[StoredEvent]) -> list[Outcome]:
        """Returns what became of each event, as a store does."""
        outcomes: list[Outcome] = []
        for event in events:
            known = self._events.setdefault(event.id, event)
            outcomes.append("new" if known is event else "duplicate" if known == event else "conflict")
        return outcomes


def _decoded(name: str, text: str | None) -> bytes | None:
    """Decodes base64."""
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InputError(f"media {name!r}", expected="base64", got=str(error)) from None


def _cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 12):
        raise InputError("cursor", expected="the cursor of an earlier answer", got=repr(cursor))
    return int(cursor)


def _projected(vectors: np.ndarray) -> np.ndarray:
    """Returns the first two principal components (n, 2) of vectors (n, V), within -1 and 1."""
    if not len(vectors):
        return np.zeros((0, 2))
    centred = np.asarray(vectors, dtype=np.float64) - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    places = np.zeros((len(vectors), 2))
    found = centred @ axes[:, ::-1][:, :2]
    places[:, : found.shape[1]] = found
    return places / max(float(np.abs(places).max()), 1e-12)
