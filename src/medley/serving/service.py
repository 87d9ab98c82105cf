"""The service: all that is asked of a trained model, without HTTP. API, page and command line call this class.

    bundle        what was learned                      store      what happened since, durable
    catalogue     items, those added since included     people     users, those added since included
    index         search by score                       similarity similar items

Questions are answered here, without a lock; `medley.serving.changes` makes all changes, one writer at a time.

Shapes: B questions, Q and V columns of queries and item vectors, N items with those added since, k results.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from medley.errors import InputError, MedleyError, invalid
from medley.serving.answers import Answers
from medley.serving.bundle import Bundle
from medley.serving.catalogue import Catalogue
from medley.serving.changes import Changes, MediaEncoder
from medley.serving.diversity import num_candidates, rerank
from medley.serving.filters import Filter
from medley.serving.index import Kind
from medley.serving.people import People
from medley.serving.places import places
from medley.serving.ranking import Ranking
from medley.serving.requests import (
    BatchRequest,
    Event,
    ExplainAnswer,
    FeedbackAnswer,
    ItemAnswer,
    ItemPatch,
    ItemRequest,
    ItemsAnswer,
    ModelAnswer,
    RecommendAnswer,
    RecommendRequest,
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

NUM_SIMILAR = 6


class Service:
    """Answers questions about one bundle, and takes changes."""

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
        self.bundle, self.store = bundle, store or Unsaved()
        self.model_version = bundle.manifest.model_version
        self.catalogue = Catalogue(bundle)
        self.people = People(bundle, self.catalogue)
        self.ranking = Ranking(bundle, self.catalogue, kind=index)
        self.similarity = Similarity(bundle, self.catalogue)
        self.counters: Counter[str] = Counter()
        self.answers = Answers(bundle, self.catalogue)
        self.changes = Changes(
            self.store,
            catalogue=self.catalogue,
            people=self.people,
            ranking=self.ranking,
            answers=self.answers,
            media=media,
        )
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
        with ExitStack() as undo:
            media = None if encoder is None else encoder(read)
            if media is not None:
                undo.callback(media.close)
            kept = None if store is None else undo.enter_context(Store(store))
            service = cls(read, store=kept, index=index, media=media)
            undo.pop_all()
        return service

    def close(self) -> None:
        """Closes the store, and ends the processes that decode media."""
        self.store.close()
        if self.changes.media is not None:
            self.changes.media.close()

    # -- questions ------------------------------------------------------------------------------------------------

    def model(self) -> ModelAnswer:
        """Describes the model and its data."""
        return self.answers.model(index=self.ranking.kind, nbytes=self.nbytes)

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
        query, history, disliked, unknown = self.people.asked(request)
        excluded, strangers = self.catalogue.rows(request.exclude)
        unknown += strangers
        hidden = np.unique(np.concatenate([history if request.hide_seen else history[:0], disliked, excluded]))
        allowed = self.catalogue.allowed(request.filter)
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
        query, _, _, unknown = self.people.asked(asked)
        known = {each: row for each in request.items if (row := self.catalogue.find_alive(each)) is not None}
        unknown += [each for each in request.items if each not in known]
        known = {each: row for each, row in known.items() if query is None or self.catalogue.placed.values[row]}
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
        rows, values = self.similarity.nearest(row, by, k, self.catalogue.allowed(filter))
        return SimilarAnswer(items=self.answers.listed(rows, values), by=by)

    def explain(self, user: str, item: str) -> ExplainAnswer:
        """Explains the score of an item for a user: its parts, the user's own items, and the rank without each part.

        Raises:
            NotFoundError: an unknown user or item.
            InputError: an added item that the model cannot score.
        """
        query, row = self.people.query(user), self.catalogue.row(item)
        if not self.catalogue.placed.values[row]:
            got, remedy = f"{item!r}, of which the model makes none", "put features that the bundle has"
            raise InputError("item", expected="an item with a vector", got=got, remedy=remedy)
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
            rows, values = self.similarity.nearest(row, by, NUM_SIMILAR, self.catalogue.allowed(None))
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
        return self.changes.put_item(raw_id, request)

    def put_items(self, requests: Sequence[tuple[str, ItemRequest]]) -> list[ItemAnswer | MedleyError]:
        """Puts several items; an error is the answer of its element."""
        return self.changes.put_items(requests)

    def patch_item(self, raw_id: str, request: ItemPatch) -> ItemAnswer:
        """Changes some attributes or modalities of an item; an attribute that is None is removed.

        Raises:
            NotFoundError: an unknown item.
            InputError: as in `put_item`.
        """
        return self.changes.patch_item(raw_id, request)

    def delete_item(self, raw_id: str) -> None:
        """Stops listing an item.

        Raises:
            NotFoundError: an unknown item.
        """
        self.changes.delete_item(raw_id)

    def put_user(self, raw_id: str, request: UserRequest) -> UserAnswer:
        """Adds a user with a history, or replaces all that is known about one.

        Raises:
            InputError: an unknown item in the history.
        """
        self.changes.put_user(raw_id, request)
        return self.user(raw_id)

    def delete_user(self, raw_id: str) -> None:
        """Forgets a user: history, attributes and feedback. A user who was forgotten before may be deleted again.

        Raises:
            NotFoundError: an unknown user.
            MedleyError: deleted content may still be in the file of the store: delete the user again.
        """
        self.changes.delete_user(raw_id)

    def feedback(self, events: Sequence[Event]) -> FeedbackAnswer:
        """Accepts feedback, which the next question sees. An event with a known id is a duplicate."""
        return self.changes.feedback(events)

    def catch_up(self) -> None:
        """Applies what others have written into the store: for a service that was opened beside another one."""
        self.changes.catch_up()

    # -- inside ---------------------------------------------------------------------------------------------------

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


def _cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 12):
        raise InputError("cursor", expected="the cursor of an earlier answer", got=repr(cursor))
    return int(cursor)
