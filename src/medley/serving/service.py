"""The service: all that is asked of a trained model, without HTTP. API, page and command line call this class.

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from pydantic import ValidationError

from medley.errors import InputError, MedleyError, invalid
from medley.serving.answers import Answers
from medley.serving.bundle import Bundle
from medley.serving.catalogue import Catalogue
from medley.serving.diversity import num_candidates, rerank
from medley.serving.filters import Filter
from medley.serving.index import Kind
from medley.serving.people import People
from medley.serving.places import places
from medley.serving.ranking import Ranking
from medley.serving.records import Event as StoredEvent
from medley.serving.requests import (
    BatchRequest,
    Event,
    ExplainAnswer,
    FeedbackAnswer,
    ItemAnswer,
    ItemPatch,
    ItemRequest,
    ItemsAnswer,
    Media,
    ModelAnswer,
    RecommendAnswer,
    RecommendRequest,
    Rejected,
    ScoreAnswer,
    ScoredItem,
    ScoreRequest,
    SimilarAnswer,
    UserAnswer,
    UserRequest,
)
from medley.serving.similarity import ALL, Similarity
from medley.serving.store import Store
from medley.serving.unsaved import Unsaved

NEGATIVE = frozenset({"dislike", "skip", "hide", "report", "unlike"})  # types of feedback that speak against an item
NUM_SIMILAR = 6


class _Who(NamedTuple):
    query: np.ndarray | None  # (Q,); None if nothing is known
    history: np.ndarray  # (n,) item rows
    disliked: np.ndarray  # (m,) item rows, which are never listed
    unknown: list[str]  # ids that the service does not know


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
        index: Kind | None = None,
        media: MediaEncoder | None = None,
    ):
        """Args:
        bundle: the trained model.
        store: what happened since, which is applied now; None keeps changes in memory alone.
        index: exact, hnsw, ivf or qdrant, for scores that are inner products; by default by the size of the catalogue.
        media: encodes the media of new items; None: items are put with features.
        """
        self.bundle, self.store, self._media = bundle, store or Unsaved(), media
        self.model_version = bundle.manifest.model_version
        self.catalogue = Catalogue(bundle)
        self.people = People(bundle, self.catalogue)
        self.ranking = Ranking(bundle, self.catalogue, kind=index)
        self.similarity = Similarity(bundle, self.catalogue)
        self.counters: Counter[str] = Counter()
        self.answers = Answers(bundle, self.catalogue)
        self._writing = threading.RLock()
        self._num_changes, self._last_event = 0, 0  # of the store, as far as they are applied
        self.catch_up()

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        *,
        store: str | Path | None = None,
        index: Kind | None = None,
        encoder: Callable[[Bundle], MediaEncoder | None] | None = None,
        verify: bool = True,
    ) -> "Service":
        """Opens a bundle, and the store beside it.

        Args:
            bundle: of the model.
            store: file of what happened since; it is made if it does not exist.
            index: as in the constructor.
            encoder: makes what encodes the media of new items.
            verify: compare the hashes of the bundle's files.

        Raises:
            InputError: not a bundle, a damaged one, or a damaged store.
        """
        read = Bundle.read(bundle, verify=verify)
        media = None if encoder is None else encoder(read)
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
        query, history, disliked, unknown = self._who(request)
        excluded, strangers = self.catalogue.rows(request.exclude)
        unknown += strangers
        hidden = np.unique(np.concatenate([history if request.hide_seen else history[:0], disliked, excluded]))
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
        items = self.answers.listed(rows, scores, query=query if request.explain else None, history=history)
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
        return SimilarAnswer(items=self.answers.listed(rows, values), by=by)

    def explain(self, user: str, item: str) -> ExplainAnswer:
        """Explains the score of an item for a user: its parts, the user's own items, and the rank without each part.

        Raises:
            NotFoundError: an unknown user or item.
        """
        query, row = self.people.query(user), self.catalogue.row(item)
        history, hidden = self.people.history(user), self.people.hidden(user)
        why = self.answers.why(query, history, np.array([row]))[0]
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
        return ItemsAnswer(items=self.answers.listed(page, values), cursor=more, total=len(rows))

    def item(self, raw_id: str) -> ItemAnswer:
        """Describes an item, with its nearest items by all that can be compared.

        Raises:
            NotFoundError: an unknown item.
        """
        row = self.catalogue.row(raw_id)
        similar = {}
        for by in self.similarity.available(row):
            rows, values = self._nearest(self.similarity.to(row, by), row, NUM_SIMILAR, self._allowed(None))
            similar[by] = self.answers.listed(rows, values)
        return self.answers.about(row, similar)

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
            history=self.answers.listed(shown, values),
            folded_in=self.people.is_folded_in(raw_id),
            weights=self.answers.taste(query),
        )

    def places(self) -> list[dict[str, Any]]:
        """Returns the map of the catalogue: id, title, x and y in -1..1, popularity and cold, of popular items."""
        return places(self.catalogue, self.ranking)

    def thumbnail(self, raw_id: str) -> tuple[bytes, str] | None:
        """Returns a small picture of an item and its media type, if there is one.

        Raises:
            NotFoundError: an unknown item.
        """
        row = self.catalogue.row(raw_id)
        picture = self.answers.thumbnails.get(row)
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
            return self.answers.about(self._put(raw_id, attributes, features, thumbnail), {})

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
            thumbnail = thumbnail or self.answers.thumbnails.get(row)
            self.store.put_item(raw_id, attributes, features, thumbnail)
            return self.answers.about(self._put(raw_id, attributes, features, thumbnail), {})

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
        """Accepts feedback, which the next question sees. An event with a known id is a duplicate."""
        rejected, known, now = [], [], time.time()
        for at, event in enumerate(events):
            if self._alive(event.item) is None:
                rejected.append(Rejected(index=at, code="not_found", message=f"item {event.item!r} is not known"))
                continue
            moment, number = now if event.time is None else event.time, event.id or uuid.uuid4().hex
            known.append((at, StoredEvent(number, event.user, event.item, event.type, moment)))
        with self._writing:
            outcomes = self.store.add_feedback([event for _, event in known])
            self._hear()
        for (at, event), outcome in zip(known, outcomes, strict=True):
            if outcome == "conflict":
                rejected.append(Rejected(index=at, code="conflict", message=f"id {event.id!r} is of another event"))
        accepted, duplicate = outcomes.count("new"), outcomes.count("duplicate")
        rejected.sort(key=lambda each: each.index)
        return FeedbackAnswer(accepted=accepted, duplicate=duplicate, rejected=rejected)

    def catch_up(self) -> None:
        """Applies what others have written into the store: for a service that was opened beside another one."""
        if isinstance(self.store, Unsaved):
            return
        with self._writing:
            since, self._num_changes = self._num_changes, self.store.num_changes()
            for item in self.store.items(since=since):
                if not item.deleted:
                    self._put(item.item, item.attributes, item.features, item.thumbnail)
                elif (row := self.catalogue.find(item.item)) is not None:
                    self._delete(row)
            for user in self.store.forgotten(self.people.ids(), since=since):
                self.people.delete(user)
                for event in self.store.feedback_of(user):  # of somebody who came back under the same id
                    self._react(event, counted=True)
            for user in self.store.users(since=since):
                rows, _ = self.catalogue.rows(user.history)  # items that a new bundle no longer has are left out
                self.people.put(user.user, rows.tolist(), user.attributes)
            self._hear()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _who(self, request: RecommendRequest) -> _Who:
        """Returns what is known about the user of a question."""
        nothing = np.zeros(0, dtype=np.int64)
        if request.user is not None:
            if not self.people.is_known(request.user):
                return _Who(None, nothing, nothing, [request.user])
            history, disliked = self.people.history(request.user), self.people.disliked(request.user)
            is_blank = not len(history) and not len(disliked)
            return _Who(None if is_blank else self.people.query(request.user), history, disliked, [])
        liked, unknown = self.catalogue.rows(request.history if request.history is not None else request.positive or [])
        disliked, strangers = self.catalogue.rows(request.negative or [])
        disliked = np.setdiff1d(disliked, liked)
        if not len(liked):
            return _Who(None, nothing, disliked, [*unknown, *strangers])
        ages = None if request.positive is None else np.zeros(len(liked))  # examples have no order
        query = self.people.fold_in(liked.tolist(), disliked.tolist(), ages=ages)
        return _Who(query, liked, disliked, [*unknown, *strangers])

    def _popular(
        self, request: RecommendRequest, allowed: np.ndarray, hidden: np.ndarray, unknown: list[str]
    ) -> RecommendAnswer:
        may = allowed.copy()
        may[hidden] = False
        rows = np.flatnonzero(may)
        counts = self.catalogue.popularity.values[rows]
        best = np.lexsort((rows, -counts))[: request.k]
        self._count(rows[best], "popular")
        items = self.answers.listed(rows[best], counts[best].astype(float))
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

    def _nearest(self, similarity: np.ndarray, row: int, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = min(len(similarity), len(allowed))
        rows = np.flatnonzero(allowed[:size] & np.isfinite(similarity[:size]))
        rows = rows[rows != row]
        if len(rows) > k:
            least = np.partition(-similarity[rows], k - 1)[k - 1]
            rows = rows[-similarity[rows] <= least]
        rows = rows[np.lexsort((rows, -similarity[rows]))][:k]
        return rows, similarity[rows]

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
            self.answers.thumbnails[row] = thumbnail
        self.ranking.update(row)
        return row

    def _delete(self, row: int) -> None:
        self.catalogue.delete(row)
        self.ranking.update(row)

    def _hear(self) -> None:
        """Applies the feedback in the store that is not yet applied, each event once."""
        for number, event in self.store.feedback(since=self._last_event):
            self._react(event)
            self._last_event = number

    def _react(self, event: StoredEvent, *, counted: bool = False) -> None:
        """Applies one event; one that is counted already changes no popularity."""
        row = self._alive(event.item)
        if row is None:
            return  # deleted since
        liked = event.type not in NEGATIVE
        self.people.add(event.user, row, liked=liked)
        if liked and not counted:
            self.catalogue.popularity.values[row] += 1


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
