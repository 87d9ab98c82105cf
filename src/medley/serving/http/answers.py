"""Answers as they are documented: the forms of `medley.serving.requests` with a stamp."""

from pydantic import BaseModel, Field

from medley.serving import requests as forms
from medley.serving.http.errors import ErrorDetail


class Stamp(BaseModel):
    """What every answer says about itself."""

    model_version: str = Field(description="sha256 of the bundle that answered")
    request_id: str = Field(description="also the header X-Request-ID")
    took_ms: float = Field(description="milliseconds in this server")


class ModelReply(Stamp, forms.ModelAnswer):
    """The model, stamped."""


class RecommendReply(Stamp, forms.RecommendAnswer):
    """A list, stamped."""


class BatchElement(forms.Form):
    """One answer of a batch: a list or an error."""

    answer: forms.RecommendAnswer | None = None
    error: ErrorDetail | None = None


class BatchAnswer(forms.Form):
    """Answers in the order of the questions."""

    results: list[BatchElement]


class BatchReply(Stamp, BatchAnswer):
    """The answers of a batch, stamped."""


class ScoreReply(Stamp, forms.ScoreAnswer):
    """Scores, stamped."""


class SimilarReply(Stamp, forms.SimilarAnswer):
    """Similar items, stamped."""


class ExplainReply(Stamp, forms.ExplainAnswer):
    """A reason, stamped."""


class ItemReply(Stamp, forms.ItemAnswer):
    """An item, stamped."""


class ItemsReply(Stamp, forms.ItemsAnswer):
    """A page of items, stamped."""


class BulkItem(forms.ItemRequest):
    """One line of a bulk: an item with its id."""

    id: forms.RawId


class BulkElement(forms.Form):
    """What became of one line: an item or an error."""

    line: int = Field(description="from 1")
    id: str | None = None
    item: forms.ItemAnswer | None = None
    error: ErrorDetail | None = None


class BulkAnswer(forms.Form):
    """What became of the lines of a bulk."""

    accepted: int
    results: list[BulkElement]


class BulkReply(Stamp, BulkAnswer):
    """What became of a bulk, stamped."""


class UserReply(Stamp, forms.UserAnswer):
    """A user, stamped."""


class UsersAnswer(forms.Form):
    """Ids of users."""

    users: list[str]


class UsersReply(Stamp, UsersAnswer):
    """Ids of users, stamped."""


class DeletedAnswer(forms.Form):
    """An id that is known no more."""

    deleted: str


class DeletedReply(Stamp, DeletedAnswer):
    """A deletion, stamped."""


class FeedbackReply(Stamp, forms.FeedbackAnswer):
    """What became of feedback, stamped."""


class SwapAnswer(forms.Form):
    """What a reload or a rollback did."""

    result: str = Field(description="swapped, unchanged (the bundle at the path is the live one) or rolled_back")
    model_version: str = Field(description="that is live now")
    previous: str | None = Field(description="that a rollback would bring back")
    seconds: float


class SwapReply(Stamp, SwapAnswer):
    """A swap, stamped."""
