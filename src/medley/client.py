"""A typed client of `medley serve`: the methods of the service, over HTTP.

from medley.client import Client

with Client("http://127.0.0.1:8000") as client:
    for item in client.recommend(user="42", k=5).items:
        print(item.title, item.score)
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel

from medley.errors import InputError, MedleyError, MissingExtraError, NotFoundError
from medley.serving import requests as forms

try:
    import httpx
except ImportError as error:
    raise MissingExtraError("the client", "serve") from error

T = TypeVar("T", bound=BaseModel)
WRONG = (400, 413, 415, 422)  # the question is at fault: asking again does not help
BUSY = (429, 503)
RELOAD_TIMEOUT = 600.0  # seconds: a large index takes minutes to build
MAX_WAIT = 10.0  # seconds between two tries, whatever the server asks for


class ServiceError(MedleyError):
    """The service refuses or fails to answer."""

    def __init__(self, status: int | None, code: str, message: str, request_id: str | None = None):
        self.status, self.code, self.request_id = status, code, request_id
        super().__init__(message + (f" (request {request_id})" if request_id else ""))


class Client:
    """Asks a service. Safe to use from several threads; close it, or use it as a context manager.

    Args:
        url: of the service, as `medley serve` prints it.
        key: API key, for a service that has keys.
        timeout: seconds for one answer.
        retries: how often a question is asked again if the service is busy or the connection fails. This does no harm:
            events get an id, so they count once; a rollback, which a second one would undo, is asked again only if it
            cannot have arrived.
        transport: of httpx, for tests.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int = 2,
        transport: "httpx.BaseTransport | None" = None,
    ):
        headers = {} if key is None else {"X-API-Key": key}
        self.retries = retries
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Returns whether the service has its bundle and index in memory."""
        try:
            return self._http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def model(self) -> forms.ModelAnswer:
        """Returns what is served."""
        return self._ask(forms.ModelAnswer, "GET", "/v1/model")

    def recommend(self, request: forms.RecommendRequest | None = None, **question: Any) -> forms.RecommendAnswer:
        """Returns the best items for a user, a history, or items that are liked.

        Args:
            request: the question; or its fields as keywords.
            question: fields of `medley.serving.requests.RecommendRequest`.
        """
        return self._ask(forms.RecommendAnswer, "POST", "/v1/recommend", body=_body(request, question))

    def batch(
        self, request: forms.BatchRequest | Sequence[forms.RecommendRequest | Mapping[str, Any]]
    ) -> list[forms.RecommendAnswer | InputError]:
        """Answers several questions; an error is the answer of its element."""
        if not isinstance(request, forms.BatchRequest):
            request = forms.BatchRequest(requests=[_plain(each) for each in request])
        document = self._json("POST", "/v1/recommend:batch", body=_plain(request))
        return [_element(forms.RecommendAnswer, each, "answer") for each in document["results"]]

    def score(self, request: forms.ScoreRequest | None = None, **question: Any) -> forms.ScoreAnswer:
        """Returns the scores of given items, in their order."""
        return self._ask(forms.ScoreAnswer, "POST", "/v1/score", body=_body(request, question))

    def explain(self, user: str, item: str) -> forms.ExplainAnswer:
        """Says why an item fits a user."""
        return self._ask(forms.ExplainAnswer, "GET", "/v1/explain", {"user": user, "item": item})

    def similar(self, item: str, *, by: str = "all", k: int = 10) -> forms.SimilarAnswer:
        """Returns the items most similar to an item, by behaviour, by a modality, or by all."""
        return self._ask(forms.SimilarAnswer, "GET", f"/v1/items/{_id(item)}/similar", {"by": by, "k": k})

    def items(self, q: str = "", *, cursor: str | None = None, k: int = 50) -> forms.ItemsAnswer:
        """Returns one page of the items that fit a search."""
        more = {} if cursor is None else {"cursor": cursor}
        return self._ask(forms.ItemsAnswer, "GET", "/v1/items", {"q": q, "k": k, **more})

    def item(self, id: str) -> forms.ItemAnswer:
        """Returns what is known about an item."""
        return self._ask(forms.ItemAnswer, "GET", f"/v1/items/{_id(id)}")

    def thumbnail(self, id: str) -> tuple[bytes, str] | None:
        """Returns the picture of an item and its media type; None if the item has none."""
        try:
            answer = self._send("GET", f"/v1/items/{_id(id)}/image")
        except NotFoundError:
            return None
        return answer.content, answer.headers.get("content-type", "application/octet-stream")

    def put_item(self, id: str, request: forms.ItemRequest | None = None, **item: Any) -> forms.ItemAnswer:
        """Adds or replaces an item; the fields of `ItemRequest` may be keywords."""
        return self._ask(forms.ItemAnswer, "PUT", f"/v1/items/{_id(id)}", body=_body(request, item))

    def patch_item(self, id: str, request: forms.ItemPatch | None = None, **item: Any) -> forms.ItemAnswer:
        """Changes an item; the fields of `ItemPatch` may be keywords."""
        return self._ask(forms.ItemAnswer, "PATCH", f"/v1/items/{_id(id)}", body=_body(request, item))

    def delete_item(self, id: str) -> None:
        """Takes an item out of all lists."""
        self._delete(f"/v1/items/{_id(id)}")

    def put_items(self, items: Iterable[tuple[str, forms.ItemRequest]]) -> list[forms.ItemAnswer | InputError]:
        """Adds or replaces many items; an error is the answer of its element."""
        lines = [json.dumps({"id": id, **_plain(item)}) for id, item in items]
        if not lines:
            return []
        headers = {"Content-Type": "application/x-ndjson"}
        answer = self._send("POST", "/v1/items:bulk", content="\n".join(lines).encode(), headers=headers)
        return [_element(forms.ItemAnswer, each, "item") for each in answer.json()["results"]]

    def users(self, q: str = "", *, k: int = 20) -> list[str]:
        """Returns ids of users that begin with a text."""
        return self._json("GET", "/v1/users", {"q": q, "k": k})["users"]

    def user(self, id: str) -> forms.UserAnswer:
        """Returns what is known about a user."""
        return self._ask(forms.UserAnswer, "GET", f"/v1/users/{_id(id)}")

    def put_user(self, id: str, request: forms.UserRequest | None = None, **user: Any) -> forms.UserAnswer:
        """Adds or replaces a user; the fields of `UserRequest` may be keywords."""
        return self._ask(forms.UserAnswer, "PUT", f"/v1/users/{_id(id)}", body=_body(request, user))

    def delete_user(self, id: str) -> None:
        """Forgets everything about a user."""
        self._delete(f"/v1/users/{_id(id)}")

    def feedback(self, events: Iterable[forms.Event | Mapping[str, Any]]) -> forms.FeedbackAnswer:
        """Sends what users did. Events without an id get one, so that a repeated request does not count twice."""
        body = [{"id": uuid4().hex, **_plain(each)} for each in events]
        return self._ask(forms.FeedbackAnswer, "POST", "/v1/feedback", body=body)

    def reload(self) -> dict[str, Any]:
        """Makes the service open the bundle at its path; returns result, model_version, previous and seconds."""
        return self._json("POST", "/v1/admin/reload", timeout=RELOAD_TIMEOUT)

    def rollback(self) -> dict[str, Any]:
        """Makes the service go back to the bundle before."""
        return self._json("POST", "/v1/admin/rollback", once=True, timeout=RELOAD_TIMEOUT)

    def _ask(self, form: type[T], method: str, path: str, query: Mapping[str, Any] | None = None, **more: Any) -> T:
        document = self._json(method, path, query, **more)
        return form.model_validate({name: value for name, value in document.items() if name in form.model_fields})

    def _json(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None, **more: Any
    ) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        return self._send(method, path, params=query, content=content, headers=headers, **more).json()

    def _delete(self, path: str) -> None:
        """Deletes. A second try that finds nothing may follow a first one that succeeded but whose answer was lost."""
        lost: list[Exception] = []
        try:
            self._send("DELETE", path, lost=lost)
        except NotFoundError:
            if not lost:
                raise

    def _send(
        self, method: str, path: str, *, lost: list[Exception] | None = None, once: bool = False, **more: Any
    ) -> "httpx.Response":
        """Asks, and asks again as `retries` says.

        Args:
            method: of the request.
            path: of the request.
            lost: takes the errors of tries that may have arrived all the same.
            once: whether such a try is the last.
            more: arguments of httpx.
        """
        for left in range(self.retries, -1, -1):
            try:
                answer = self._http.request(method, path, **more)
            except httpx.TransportError as error:
                may_have_arrived = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if not left or (once and may_have_arrived):
                    raise ServiceError(None, "no_answer", f"{self._http.base_url}: no answer: {error!r}") from error
                if lost is not None and may_have_arrived:
                    lost.append(error)
                time.sleep(0.1)
                continue
            if answer.status_code in BUSY and left:
                time.sleep(min(_seconds(answer.headers.get("retry-after")), MAX_WAIT))
                continue
            break
        if answer.status_code >= 400:
            raise _error(answer)
        return answer


def _id(raw: str) -> str:
    """Encodes an id as one segment of a path; `.` and `..` would be taken for folders."""
    return quote(str(raw), safe="") if set(str(raw)) != {"."} else str(raw).replace(".", "%2E")


def _plain(value: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else dict(value)


def _body(request: BaseModel | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    if request is not None and fields:
        raise InputError("question", expected="a request or its fields", got="both")
    return _plain(fields if request is None else request)


def _element(form: type[T], element: Mapping[str, Any], name: str) -> "T | InputError":
    if element["error"] is not None:
        return _input_error(element["error"], not_found=element["error"]["code"] == "not_found")
    return form.model_validate(element[name])


def _error(answer: "httpx.Response") -> MedleyError:
    try:
        body = answer.json()
        code, request_id = body["code"], body["request_id"]
    except (ValueError, KeyError, TypeError):  # something between us and the service answered
        return ServiceError(answer.status_code, "not_medley", f"{answer.url}: status {answer.status_code}")
    if answer.status_code in WRONG or code == "not_found":
        return _input_error(body, not_found=code == "not_found")
    expected = f": expected {body['expected']}" if body["expected"] else ""
    remedy = f". Remedy: {body['remedy']}" if body["remedy"] else ""
    return ServiceError(answer.status_code, code, f"{body['message']}{expected}{remedy}", request_id)


def _input_error(body: Mapping[str, Any], *, not_found: bool) -> InputError:
    """Builds the error that the service raised; its message holds what was expected and got already."""
    error = (NotFoundError if not_found else InputError)(body["message"], remedy=body["remedy"])
    error.expected, error.got = body["expected"], body["got"]
    return error


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 1.0))
    except ValueError:  # a date
        return 1.0
