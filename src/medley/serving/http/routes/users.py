"""Users: their histories, and forgetting them."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from medley.serving.http import answers
from medley.serving.http.deps import Ex, Guarded, PathId, needs
from medley.serving.requests import Form, K, UserRequest

router = APIRouter(prefix="/v1/users", tags=["users"], route_class=Guarded)


class UsersQuery(Form):
    """A search."""

    q: str = Field("", max_length=512, description="the beginning of an id")
    k: K = 20


class NoQuery(Form):
    """No parameters."""


@router.get("", response_model=answers.UsersReply, **needs("read"))
async def users(exchange: Ex, query: Annotated[UsersQuery, Query()]) -> Response:
    """Returns ids of users that begin with a text."""
    found = await exchange.read(lambda service: service.users(query.q, k=query.k))
    return exchange.answer(answers.UsersAnswer(users=found))


@router.get("/{user}", response_model=answers.UserReply, **needs("read"))
async def user(exchange: Ex, user: PathId, _: Annotated[NoQuery, Query()]) -> Response:
    """Returns what is known about a user."""
    return exchange.answer(await exchange.read(lambda service: service.user(user)))


@router.put("/{user}", response_model=answers.UserReply, **needs("write"))
async def put_user(exchange: Ex, user: PathId, request: UserRequest) -> Response:
    """Adds a user with a history, or replaces one; the vector is made from the history."""
    return exchange.answer(await exchange.write(lambda service: service.put_user(user, request)))


@router.delete("/{user}", response_model=answers.DeletedReply, **needs("write"))
async def delete_user(exchange: Ex, user: PathId) -> Response:
    """Forgets everything about a user, feedback included."""
    await exchange.write(lambda service: service.delete_user(user))
    return exchange.answer(answers.DeletedAnswer(deleted=user))
