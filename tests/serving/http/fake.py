"""A small service for tests of the HTTP layer: the contract of `medley.serving.service.Service` over numpy vectors."""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from medley.errors import InputError, NotFoundError, invalid
from medley.serving import requests as forms

DIM = 8


def write_bundle(
    path: Path, *, version: str = "a" * 64, num_users: int = 20, num_items: int = 50, seed: int = 0
) -> Path:
    """Writes what `FakeService.open` reads: a folder with a manifest."""
    path.mkdir(parents=True, exist_ok=True)
    document = {"model_version": version, "num_users": num_users, "num_items": num_items, "seed": seed}
    staged = path / ".manifest.json"
    staged.write_text(json.dumps(document))
    staged.replace(path / "manifest.json")
    return path


@dataclass
class Journal:
    """The store: what happened, in order. Services of one store share it."""

    changes: list[tuple[str, tuple]] = field(default_factory=list)
    events: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class FakeService:
    """Ranks by inner products of random vectors; users are the mean of their history once they have feedback."""

    opened = 0

    def __init__(self, manifest: dict[str, Any], journal: Journal, delay: float = 0.0):
        rng = np.random.default_rng(manifest["seed"])
        self.model_version = manifest["model_version"]
        self.delay, self.journal, self.closed = delay, journal, False
        self.users_, self.items_ = {}, {}
        for row in range(manifest["num_items"]):
            self.items_[f"i{row}"] = (rng.normal(size=DIM), {"title": f"Item {row}", "year": 1990 + row}, False)
        for row in range(manifest["num_users"]):
            self.users_[f"u{row}"] = (rng.normal(size=DIM), [f"i{row}"])
        self.counters: Counter[str] = Counter()
        self.nbytes = {"index": len(self.items_) * DIM * 8}
        self.applied = 0
        self.catch_up()
        FakeService.opened += 1

    @classmethod
    def open(cls, path: Path, journal: Journal, delay: float = 0.0) -> "FakeService":
        """Reads a bundle of `write_bundle`."""
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            return cls(manifest, journal, delay)
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise InputError("not a bundle", file=path, got=repr(error), remedy="export the run again") from None

    def close(self) -> None:
        """Refuses all further calls."""
        self.closed = True

    def catch_up(self) -> None:
        """Applies what other services of the store wrote."""
        with self.journal.lock:
            new = self.journal.changes[self.applied :]
            self.applied = len(self.journal.changes)
        for name, arguments in new:
            getattr(self, f"_{name}")(*arguments)

    def model(self) -> forms.ModelAnswer:
        """Describes the model."""
        self._check()
        counts = {"users": len(self.users_), "items": len(self.items_)}
        return forms.ModelAnswer(
            model_version=self.model_version,
            model="fake",
            recipe={},
            trained_at="2026-01-01T00:00:00+00:00",
            dataset="fake",
            metrics={"recall@20": 0.1},
            modalities={"visual": {"dim": DIM}},
            parts=["visual", "id"],
            counts=counts,
            bytes=self.nbytes,
            index="exact",
        )

    def recommend(self, request: forms.RecommendRequest) -> forms.RecommendAnswer:
        """Ranks items."""
        self._check()
        time.sleep(self.delay)
        unknown = []
        if request.user is not None:
            history = self.users_[request.user][1] if request.user in self.users_ else []
            vector = self.users_[request.user][0] if request.user in self.users_ else None
            unknown = [] if vector is not None else [request.user]
        else:
            asked = request.history if request.history is not None else request.positive or []
            history = [item for item in asked if item in self.items_]
            unknown = [item for item in asked if item not in self.items_]
            vector = np.mean([self.items_[item][0] for item in history], axis=0) if history else None
        for part in request.weights:
            if part not in ("visual", "id"):
                raise InputError("part of the score", expected="visual or id", got=repr(part))
        hidden = {*(history if request.hide_seen else ()), *request.exclude}
        scores = {
            item: float(own @ vector) if vector is not None else 0.0
            for item, (own, _, deleted) in self.items_.items()
            if item not in hidden and not deleted
        }
        best = sorted(scores, key=lambda item: (-scores[item], item))[: request.k]
        fallback = None if vector is not None else "popular"
        self.counters["listed"] += len(best)
        self.counters["fallback_popular"] += fallback is not None
        items = [self._ranked(item, scores[item], explain=request.explain) for item in best]
        return forms.RecommendAnswer(items=items, fallback=fallback, unknown=unknown)

    def batch(self, request: forms.BatchRequest) -> list[forms.RecommendAnswer | InputError]:
        """Answers several questions."""
        found = []
        for each in request.requests:
            try:
                found.append(self.recommend(forms.RecommendRequest.model_validate(each)))
            except ValidationError as error:
                found.append(invalid(error, "field"))
            except InputError as error:
                found.append(error)
        return found

    def score(self, request: forms.ScoreRequest) -> forms.ScoreAnswer:
        """Scores items."""
        vector = self._user(request.user)[0] if request.user else np.ones(DIM)
        scores = [float(self.items_[item][0] @ vector) if item in self.items_ else None for item in request.items]
        items = [forms.ScoredItem(id=item, score=score) for item, score in zip(request.items, scores, strict=True)]
        return forms.ScoreAnswer(items=items, unknown=[item.id for item in items if item.score is None])

    def similar(self, item: str, *, by: str = "all", k: int = 10, filter: object = None) -> forms.SimilarAnswer:
        """Lists similar items."""
        own = self._item(item)[0]
        if by not in ("all", "behaviour", "visual"):
            raise InputError("by", expected="all, behaviour or visual", got=repr(by))
        scores = {other: float(own @ self.items_[other][0]) for other in self.items_ if other != item}
        best = sorted(scores, key=lambda other: -scores[other])[:k]
        return forms.SimilarAnswer(items=[self._ranked(other, scores[other]) for other in best], by=by)

    def explain(self, user: str, item: str) -> forms.ExplainAnswer:
        """Explains a score."""
        score = float(self._user(user)[0] @ self._item(item)[0])
        return forms.ExplainAnswer(user=user, item=item, score=score, rank=1, why=self._why(score), without={"id": 2})

    def items(self, q: str = "", *, cursor: str | None = None, k: int = 50) -> forms.ItemsAnswer:
        """Searches items."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
            raise InputError("cursor", expected="the cursor of an earlier answer", got=repr(cursor))
        found = [
            item for item, (_, about, _) in self.items_.items() if q.lower() in str(about.get("title", item)).lower()
        ]
        start = int(cursor or 0)
        more = str(start + k) if start + k < len(found) else None
        items = [self._ranked(item, 0.0) for item in found[start : start + k]]
        return forms.ItemsAnswer(items=items, cursor=more, total=len(found))

    def item(self, raw_id: str) -> forms.ItemAnswer:
        """Describes an item."""
        _, about, _ = self._item(raw_id)
        rest = {name: value for name, value in about.items() if name != "title"}
        title = about.get("title")
        return forms.ItemAnswer(
            id=raw_id,
            title=None if title is None else str(title),
            attributes=rest,
            cold=raw_id[:1] != "i",
            popularity=0,
            modalities=["visual"],
            missing=[],
        )

    def users(self, q: str = "", *, k: int = 20) -> list[str]:
        """Lists users."""
        return [user for user in self.users_ if user.startswith(q)][:k]

    def user(self, raw_id: str) -> forms.UserAnswer:
        """Describes a user."""
        history = [self._ranked(item, 0.0) for item in self._user(raw_id)[1] if item in self.items_]
        return forms.UserAnswer(id=raw_id, history=history, folded_in=False)

    def thumbnail(self, raw_id: str) -> tuple[bytes, str] | None:
        """Returns a picture of the first item only."""
        self._item(raw_id)
        return (b"\x89PNG", "image/png") if raw_id == "i0" else None

    def put_item(self, raw_id: str, request: forms.ItemRequest) -> forms.ItemAnswer:
        """Adds an item."""
        vector = (request.features or {}).get("visual", [0.0] * DIM)
        if len(vector) != DIM:
            raise InputError("features visual", expected=f"{DIM} finite numbers", got=f"{len(vector)} of them")
        self._write("set_item", raw_id, np.array(vector), dict(request.attributes))
        return self.item(raw_id)

    def put_items(self, requests: list[tuple[str, forms.ItemRequest]]) -> list[forms.ItemAnswer | InputError]:
        """Adds several items."""
        found = []
        for raw_id, request in requests:
            try:
                found.append(self.put_item(raw_id, request))
            except InputError as error:
                found.append(error)
        return found

    def patch_item(self, raw_id: str, request: forms.ItemPatch) -> forms.ItemAnswer:
        """Changes an item."""
        vector, about, _ = self._item(raw_id)
        about = {name: value for name, value in {**about, **request.attributes}.items() if value is not None}
        self._write("set_item", raw_id, vector, about)
        return self.item(raw_id)

    def delete_item(self, raw_id: str) -> None:
        """Deletes an item."""
        self._item(raw_id)
        self._write("drop_item", raw_id)

    def put_user(self, raw_id: str, request: forms.UserRequest) -> forms.UserAnswer:
        """Adds a user."""
        unknown = [item for item in request.history if item not in self.items_]
        if unknown:
            raise InputError("history", expected="known items", got=repr(unknown[0]))
        self._write("set_user", raw_id, list(request.history))
        return self.user(raw_id)

    def delete_user(self, raw_id: str) -> None:
        """Forgets a user."""
        self._user(raw_id)
        self._write("drop_user", raw_id)

    def feedback(self, events: list[forms.Event]) -> forms.FeedbackAnswer:
        """Accepts feedback."""
        accepted = duplicate = 0
        rejected = []
        for at, event in enumerate(events):
            if event.item not in self.items_:
                rejected.append(forms.Rejected(index=at, code="not_found", message=f"item {event.item!r} is not known"))
            elif event.id is not None and event.id in self.journal.events:
                duplicate += 1
            else:
                if event.id is not None:
                    self.journal.events.add(event.id)
                history = self.users_.get(event.user, (None, []))[1]
                self._write("set_user", event.user, [*history, event.item])
                accepted += 1
        return forms.FeedbackAnswer(accepted=accepted, duplicate=duplicate, rejected=rejected)

    def _check(self) -> None:
        assert not self.closed, "the service is closed"

    def _item(self, raw_id: str) -> tuple[np.ndarray, dict, bool]:
        self._check()
        if raw_id not in self.items_ or self.items_[raw_id][2]:
            raise NotFoundError("item", expected="a known id", got=repr(raw_id), remedy="search with GET /v1/items?q=")
        return self.items_[raw_id]

    def _user(self, raw_id: str) -> tuple[np.ndarray, list[str]]:
        self._check()
        if raw_id not in self.users_:
            raise NotFoundError("user", expected="a known id", got=repr(raw_id))
        return self.users_[raw_id]

    def _ranked(self, item: str, score: float, *, explain: bool = False) -> forms.RankedItem:
        about = self.items_[item][1]
        rest = {name: value for name, value in about.items() if name != "title"}
        title = about.get("title")
        why = self._why(score) if explain else None
        return forms.RankedItem(
            id=item, score=score, title=None if title is None else str(title), attributes=rest, why=why
        )

    @staticmethod
    def _why(score: float) -> forms.Why:
        return forms.Why(parts={"id": score}, shares={"id": 1.0 if score >= 0 else -1.0})

    def _write(self, name: str, *arguments: Any) -> None:
        self._check()
        with self.journal.lock:
            self.journal.changes.append((name, arguments))
        self.catch_up()

    def _set_item(self, raw_id: str, vector: np.ndarray, about: dict) -> None:
        self.items_ = {**self.items_, raw_id: (vector, about, False)}

    def _drop_item(self, raw_id: str) -> None:
        if raw_id in self.items_:
            self.items_ = {**self.items_, raw_id: (*self.items_[raw_id][:2], True)}

    def _set_user(self, raw_id: str, history: list[str]) -> None:
        known = [self.items_[item][0] for item in history if item in self.items_]
        vector = np.mean(known, axis=0) if known else np.zeros(DIM)
        self.users_ = {**self.users_, raw_id: (vector, history)}

    def _drop_user(self, raw_id: str) -> None:
        self.users_ = {user: known for user, known in self.users_.items() if user != raw_id}
