"""The users who are served now: those of the bundle, with what they did since, and new users with a history.

    a user of the bundle            the vector that was learned
    ... with feedback since         the learned vector + fold_in(history with it) - fold_in(history without it)
    a new user, or a put history    fold_in(history)

An item that a user dislikes, also one that the model learned from, leaves the history; a fold-in that knows dislikes
counts it with a minus.

Shapes: n and m items, Q columns of queries.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from medley.errors import NotFoundError
from medley.serving.ages import by_place
from medley.serving.bundle import Bundle
from medley.serving.catalogue import Catalogue
from medley.serving.requests import RecommendRequest
from medley.serving.scores import Vectors
from medley.serving.seen import DISLIKED, TEST, TRAIN, VALID

SEEN = (TRAIN, VALID, TEST)
REMEDY = "PUT /v1/users/{id} with a history, or post feedback"


@dataclass
class Person:
    """A user with changes since the export. Replaced at every change, so a reader who has one sees one state."""

    learned: int | None  # row in the bundle, if the learned vector is used
    given: list[int] = field(default_factory=list)  # item rows of the history that was put, in place of the learned one
    liked: list[int] = field(default_factory=list)  # item rows, the latest last, by feedback since
    disliked: set[int] = field(default_factory=set)
    attributes: dict[str, Any] = field(default_factory=dict)
    query: np.ndarray | None = None  # (Q,), until something changes


class Asked(NamedTuple):
    """What is known about the user of a question."""

    query: np.ndarray | None  # (Q,); None if nothing is known
    history: np.ndarray  # (n,) item rows
    disliked: np.ndarray  # (m,) item rows, which are never listed
    unknown: list[str]  # ids that the service does not know


class People:
    """Histories and vectors of all users. Not locked: the service lets one thread write at a time."""

    def __init__(self, bundle: Bundle, catalogue: Catalogue):
        self.bundle, self.catalogue = bundle, catalogue
        self._people: dict[str, Person] = {}
        self._forgotten: set[str] = set()  # users of the bundle who were deleted

    def is_known(self, user: str) -> bool:
        """Returns whether anything is known about a user."""
        return user in self._people or self._learned_row(user) is not None

    def is_folded_in(self, user: str) -> bool:
        """Returns whether the vector of a user was made from a history, in whole or in part."""
        person = self._people.get(user)
        return person is not None and (person.learned is None or bool(person.liked or person.disliked))

    def history(self, user: str) -> np.ndarray:
        """Returns the item rows (n,) that a user has seen, the latest last, in the bundle by row.

        Raises:
            NotFoundError: nothing is known about the user.
        """
        person = self._person(user)
        return np.array([*self._before(person), *person.liked], dtype=np.int64)

    def hidden(self, user: str) -> np.ndarray:
        """Returns the item rows that are not listed: seen or disliked."""
        return np.union1d(self.history(user), self.disliked(user))

    def disliked(self, user: str) -> np.ndarray:
        """Returns the item rows that a user does not like, ascending: they are never listed."""
        person = self._person(user)
        return np.unique([*self._bundled(person.learned, (DISLIKED,)), *person.disliked]).astype(np.int64)

    def attributes(self, user: str) -> dict[str, Any]:
        """Returns the metadata of a user."""
        person = self._person(user)
        if person.learned is None:
            return dict(person.attributes)
        cells = self.bundle.users.row(person.learned, named=True)
        known = {name: value for name, value in cells.items() if name != "user_id" and value is not None}
        return known | person.attributes

    def query(self, user: str) -> np.ndarray:
        """Returns the query (Q,) of a user.

        Raises:
            NotFoundError: nothing is known about the user.
        """
        person = self._person(user)
        if person.query is None:
            person.query = self._query(person)
        return person.query

    def fold_in(
        self, liked: Sequence[int], disliked: Collection[int] = (), *, ages: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns the query (Q,) of a history of item rows, items added since the export included.

        Args:
            liked: (n,), the latest last.
            disliked: their order does not matter; each weighs as much as the latest liked item, with a minus.
            ages: (n,), of the liked items, where the place in the list does not say it.
        """
        rule, scores = self.bundle.fold_in_rule, self.bundle.scores
        rows = np.array([*liked, *disliked], dtype=np.int64)
        ages = by_place(len(liked)) if ages is None else ages
        weights = np.concatenate([rule.weights_of(ages), -rule.weights_of(np.zeros(len(disliked)))])
        counts = self._counts(rows)
        if isinstance(scores, Vectors):
            counts &= weights != 0  # of a long history, the latest items may decide
            rows, weights = rows[counts], weights[counts]
            return rule.of_vectors(self.catalogue.vectors(rows), weights, rows, self.catalogue.own_lengths(rows))
        if self.bundle.kind == "concepts":  # dislikes have no place in this model
            counts &= weights > 0
        return rule(scores, rows[counts], weights[counts])

    def asked(self, request: RecommendRequest) -> Asked:
        """Returns what is known about the user of a question."""
        nothing = np.zeros(0, dtype=np.int64)
        if request.user is not None:
            if not self.is_known(request.user):
                return Asked(None, nothing, nothing, [request.user])
            history, disliked = self.history(request.user), self.disliked(request.user)
            is_blank = not self._counts(np.concatenate([history, disliked])).any()
            return Asked(None if is_blank else self.query(request.user), history, disliked, [])
        liked, unknown = self.catalogue.rows(request.history if request.history is not None else request.positive or [])
        disliked, strangers = self.catalogue.rows(request.negative or [])
        disliked = np.setdiff1d(disliked, liked)
        if not self._counts(liked).any():
            return Asked(None, liked, disliked, [*unknown, *strangers])
        ages = None if request.positive is None else np.zeros(len(liked))  # examples have no order
        query = self.fold_in(liked.tolist(), disliked.tolist(), ages=ages)
        return Asked(query, liked, disliked, [*unknown, *strangers])

    def put(self, user: str, history: Iterable[int], attributes: Mapping[str, Any]) -> None:
        """Adds a user with a history, or replaces the history that one begins with; feedback stays."""
        known = self._people.get(user) or Person(None)
        given = list(dict.fromkeys(history))
        liked = [row for row in known.liked if row not in given]
        self._people[user] = Person(None, given, liked, known.disliked, dict(attributes))

    def add(self, user: str, item: int, *, liked: bool) -> None:
        """Adds an item to the history of a user, known or new."""
        known = self._people.get(user) or Person(self._learned_row(user))
        if not liked:
            now, disliked = [row for row in known.liked if row != item], known.disliked | {item}
        else:
            is_new = item not in known.liked and item not in self._before(known)
            now, disliked = [*known.liked, *([item] if is_new else [])], known.disliked - {item}
        self._people[user] = Person(known.learned, known.given, now, disliked, known.attributes)

    def delete(self, user: str) -> None:
        """Forgets a user.

        Raises:
            NotFoundError: nothing is known about the user.
        """
        if not self.is_known(user):
            raise NotFoundError("user", got=repr(user))
        self._people.pop(user, None)
        self._forgotten.add(user)

    def ids(self) -> list[str]:
        """Returns the ids of all users about whom anything is known."""
        bundled = (each for each in self.bundle.users["user_id"] if each not in self._forgotten)
        return list(dict.fromkeys([*self._people, *bundled]))

    def beginning(self, text: str, k: int) -> list[str]:
        """Returns up to k ids that begin with a text."""
        ids = self.bundle.users["user_id"]
        found = [each for each in list(self._people) if each.startswith(text)]
        bundled = ids.filter(ids.str.starts_with(text)).head(k + len(self._forgotten)).to_list()
        return list(dict.fromkeys([*found, *(each for each in bundled if each not in self._forgotten)]))[:k]

    def _counts(self, rows: np.ndarray) -> np.ndarray:
        """Returns (n,) bool, which items of a history a fold-in reads: those with a vector, or those of the bundle."""
        if isinstance(self.bundle.scores, Vectors):
            return self.catalogue.placed.values[rows]
        return rows < self.catalogue.num_bundled

    def _person(self, user: str) -> Person:
        person = self._people.get(user)
        if person is not None:
            return person
        learned = self._learned_row(user)
        if learned is None:
            raise NotFoundError("user", got=repr(user), remedy=REMEDY)
        return Person(learned)

    def _learned_row(self, user: str) -> int | None:
        return None if user in self._forgotten else self.bundle.user_ids.find(user)

    def _bundled(self, learned: int | None, codes: tuple[int, ...] = SEEN) -> list[int]:
        return [] if learned is None else self.bundle.history(learned, codes).tolist()

    def _before(self, person: Person) -> list[int]:
        """Returns the history that feedback is added to."""
        return person.given if person.learned is None else self._bundled(person.learned)

    def _query(self, person: Person) -> np.ndarray:
        if person.learned is None:
            liked = [row for row in (*person.given, *person.liked) if row not in person.disliked]
            return self.fold_in(liked, person.disliked)
        learned = self.bundle.scores.queries(np.array([person.learned]))[0]
        if not person.liked and not person.disliked:
            return learned
        before, ages = self.bundle.history(person.learned), self.bundle.ages(person.learned)
        gone = np.isin(before, list(person.disliked))
        left = ages[~gone] - (ages[gone] < ages[~gone, None]).sum(axis=1)  # an item that is gone ages no other
        since = np.concatenate([left + len(person.liked), by_place(len(person.liked))])
        after = self.fold_in([*before[~gone].tolist(), *person.liked], person.disliked, ages=since)
        return learned + after - self.fold_in(before.tolist(), ages=ages)
