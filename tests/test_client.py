"""The client: the methods of the service, its answers and its errors, over a real connection."""

import httpx
import pytest
from tests.serving.http.conftest import running
from tests.serving.http.fake import FakeService, Journal, write_bundle

from medley.client import Client, ServiceError
from medley.errors import InputError, NotFoundError
from medley.serving import requests as forms
from medley.serving.http.auth import new_key
from medley.serving.http.settings import Settings


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    bundle, journal = write_bundle(tmp_path_factory.mktemp("client") / "shop"), Journal()
    with running(Settings(bundle=bundle, port=0), lambda each: FakeService.open(each.bundle, journal)) as url:
        yield url


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


@pytest.fixture
def service(tmp_path):
    return FakeService.open(write_bundle(tmp_path / "shop"), Journal())


def test_answers_are_those_of_the_service(client, service):
    assert client.is_ready()
    assert client.model().model == service.model().model
    question = forms.RecommendRequest(user="u3", k=7, explain=True)
    assert client.recommend(question) == client.recommend(user="u3", k=7, explain=True) == service.recommend(question)
    assert client.score(user="u1", items=["i1", "nix"]) == service.score(
        forms.ScoreRequest(user="u1", items=["i1", "nix"])
    )
    assert client.similar("i4", by="visual", k=3) == service.similar("i4", by="visual", k=3)
    assert client.explain("u1", "i2") == service.explain("u1", "i2")
    assert client.items("item 1", k=4) == service.items("item 1", k=4)
    assert client.items("item 1", cursor="4", k=4) == service.items("item 1", cursor="4", k=4)
    assert client.item("i1") == service.item("i1")
    assert client.users("u1", k=5) == service.users("u1", k=5)
    assert client.user("u1") == service.user("u1")
    assert client.thumbnail("i0") == service.thumbnail("i0") and client.thumbnail("i1") is None


def test_in_a_batch_an_error_is_an_element(client):
    good, bad, wrong = client.batch([forms.RecommendRequest(user="u1", k=2), {"k": 1}, {"user": "u1", "filter": 3}])
    assert isinstance(good, forms.RecommendAnswer) and len(good.items) == 2
    assert isinstance(bad, InputError) and bad.expected == "one of user, history and positive, got none"
    assert isinstance(wrong, InputError)


def test_items_and_users_are_changed(client):
    assert client.put_item("a/b ü", attributes={"title": "Odd"}).title == "Odd"
    assert client.patch_item("a/b ü", forms.ItemPatch(attributes={"title": "Odder"})).title == "Odder"
    good, bad = client.put_items([("x.1", forms.ItemRequest()), ("x.2", forms.ItemRequest(features={"visual": [1]}))])
    assert good.id == "x.1" and isinstance(bad, InputError) and bad.expected == "8 finite numbers"
    assert client.put_items([]) == []
    assert client.put_user("..", history=["a/b ü"]).id == ".."
    assert client.recommend(user="..", k=1).fallback is None
    client.delete_user("..")
    client.delete_item("a/b ü")
    for gone in (lambda: client.user(".."), lambda: client.item("a/b ü"), lambda: client.delete_item("a/b ü")):
        with pytest.raises(NotFoundError):
            gone()


def test_feedback_counts_once_by_id(client):
    event = {"user": "fan", "item": "i9", "id": "client-1"}
    assert client.feedback([event, forms.Event(user="fan", item="i8")]).accepted == 2
    assert client.feedback([event]).duplicate == 1


def test_reload_and_rollback(client):
    assert client.reload()["result"] == "unchanged"
    with pytest.raises(ServiceError) as raised:
        client.rollback()
    assert (raised.value.status, raised.value.code) == (409, "no_previous") and raised.value.request_id in str(
        raised.value
    )


def test_errors_are_those_of_the_service(client):
    with pytest.raises(NotFoundError) as raised:
        client.item("nix")
    assert raised.value.got == "'nix'" and "GET /v1/items" in raised.value.remedy
    with pytest.raises(InputError, match="expected 1 or more, got 0"):
        client.recommend(user="u1", k=0)
    with pytest.raises(InputError, match="a request or its fields"):
        client.recommend(forms.RecommendRequest(user="u1"), k=3)


