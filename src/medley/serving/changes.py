"""What changes in a running service: items and users that come, change and go, and feedback.

Changes are written to the store first, then applied: what a caller was told is never lost. Readers need no lock:
writers publish whole objects, one writer at a time.
"""

import base64
import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from medley.errors import InputError, MedleyError, NotFoundError
from medley.serving.answers import Answers
from medley.serving.catalogue import Catalogue
from medley.serving.people import People
from medley.serving.ranking import Ranking
from medley.serving.records import Event as StoredEvent
from medley.serving.records import StoredItem
from medley.serving.requests import (
    Event,
    FeedbackAnswer,
    ItemAnswer,
    ItemPatch,
    ItemRequest,
    Media,
    Rejected,
    UserRequest,
)
from medley.serving.store import Store
from medley.serving.unsaved import Unsaved

log = logging.getLogger("medley.serving")

NEGATIVE = frozenset({"dislike", "skip", "hide", "report", "unlike"})  # types of feedback that speak against an item


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


class Changes:
    """Changes what a service knows, and remembers it in a store."""

    def __init__(
        self,
        store: Store | Unsaved,
        *,
        catalogue: Catalogue,
        people: People,
        ranking: Ranking,
        answers: Answers,
        media: MediaEncoder | None,
    ):
        """Args:
        store: what happened since the export.
        catalogue: the items, which are changed.
        people: the users, who are changed.
        ranking: is told which items changed.
        answers: describes items; holds their pictures, which are changed.
        media: encodes the media of new items; None: items are put with features.
        """
        self.store, self.catalogue, self.people = store, catalogue, people
        self.ranking, self.answers, self.media = ranking, answers, media
        self.bundle = catalogue.bundle
        self._writing = threading.RLock()
        self._num_changes, self._last_event = 0, 0  # of the store, as far as they are applied

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

    def put_user(self, raw_id: str, request: UserRequest) -> None:
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

    def delete_user(self, raw_id: str) -> None:
        """Forgets a user: history, attributes and feedback. A user who was forgotten before may be deleted again.

        Raises:
            NotFoundError: an unknown user.
            MedleyError: deleted content may still be in the file of the store: delete the user again.
        """
        with self._writing:
            is_known = self.people.is_known(raw_id)
            if not is_known and not self.store.is_forgotten(raw_id):
                raise NotFoundError("user", got=repr(raw_id))
            try:
                self.store.delete_user(raw_id)
            except MedleyError:
                self.catch_up()  # the store may have forgotten the user even so
                raise
            if is_known:
                self.people.delete(raw_id)

    def feedback(self, events: Sequence[Event]) -> FeedbackAnswer:
        """Accepts feedback, which the next question sees. An event with a known id is a duplicate."""
        rejected, known, now = [], [], time.time()
        for at, event in enumerate(events):
            if self.catalogue.find_alive(event.item) is None:
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
                    self._put(item.item, *self._fitting(item), item.thumbnail)
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

    def _fitting(self, item: StoredItem) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Returns the attributes and features of a stored item that this bundle knows; another bundle may know others.

        The store keeps all of them.
        """
        attributes: dict[str, Any] = {}
        for name, value in item.attributes.items():
            with suppress(InputError):
                attributes |= self.catalogue.checked({name: value})
        known = {m: f.values.shape[1] for m, f in self.bundle.features.items()}
        features = {m: f for m, f in item.features.items() if f.shape == (known.get(m),)}
        if left_out := [*(item.attributes.keys() - attributes.keys()), *(item.features.keys() - features.keys())]:
            log.warning("item %r: this bundle does not know its %s", item.item, ", ".join(sorted(left_out)))
        return attributes, features

    def _features(
        self, features: Mapping[str, Sequence[float]] | None, media: Media | None
    ) -> tuple[dict[str, np.ndarray], bytes | None]:
        """Returns modality -> raw features of a request, and a thumbnail."""
        found = {m: np.asarray(values, dtype=np.float32) for m, values in (features or {}).items()}
        self._check(found)
        if media is None or not any(media.model_dump().values()):
            return found, None
        if self.media is None:
            remedy = "put features, or start the service with encoders: medley serve --media"
            raise InputError("media of an item", expected="a service that encodes media", got="none", remedy=remedy)
        files = {name: _decoded(name, getattr(media, name)) for name in ("image", "audio", "video")}
        encoded, thumbnail = self.media.encode(text=media.text, **files)
        if twice := sorted(encoded.keys() & found.keys()):
            raise InputError("item", expected="features or media of a modality", got=f"both of {', '.join(twice)}")
        found |= encoded
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
        picture = self.bundle.thumbnails.get(row) if thumbnail is None else thumbnail
        if picture is None:
            self.answers.thumbnails.pop(row, None)  # of the item before it was replaced
        else:
            self.answers.thumbnails[row] = picture
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
        row = self.catalogue.find_alive(event.item)
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
