"""Questions to the service and its answers: one form for Python, HTTP, the command line and the client."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from medley.serving.filters import Filter

MAX_K = 1_000
MAX_HISTORY = 10_000
MAX_SCORED = 10_000
MAX_BATCH = 256
MAX_ID = 512  # characters of a raw id


def _as_text(value: Any) -> Any:
    """Reads whole numbers as ids: 42 and "42" are one id."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


RawId = Annotated[str, BeforeValidator(_as_text), Field(min_length=1, max_length=MAX_ID)]
Ids = Annotated[list[RawId], Field(max_length=MAX_HISTORY)]
K = Annotated[int, Field(ge=1, le=MAX_K)]
Weights = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]],
    Field(description="part of the score (a modality, id, ...) -> factor; parts that are not named have 1"),
]


class Form(BaseModel):
    """A question or an answer; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RecommendRequest(Form):
    """Which items for whom: a known user, a history, or items that are liked and not liked."""

    user: RawId | None = None
    history: Ids | None = Field(None, description="items of a user whom the service does not know, the latest last")
    positive: Ids | None = Field(None, description="more like these items")
    negative: Ids | None = Field(None, description="less like these items, beside positive")
    k: K = 10
    filter: Filter | None = None
    exclude: Ids = Field(default_factory=list, description="items that are not listed")
    hide_seen: bool = Field(True, description="leave out items of the user's history")
    diversity: float = Field(0.0, ge=0, le=1, description="0: by score alone; towards 1: unlike each other (MMR)")
    weights: Weights = Field(default_factory=dict)
    explain: bool = False

    @model_validator(mode="after")
    def _one_who(self) -> "RecommendRequest":
        given = [name for name in ("user", "history", "positive") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one of user, history and positive, got {' and '.join(given) or 'none'}")
        if self.negative is not None and self.positive is None:
            raise ValueError("negative beside positive")
        return self


class BatchRequest(Form):
    """Several questions at once; an error is an answer of its element."""

    requests: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_BATCH)


class ScoreRequest(Form):
    """The scores of given items."""

    user: RawId | None = None
    history: Ids | None = None
    items: list[RawId] = Field(min_length=1, max_length=MAX_SCORED)
    weights: Weights = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_who(self) -> "ScoreRequest":
        if (self.user is None) == (self.history is None):
            raise ValueError("one of user and history")
        return self


class Because(Form):
    """An item of the user's own history that speaks for a recommended item."""

    id: str
    title: str | None = None
    similarity: float


class Why(Form):
    """The reason of a score."""

    parts: dict[str, float] = Field(description="part of the score -> its size; the score is their sum")
    shares: dict[str, float] = Field(description="part / sum of the sizes of all parts, -1 to 1")
    because: list[Because] = Field(default_factory=list)


class RankedItem(Form):
    """One item of a list."""

    id: str
    score: float
    title: str | None = None
    cold: bool = Field(False, description="the item has no interactions: its vector comes from its features")
    attributes: dict[str, Any] = Field(default_factory=dict)
    why: Why | None = None


Fallback = Literal["popular", "features"]


class RecommendAnswer(Form):
    """A list, best first, and what is not as it was asked."""

    items: list[RankedItem]
    fallback: Fallback | None = Field(
        None, description="popular: nothing is known about the user, so the most popular items; features: by content"
    )
    unknown: list[str] = Field(default_factory=list, description="ids of the question that the service does not know")


class ScoredItem(Form):
    """The score of one item; None for an unknown item, and for one of which the model cannot make a vector."""

    id: str
    score: float | None


class ScoreAnswer(Form):
    """Scores in the order of the question."""

    items: list[ScoredItem]
    fallback: Fallback | None = None
    unknown: list[str] = Field(default_factory=list)


class SimilarAnswer(Form):
    """Items similar to one item."""

    items: list[RankedItem]
    by: str


class ExplainAnswer(Form):
    """Why an item fits a user."""

    user: str
    item: str
    score: float
    rank: int = Field(description="among the items that the user has not seen, 1 = best")
    why: Why
    without: dict[str, int] = Field(description="part of the score -> rank of the item without this part")


class Media(Form):
    """Media of an item: text, and files as base64."""

    text: str | None = Field(None, max_length=100_000)
    image: str | None = Field(None, description="base64 of a JPEG, PNG or WebP file")
    audio: str | None = Field(None, description="base64 of a WAV, FLAC, OGG or MP3 file")
    video: str | None = Field(None, description="base64 of an MP4 or WebM file")


class ItemRequest(Form):
    """An item to add or to replace."""

    attributes: dict[str, Any] = Field(default_factory=dict, description="columns of the item table, title among them")
    features: dict[str, list[float]] | None = Field(None, description="modality -> vector, as the encoder gives it")
    media: Media | None = None


class ItemPatch(Form):
    """Changes of an item: attributes that are given replace those that were; None removes one."""

    attributes: dict[str, Any] = Field(default_factory=dict)
    features: dict[str, list[float]] | None = None
    media: Media | None = None


class ItemAnswer(Form):
    """What is known about an item."""

    id: str
    title: str | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)
    cold: bool
    popularity: int = Field(description="number of interactions, feedback included")
    modalities: list[str] = Field(description="modalities that the item has")
    missing: list[str] = Field(description="modalities that the item lacks")
    listed: bool = Field(True, description="False: the model cannot make a vector of it, so it is listed for nobody")
    media: list[str] = Field(default_factory=list, description="media that can be shown: image")
    similar: dict[str, list[RankedItem]] = Field(default_factory=dict, description="by -> nearest items")


class ItemsAnswer(Form):
    """One page of items."""

    items: list[RankedItem]
    cursor: str | None = Field(None, description="of the next page; None on the last page")
    total: int


class UserRequest(Form):
    """A user to add or to replace."""

    history: Ids = Field(default_factory=list)
    attributes: dict[str, Any] = Field(default_factory=dict)


class UserAnswer(Form):
    """What is known about a user."""

    id: str
    attributes: dict[str, Any] = Field(default_factory=dict)
    history: list[RankedItem] = Field(description="items that the user has seen, the latest first")
    folded_in: bool = Field(description="the vector was made from the history by this service, not by training")
    weights: dict[str, float] = Field(
        default_factory=dict, description="part of the score -> share of the user's taste"
    )


class Event(Form):
    """One piece of feedback."""

    user: RawId
    item: RawId
    type: str = Field(
        "click",
        min_length=1,
        max_length=64,
        description="click, play, purchase, ...; dislike, skip, hide, report, unlike: negative",
    )
    time: float | None = Field(
        None, ge=0, lt=253_402_300_800, description="seconds since 1970; now if left out", allow_inf_nan=False
    )
    id: str | None = Field(
        None, min_length=1, max_length=MAX_ID, description="an event with a known id is not counted again"
    )


class Rejected(Form):
    """Feedback that was not accepted."""

    index: int
    code: str
    message: str


class FeedbackAnswer(Form):
    """What became of feedback."""

    accepted: int
    duplicate: int
    rejected: list[Rejected] = Field(default_factory=list)


class ModelAnswer(Form):
    """The model and its data."""

    model_version: str
    model: str
    recipe: dict[str, Any]
    trained_at: str
    dataset: str
    fingerprint: str | None = Field(None, description="of the protocol under which the metrics were measured")
    metrics: dict[str, float]
    modalities: dict[str, dict[str, Any]] = Field(description="modality -> dimensions, origin, share of the items")
    parts: list[str] = Field(description="parts of the score that weights may name")
    counts: dict[str, int]
    bytes: dict[str, int] = Field(description="table -> bytes in memory")
    index: str
