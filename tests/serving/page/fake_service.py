"""A small service with planted tastes, which keeps the contract of `medley.serving.service.Service`.

12 users and 24 items. An item has one of three kinds per modality, and its vector is one-hot; user u loves one kind of
one modality: users 0 to 3 by look, 4 to 7 by sound, 8 to 11 by words.
"""

import base64
import binascii
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from medley.errors import InputError, NotFoundError
from medley.serving import requests as forms

MODALITIES = ("visual", "acoustic", "textual")
WORDS = ("beach", "kitchen", "forest")
COLOURS = ("red", "green", "blue")
HOSTILE = "<script>alert('x')</script>\"&"  # in a title: must be escaped everywhere


class FakeService:
    """Answers from dense tables."""

    model_version = "fake"

    def __init__(self):
        rng = np.random.default_rng(3)
        kinds = rng.integers(3, size=(24, 3))
        self.titles = {f"i{n}": f"{COLOURS[kind[0]]} {WORDS[kind[2]]} {n}" for n, kind in enumerate(kinds)}
        self.titles["i5"] = HOSTILE
        self.vectors = {
            f"i{n}": np.concatenate([np.eye(3)[k] for k in kind]) + 0.01 * rng.random(9) for n, kind in enumerate(kinds)
        }
        self.popularity = {f"i{n}": int(40 / (n + 1)) for n in range(24)}
        self.missing = {"i7": ["acoustic"]}
        self.pictures: dict[str, bytes] = {}
        self.tastes, self.seen = {}, {}
        for n in range(12):
            taste = 0.15 * rng.random(9)
            taste[3 * (n // 4) + n % 3] = 1.0
            self.tastes[f"u{n}"] = taste
            best = sorted(self.vectors, key=lambda id: -float(self.vectors[id] @ taste))
            self.seen[f"u{n}"] = best[:3]
        self.questions: list[forms.RecommendRequest] = []

    def model(self) -> forms.ModelAnswer:
        return forms.ModelAnswer(
            model_version="fake", model="VBPR", recipe={"model": "vbpr", "options": {"dim": 64}}, index="exact",
            trained_at="2025-07-01", dataset="planted", fingerprint="abc", metrics={"recall@20": 0.5},
            parts=list(MODALITIES), modalities={m: {"dim": 3, "made_by": None} for m in MODALITIES},
            counts={"users": 12, "items": 24}, bytes={"items": 2**20},
        )  # fmt: skip

    def users(self, q: str = "", *, k: int = 20) -> list[str]:
        return [user for user in self.tastes if user.startswith(q)][:k]

    def items(self, q: str = "", *, cursor: str | None = None, k: int = 50) -> forms.ItemsAnswer:
        found = [id for id, title in self.titles.items() if q.lower() in title.lower() or q == id]
        start = int(cursor or 0)
        following = str(start + k) if start + k < len(found) else None
        return forms.ItemsAnswer(
            items=[self._ranked(i) for i in found[start : start + k]], cursor=following, total=len(found)
        )

    def item(self, raw_id: str) -> forms.ItemAnswer:
        self._known(raw_id)
        missing = self.missing.get(raw_id, [])
        return forms.ItemAnswer(
            id=raw_id, title=self.titles[raw_id], attributes=self._attributes(raw_id), missing=missing,
            cold=not self.popularity[raw_id], popularity=self.popularity[raw_id],
            modalities=[m for m in MODALITIES if m not in missing], similar=self._similar(raw_id, missing),
        )  # fmt: skip

    def user(self, raw_id: str) -> forms.UserAnswer:
        if raw_id not in self.tastes:
            raise NotFoundError(f"user {raw_id!r}", remedy="search for a user")
        sizes = self.tastes[raw_id].reshape(3, 3).sum(axis=1)
        weights = dict(zip(MODALITIES, (sizes / sizes.sum()).tolist(), strict=True))
        return forms.UserAnswer(
            id=raw_id, history=[self._ranked(i) for i in self.seen[raw_id]], folded_in=False, weights=weights
        )

    def recommend(self, request: forms.RecommendRequest) -> forms.RecommendAnswer:
        self.questions.append(request)
        taste, seen = self._taste(request)
        factors = np.repeat([request.weights.get(m, 1.0) for m in MODALITIES], 3)
        scored = {id: factors * taste * vector for id, vector in self.vectors.items() if id not in seen}
        order = sorted(scored, key=lambda id: (-scored[id].sum(), id))[: request.k]
        if request.diversity == 1:
            order = order[::-1]
        why = {id: self._why(scored[id], seen) if request.explain else None for id in order}
        return forms.RecommendAnswer(items=[self._ranked(id, float(scored[id].sum()), why[id]) for id in order])

    def explain(self, user: str, item: str) -> forms.ExplainAnswer:
        self._known(item)
        taste, seen = self._taste(forms.RecommendRequest(user=user))
        products = {id: taste * vector for id, vector in self.vectors.items() if id not in seen or id == item}

        def rank(keep: np.ndarray) -> int:
            return 1 + sum(bool(p @ keep > products[item] @ keep) for p in products.values())

        without = {m: rank(np.repeat(np.arange(3) != n, 3)) for n, m in enumerate(MODALITIES)}
        return forms.ExplainAnswer(
            user=user, item=item, score=float(products[item].sum()), rank=rank(np.ones(9)),
            why=self._why(products[item], seen), without=without,
        )  # fmt: skip

    def put_item(self, raw_id: str, request: forms.ItemRequest) -> forms.ItemAnswer:
        vector = np.zeros((3, 3))
        media = request.media or forms.Media()
        for n, word in enumerate(WORDS):
            vector[2, n] = word in (media.text or "")
        if media.image:
            try:
                content = base64.b64decode(media.image, validate=True)
                pixel = Image.open(io.BytesIO(content)).convert("RGB").resize((1, 1)).getpixel((0, 0))
            except (binascii.Error, UnidentifiedImageError):
                raise InputError("image", expected="a JPEG, PNG or WebP file", got="something else") from None
            vector[0, int(np.argmax(pixel))] = 1
            self.pictures[raw_id] = content
        self.titles[raw_id] = request.attributes.get("title", raw_id)
        self.vectors[raw_id], self.popularity[raw_id] = 1.1 * vector.ravel(), 0
        self.missing[raw_id] = [m for n, m in enumerate(MODALITIES) if not vector[n].any()]
        return self.item(raw_id)

    def add(self, id: str, title: str) -> None:
        """Adds an item with interactions that is like item i1."""
        self.titles[id], self.vectors[id], self.popularity[id] = title, self.vectors["i1"], 3

    def places(self) -> list[dict]:
        return [
            {"id": id, "title": self.titles[id], "popularity": self.popularity[id], "cold": not self.popularity[id],
             "x": float(v[:3] @ [0, 1, 2] + v[3]), "y": float(v[6:] @ [0, 1, 2] + v[4])}
            for id, v in self.vectors.items()
        ]  # fmt: skip

    def thumbnail(self, raw_id: str) -> tuple[bytes, str] | None:
        return (self.pictures[raw_id], "image/png") if raw_id in self.pictures else None

    def _similar(self, item: str, missing: list[str]) -> dict[str, list[forms.RankedItem]]:
        columns = {m: slice(3 * n, 3 * n + 3) for n, m in enumerate(MODALITIES) if m not in missing}
        columns |= {"all": slice(9)} | ({"behaviour": slice(9)} if self.popularity[item] else {})
        found = {}
        for by, part in columns.items():
            scores = {id: float(self.vectors[item][part] @ v[part]) for id, v in self.vectors.items() if id != item}
            found[by] = [self._ranked(id, scores[id]) for id in sorted(scores, key=lambda id: -scores[id])[:6]]
        return found

    def _taste(self, request: forms.RecommendRequest) -> tuple[np.ndarray, list[str]]:
        if request.user is not None:
            self.user(request.user)
            return self.tastes[request.user], self.seen[request.user]
        history = request.history or []
        return np.mean([self.vectors[id] for id in history], axis=0), history

    def _why(self, product: np.ndarray, seen: list[str]) -> forms.Why:
        parts = dict(zip(MODALITIES, product.reshape(3, 3).sum(axis=1).tolist(), strict=True))
        total = sum(map(abs, parts.values())) or 1
        because = [forms.Because(id=id, title=self.titles[id], similarity=0.5) for id in seen[:2]]
        return forms.Why(parts=parts, shares={m: value / total for m, value in parts.items()}, because=because)

    def _ranked(self, id: str, score: float = 0.0, why: forms.Why | None = None) -> forms.RankedItem:
        return forms.RankedItem(
            id=id,
            score=score,
            title=self.titles[id],
            cold=not self.popularity[id],
            attributes=self._attributes(id),
            why=why,
        )

    def _attributes(self, id: str) -> dict:
        return {"year": 2000 + len(id), "tags": ["a", "b"]}

    def _known(self, id: str) -> None:
        if id not in self.vectors:
            raise NotFoundError(f"item {id!r}", remedy="search for an item")
