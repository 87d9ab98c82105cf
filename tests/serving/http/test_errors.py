"""Every error has one form, says what to do, and gives nothing away."""

import logging

import pytest
from tests.serving.http.fake import FakeService

from medley.errors import InputError, MissingExtraError

FIELDS = ["code", "message", "expected", "got", "remedy", "request_id"]


def error(answer, status, code):
    """Checks the form of an error and returns it."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert list(document) == FIELDS and document["code"] == code
    assert document["request_id"] == answer.headers["X-Request-ID"]
    return document


def test_an_unknown_field_is_refused_and_named(client):
    found = error(client.post("/v1/recommend", json={"user": "u1", "colour": "red"}), 422, "invalid")
    assert found["message"] == "unknown field 'colour'"


def test_an_unknown_parameter_is_refused_and_named(client):
    found = error(client.get("/v1/recommend/u1?n=5"), 422, "invalid")
    assert found["message"] == "unknown parameter 'n'"
    for path in ("/v1/model?x=1", "/v1/items/i1?x=1", "/v1/users/u1?x=1", "/v1/items/i1/image?x=1"):
        error(client.get(path), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "message", "expected"),
    [
        ({"user": "u1", "k": 0}, "field 'k': expected 1 or more, got 0", "1 or more"),
        ({"user": "u1", "k": "ten"}, "field 'k': expected a whole number, got 'ten'", "a whole number"),
        ({"user": "u1", "k": 1e9}, "field 'k': expected 1000 or less, got 1000000000.0", "1000 or less"),
        ({"user": "u1", "weights": {"id": -1}}, "field 'weights.id': expected 0 or more, got -1", "0 or more"),
        ({"user": "u1", "diversity": 2}, "field 'diversity': expected 1 or less, got 2", "1 or less"),
        (
            {"user": "u1", "weights": {"smell": 1}},
            "part of the score: expected visual or id, got 'smell'",
            "visual or id",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(client, body, message, expected):
    found = error(client.post("/v1/recommend", json=body), 422, "invalid")
    assert (found["message"], found["expected"]) == (message, expected)


def test_questions_about_nobody_or_about_two_are_refused(client):
    found = error(client.post("/v1/recommend", json={}), 422, "invalid")
    assert found["expected"] == "one of user, history and positive, got none"
    error(client.post("/v1/recommend", json={"user": "u1", "history": []}), 422, "invalid")


@pytest.mark.parametrize(
    "body", ["{", '{"user": "u1", "k": NaN}', '{"user": "\\ud800"}', "[" * 100_000, b"\xff\xfe", '{"user": Infinity}']
)
def test_what_is_not_json_is_refused(client, body):
    error(client.post("/v1/recommend", content=body, headers={"Content-Type": "application/json"}), 422, "invalid_json")


def test_a_body_of_another_type_and_an_absent_body_are_refused(client):
    for headers in ({"Content-Type": "text/plain"}, {}):
        found = client.post("/v1/recommend", content='{"user": "u1"}', headers=headers)
        error(found, 422, "invalid")
    found = error(client.post("/v1/recommend"), 422, "invalid")
    assert found["expected"] == "a JSON document of type application/json"


def test_a_long_wrong_value_is_not_repeated_in_full(client):
    found = error(client.post("/v1/recommend", json={"user": "u1", "k": "x" * 100_000}), 422, "invalid")
    assert len(found["got"]) <= 200 and len(found["message"]) < 300


def test_unknown_items_users_and_routes_are_404(client):
    assert error(client.get("/v1/items/nix"), 404, "not_found")["got"] == "'nix'"
    error(client.get("/v1/users/nix"), 404, "not_found")
    error(client.get("/v1/explain?user=nix&item=i1"), 404, "not_found")
    error(client.patch("/v1/items/nix", json={}), 404, "not_found")
    error(client.get("/v2/model"), 404, "no_route")
    error(client.get("/v1/model/"), 404, "no_route")


def test_a_wrong_method_is_405_with_all_that_are_allowed(client):
    answer = client.post("/v1/items/i1")
    error(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, PATCH, PUT"
    assert client.put("/v1/model").headers["Allow"] == "GET"


def test_a_path_that_is_not_utf8_is_400(client):
    error(client.get("/v1/items/%ff"), 400, "bad_path")


def test_an_id_that_is_too_long_is_refused(client):
    found = error(client.get("/v1/items/" + "x" * 513), 422, "invalid")
    assert found["message"].startswith("part of the path 'item'")


def test_a_valid_request_id_is_kept_and_another_is_replaced(client):
    assert client.get("/v1/model", headers={"X-Request-ID": "abc-1.2_3"}).json()["request_id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 129, '"', "a,b"):
        found = client.get("/v1/model", headers={"X-Request-ID": bad}).json()["request_id"]
        assert len(found) == 32 and found != bad


def test_an_internal_error_says_nothing_but_is_in_the_log(client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret /srv/shop/items.npy")

    monkeypatch.setattr(FakeService, "recommend", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.get("/v1/recommend/u1")
    found = error(answer, 500, "internal")
    assert not [word for word in ("secret", "RuntimeError", "Traceback", "/srv") if word in answer.text]
    assert found["request_id"] in caplog.text and "secret /srv/shop/items.npy" in caplog.text


def test_files_of_the_server_are_not_named(client, monkeypatch):
    def broken(*_):
        raise InputError("rows", file="/srv/shop/items.npy", row=7, expected="6", got="5")

    monkeypatch.setattr(FakeService, "recommend", broken)
    assert error(client.get("/v1/recommend/u1"), 422, "invalid")["message"] == "rows: expected 6, got 5"


def test_a_missing_extra_is_501_with_the_command(client, monkeypatch):
    def broken(*_):
        raise MissingExtraError("encoding pictures", "media")

    monkeypatch.setattr(FakeService, "put_item", broken)
    found = error(client.put("/v1/items/x", json={}), 501, "missing_extra")
    assert "pip install 'medley-rec[media]'" in found["message"]