def test_a_key_is_sent(tmp_path):
    bundle, keys = write_bundle(tmp_path / "shop"), tmp_path / "keys.json"
    key = new_key(keys, "read")
    with running(
        Settings(bundle=bundle, port=0, keys=keys), lambda each: FakeService.open(each.bundle, Journal())
    ) as url:
        with Client(url, key=key) as client:
            assert client.model().model == "fake"
            with pytest.raises(ServiceError, match="may not do this: expected a key with the role write"):
                client.delete_item("i1")
        with Client(url) as client, pytest.raises(ServiceError, match="needs a key"):
            client.model()


LOST, CODES = -1, {404: "not_found"}


class Moody(httpx.BaseTransport):
    """Answers with the given statuses; 0: the connection fails, LOST: the answer does not arrive."""

    def __init__(self, *statuses, wait="0"):
        self.statuses, self.requests, self.wait = list(statuses), [], wait

    def handle_request(self, request):
        self.requests.append(request.read())
        status = self.statuses.pop(0)
        if not status:
            raise httpx.ConnectError("refused")
        if status == LOST:
            raise httpx.ReadTimeout("no answer")
        body = {
            "code": CODES.get(status, "x"),
            "message": "no",
            "expected": None,
            "got": None,
            "remedy": None,
            "request_id": "r",
        }
        answer = {"accepted": 1, "duplicate": 0} if status == 202 else body
        return httpx.Response(status, json=answer, headers={"Retry-After": self.wait})


def test_a_busy_service_is_asked_again_with_the_same_events():
    moody = Moody(503, 0, 202)
    with Client("http://shop", transport=moody) as client:
        assert client.feedback([{"user": "u", "item": "i"}]).accepted == 1
    assert len(set(moody.requests)) == 1 and b'"id"' in moody.requests[0]


def test_tries_end(monkeypatch):
    monkeypatch.setattr("medley.client.time.sleep", lambda _: None)
    with Client("http://shop", transport=Moody(429, 429, 429)) as client, pytest.raises(ServiceError) as raised:
        client.model()
    assert raised.value.status == 429
    with Client("http://shop", transport=Moody(0, 0, 0)) as client, pytest.raises(ServiceError, match="no answer"):
        client.model()
    with Client("http://shop", transport=Moody(0)) as client:
        assert not client.is_ready()


@pytest.mark.parametrize("status", [400, 401, 409, 500, 502])
def test_a_refusal_and_a_failure_of_the_service_are_not_asked_again(status):
    moody = Moody(status, 202)
    with Client("http://shop", transport=moody) as client, pytest.raises((InputError, ServiceError)):
        client.model()
    assert len(moody.requests) == 1


def test_without_retries_nothing_is_asked_again():
    for status in (0, LOST, 429, 503):
        moody = Moody(status, 202)
        with Client("http://shop", transport=moody, retries=0) as client, pytest.raises(ServiceError):
            client.model()
        assert len(moody.requests) == 1


def test_a_rollback_that_may_have_arrived_is_not_sent_again(monkeypatch):
    monkeypatch.setattr("medley.client.time.sleep", lambda _: None)
    for statuses, sent in (((LOST, 202), 1), ((0, 503, 202), 3)):
        moody = Moody(*statuses)
        with Client("http://shop", transport=moody) as client:
            if sent == 1:
                with pytest.raises(ServiceError, match="no answer"):
                    client.rollback()
            else:
                client.rollback()
        assert len(moody.requests) == sent


def test_a_deletion_whose_answer_was_lost_is_done(monkeypatch):
    monkeypatch.setattr("medley.client.time.sleep", lambda _: None)
    with Client("http://shop", transport=Moody(LOST, 404)) as client:
        client.delete_item("i1")
    for statuses in ((404,), (503, 404), (0, 404)):  # the item was not there: no earlier try has arrived
        with Client("http://shop", transport=Moody(*statuses)) as client, pytest.raises(NotFoundError):
            client.delete_item("i1")


@pytest.mark.parametrize(("wait", "seconds"), [("3", 3.0), ("3600", 10.0), ("Fri, 27 Nov 2026 07:00:00 GMT", 1.0)])
def test_the_client_waits_as_long_as_the_service_asks_but_not_for_ever(wait, seconds, monkeypatch):
    waits = []
    monkeypatch.setattr("medley.client.time.sleep", waits.append)
    with Client("http://shop", transport=Moody(429, 202, wait=wait)) as client:
        client.feedback([{"user": "u", "item": "i"}])
    assert waits == [seconds]


def test_an_answer_of_something_else_is_not_taken_for_one_of_the_service():
    proxy = httpx.MockTransport(lambda request: httpx.Response(502, text="<html>"))
    with Client("http://shop", transport=proxy) as client, pytest.raises(ServiceError, match="status 502"):
        client.model()
