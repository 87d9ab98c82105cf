"""Lists, scores and reasons."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from medley.errors import InputError
from medley.serving.http import answers
from medley.serving.http.deps import Ex, Guarded, PathId, needs
from medley.serving.http.errors import detail_of
from medley.serving.requests import (
    BatchRequest,
    Form,
    K,
    RawId,
    RecommendAnswer,
    RecommendRequest,
    ScoreRequest,
)

router = APIRouter(prefix="/v1", tags=["recommend"], route_class=Guarded)


class ModelQuery(Form):
    """No parameters."""


class RecommendQuery(Form):
    """What the short form of a question may say."""

    k: K = 10
    hide_seen: bool = True
    diversity: float = Field(0.0, ge=0, le=1)
    explain: bool = False


class ExplainQuery(Form):
    """A user and an item."""

    user: RawId
    item: RawId


@router.get("/model", response_model=answers.ModelReply, **needs("read"))
async def model(exchange: Ex, _: Annotated[ModelQuery, Query()]) -> Response:
    """Returns what is served: model, data, measured quality, sizes."""
    return exchange.answer(await exchange.read(lambda service: service.model()))


@router.post("/recommend", response_model=answers.RecommendReply, **needs("read"))
async def recommend(exchange: Ex, question: RecommendRequest) -> Response:
    """Returns the best items for a user, a history, or items that are liked."""
    return exchange.answer(await exchange.read(lambda service: service.recommend(question)))


@router.get("/recommend/{user}", response_model=answers.RecommendReply, **needs("read"))
async def recommend_user(exchange: Ex, user: PathId, query: Annotated[RecommendQuery, Query()]) -> Response:
    """Returns the best items for a known user: the short form of POST /v1/recommend."""
    question = RecommendRequest(user=user, **dict(query))
    return exchange.answer(await exchange.read(lambda service: service.recommend(question)))


@router.post("/recommend:batch", response_model=answers.BatchReply, **needs("read"))
async def batch(exchange: Ex, questions: BatchRequest) -> Response:
    """Answers several questions; an error is the answer of its element and does not concern the others."""
    found = await exchange.read(lambda service: service.batch(questions))
    return exchange.answer(answers.BatchAnswer(results=[_element(each) for each in found]))


@router.post("/score", response_model=answers.ScoreReply, **needs("read"))
async def score(exchange: Ex, question: ScoreRequest) -> Response:
    """Returns the scores of given items, in their order."""
    return exchange.answer(await exchange.read(lambda service: service.score(question)))


@router.get("/explain", response_model=answers.ExplainReply, **needs("read"))
async def explain(exchange: Ex, query: Annotated[ExplainQuery, Query()]) -> Response:
    """Says why an item fits a user: parts of the score, items of the history, the rank without each part."""
    return exchange.answer(await exchange.read(lambda service: service.explain(query.user, query.item)))


def _element(found: RecommendAnswer | InputError) -> answers.BatchElement:
    if isinstance(found, Exception):
        return answers.BatchElement(error=detail_of(found)[1])
    return answers.BatchElement(answer=found)
