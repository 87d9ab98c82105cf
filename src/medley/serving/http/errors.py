"""Errors as answers: one form for every status, without traces, paths and names of classes."""

import json
import logging
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from medley.errors import InputError, MissingExtraError, NotFoundError, invalid

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_SHOWN = 200  # characters of a wrong value that an error repeats
KINDS = {"body": "field", "query": "parameter", "path": "part of the path", "header": "header", "cookie": "cookie"}
CODES = {  # of errors that the framework raises
    400: ("bad_request", "the request cannot be read", None),
    404: ("no_route", "no such route", "see /openapi.json"),
    405: ("method_not_allowed", "the route does not take this method", "see the Allow header"),
    415: ("unsupported_media_type", "the type of the body", "send Content-Type: application/json"),
}

log = logging.getLogger("medley.serving.http")


class ErrorDetail(BaseModel):
    """What is wrong, and what to do about it."""

    code: str = Field(description="stable name of the kind of error")
    message: str
    expected: str | None = None
    got: str | None = None
    remedy: str | None = None


class ErrorBody(ErrorDetail):
    """The body of every answer with a status of 400 or more."""

    request_id: str


class ApiError(HTTPException):
    """An error of the HTTP layer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        expected: object = None,
        got: object = None,
        remedy: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(status, message, headers)
        self.body = ErrorDetail(code=code, message=message, expected=_text(expected), got=_text(got), remedy=remedy)


def detail_of(error: Exception) -> tuple[int, ErrorDetail]:
    """Returns status and detail of an error; a stranger's error becomes `internal`, which says nothing about itself."""
    if isinstance(error, ApiError):
        return error.status_code, error.body
    if isinstance(error, HTTPException):
        code, message, remedy = CODES.get(error.status_code, ("http_error", "the request failed", None))
        return error.status_code, ErrorDetail(code=code, message=message, remedy=remedy)
    if isinstance(error, RequestValidationError):
        return 422, _invalid(error)
    if isinstance(error, InputError):
        status, code = (404, "not_found") if isinstance(error, NotFoundError) else (422, "invalid")
        return status, _of_input_error(error, code)
    if isinstance(error, MissingExtraError):
        return 501, ErrorDetail(code="missing_extra", message=str(error))
    return 500, ErrorDetail(
        code="internal",
        message="the server failed to answer",
        remedy="tell the operator the request id, which stands beside the cause in the server's log",
    )


def error_response(error: Exception, request_id: str) -> Response:
    """Returns an error as an answer; internal errors are logged with their trace."""
    status, detail = detail_of(error)
    if status >= 500 and not isinstance(error, HTTPException):
        log.error("request %s failed", request_id, exc_info=error)
    body = ErrorBody(**dict(detail), request_id=request_id)
    headers = dict(getattr(error, "headers", None) or {})
    return Response(body.model_dump_json(), status, headers, "application/json")


def install(app: FastAPI) -> None:
    """Gives an application the form of errors."""
    from medley.serving.http.deps import exchange_of

    async def respond(request: Request, error: Exception) -> Response:
        return error_response(error, exchange_of(request).request_id)

    for kind in (HTTPException, RequestValidationError, InputError, MissingExtraError):
        app.add_exception_handler(kind, respond)


def from_problem(error: "ValidationError", kind: str = "field") -> InputError:
    """Translates an error of pydantic about one element of a body."""
    return invalid(error, kind)


def _invalid(error: RequestValidationError) -> ErrorDetail:
    problem = dict(error.errors()[0])
    place, *rest = problem["loc"]
    if problem["type"] == "json_invalid":
        return ErrorDetail(code="invalid_json", message="the body is not JSON", expected="a JSON document")
    if not rest:
        missing = problem["type"] == "missing"
        expected = "a JSON document of type application/json" if missing else _plain(problem["msg"])
        got = None if missing else _text(problem.get("input"))
        return ErrorDetail(code="invalid", message="the body", expected=expected, got=got)
    problem["loc"] = tuple(rest)
    return _of_input_error(invalid(_OneProblem(problem), KINDS.get(place, place)), "invalid")  # type: ignore[arg-type]


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ")


class _OneProblem:
    """What `medley.errors.invalid` reads of an error of pydantic."""

    def __init__(self, problem: dict[str, Any]):
        self.problem = problem

    def errors(self) -> list[dict[str, Any]]:
        return [self.problem]


def _of_input_error(error: InputError, code: str) -> ErrorDetail:
    """Leaves out the file and the row, which concern the server's disk and not the caller."""
    expected, got = _text(error.expected), _text(error.got)
    return ErrorDetail(
        code=code,
        message=str(InputError(error.what, expected=expected, got=got)),
        expected=expected,
        got=got,
        remedy=error.remedy,
    )


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else _written(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 4] + " ..."


def _written(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
