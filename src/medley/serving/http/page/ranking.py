"""Questions that the page asks the service: a list with weights, and where an item lands."""

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from starlette.datastructures import QueryParams

from medley.errors import InputError, NotFoundError, invalid
from medley.serving.requests import ExplainAnswer, RankedItem, RecommendAnswer, RecommendRequest

if TYPE_CHECKING:
    from medley.serving.service import Service

LISTED = 12  # items of a list
COMPARED = 100  # ranks of the plain list that the page compares with
WEIGHT = "w."  # prefix of the fields of the sliders
MAX_WEIGHT = 3.0
ASKED = 24  # users whose lists are looked through for an item
EXPLAINED = 8  # of these, how many are shown with the reason


class Sliders(NamedTuple):
    """What the sliders of a list say."""

    weights: dict[str, float]  # part -> factor, for all parts
    diversity: float
    k: int

    @property
    def changed(self) -> dict[str, float]:
        """Weights that differ from 1."""
        return {part: weight for part, weight in self.weights.items() if weight != 1}

    @property
    def plain(self) -> bool:
        """Whether nothing was moved."""
        return not self.changed and not self.diversity


class Ranked(NamedTuple):
    """A list as the sliders want it, beside the plain list."""

    answer: RecommendAnswer
    before: dict[str, int]  # raw id -> rank in the plain list; empty if the sliders are where they began

    def move(self, item: RankedItem, rank: int) -> int | None:
        """Returns by how many ranks an item rose (fell: negative); None for an item that was not near the top."""
        return self.before[item.id] - rank if item.id in self.before else None


class Landing(NamedTuple):
    """Where an item lands."""

    found: list[ExplainAnswer]  # users near the top of whose lists the item is, the best rank first
    num_users: int  # whose lists were looked through
    depth: int  # of the lists


def read_sliders(query: QueryParams, parts: list[str]) -> Sliders:
    """Reads the sliders from the address of a page.

    Raises:
        InputError: a value is not a number in the range of its slider.
    """
    weights = {part: _number(query, WEIGHT + part, 1.0, MAX_WEIGHT) for part in parts}
    return Sliders(weights, _number(query, "diversity", 0.0, 1.0), int(_number(query, "k", LISTED, COMPARED, low=1)))


def ranked(
    service: "Service", sliders: Sliders, *, user: str | None = None, history: list[str] | None = None
) -> Ranked:
    """Asks for the list of a user or a history, with reasons."""
    request = _request(
        user=user,
        history=history,
        k=sliders.k,
        weights=sliders.changed,
        diversity=sliders.diversity,
        explain=True,
    )
    answer = service.recommend(request)
    if sliders.plain:
        return Ranked(answer, {})
    plain = service.recommend(_request(user=user, history=history, k=COMPARED))
    return Ranked(answer, {item.id: rank for rank, item in enumerate(plain.items, start=1)})


def lands(service: "Service", item: str) -> Landing:
    """Looks for an item near the top of the lists of some users."""
    users, ranks = service.users(k=ASKED), {}
    for user in users:
        try:
            ids = [each.id for each in service.recommend(_request(user=user, k=COMPARED)).items]
        except NotFoundError:  # deleted in the meantime
            continue
        if item in ids:
            ranks[user] = ids.index(item)
    best = sorted(ranks, key=ranks.__getitem__)[:EXPLAINED]
    return Landing([service.explain(user, item) for user in best], len(users), COMPARED)


def _request(**values: Any) -> RecommendRequest:
    try:
        return RecommendRequest(**values)
    except ValidationError as error:
        raise invalid(error, "field") from None


def _number(query: QueryParams, name: str, default: float, high: float, *, low: float = 0.0) -> float:
    text = query.get(name, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise InputError(name, expected=f"a number from {low:g} to {high:g}", got=repr(text[:40]))
    return number
