"""Keys: roles, hashes at rest, changes of the file, cookies."""

import json
import os
import re

import pytest
from fastapi.testclient import TestClient
from tests.serving.http.conftest import until
from tests.serving.http.test_errors import error
from tests.serving.small_bundle import write_small_bundle

from medley.errors import InputError
from medley.serving.http import auth
from medley.serving.http.app import create_app
from medley.serving.http.auth import Keys, is_same_origin, new_key, read_keys
from medley.serving.http.server import check_host
from medley.serving.http.settings import Settings


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "secrets" / "keys.json"
    return path, {role: new_key(path, role) for role in auth.ROLES}


@pytest.fixture
def client(start, keys):
    return start(keys=keys[0], host="0.0.0.0")


READ = [
    ("GET", "/v1/model", None),
    ("POST", "/v1/recommend", {"user": "u1"}),
    ("GET", "/v1/recommend/u1", None),
    ("POST", "/v1/recommend:batch", {"requests": [{"user": "u1"}]}),
    ("POST", "/v1/score", {"user": "u1", "items": ["i1"]}),
    ("GET", "/v1/items", None),
    ("GET", "/v1/items/i1", None),
    ("GET", "/v1/items/i1/similar", None),
    ("GET", "/v1/items/i0/image", None),
    ("GET", "/v1/users", None),
    ("GET", "/v1/users/u1", None),
    ("GET", "/v1/explain?user=u1&item=i1", None),
    ("GET", "/metrics", None),
]
WRITE = [
    ("PUT", "/v1/items/n", {}),
    ("PATCH", "/v1/items/i1", {}),
    ("DELETE", "/v1/items/i2", None),
    ("POST", "/v1/items:bulk", None),
    ("PUT", "/v1/users/n", {}),
    ("DELETE", "/v1/users/u2", None),
    ("POST", "/v1/feedback", [{"user": "u1", "item": "i1"}]),
]
ADMIN = [("POST", "/v1/admin/reload", None), ("POST", "/v1/admin/rollback", None)]


def ask(client, method, path, body, key=None):
    headers = {} if key is None else {"X-API-Key": key}
    more = {} if body is None else {"json": body}
    if path.endswith(":bulk"):
        headers["Content-Type"] = "application/x-ndjson"
    return client.request(method, path, headers=headers, **more)


@pytest.mark.parametrize(("method", "path", "body"), READ + WRITE + ADMIN)
def test_every_route_needs_a_key(client, method, path, body):
    for key in (None, "", "medley_00000000_wrong", "ü"):
        answer = ask(client, method, path, body, None if key is None else key.encode())
        assert error(answer, 401, "no_key")["remedy"] and answer.headers["WWW-Authenticate"].startswith("ApiKey")


def _template(found):
    return f"{found[1]}/{{{'item' if found[1] == 'items' else 'user'}}}"


def test_every_documented_route_is_in_these_lists(client):
    document = client.get("/openapi.json").json()["paths"]
    tested = [(method, path.partition("?")[0]) for method, path, _ in READ + WRITE + ADMIN]
    documented = {(method.upper(), path) for path in document for method in document[path]}
    tested = {(method, re.sub("(users|items|recommend)/[a-z]+[0-9]?", _template, path)) for method, path in tested}
    assert documented - {("GET", "/health/live"), ("GET", "/health/ready")} == tested


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [("read", READ, WRITE + ADMIN), ("write", READ + WRITE, ADMIN), ("admin", READ + WRITE + ADMIN, [])],
)
def test_a_role_may_do_what_lower_roles_may(client, keys, role, allowed, refused):
    key = keys[1][role]
    for method, path, body in allowed:
        answer = ask(client, method, path, body, key)
        assert answer.status_code in (200, 202, 409), (path, answer.text)  # 409: nothing to roll back to
    for method, path, body in refused:
        assert error(ask(client, method, path, body, key), 403, "role")["got"] == role


def test_a_real_service_answers_every_route_to_its_role_and_refuses_lower_ones(tmp_path, keys):
    settings = Settings(bundle=write_small_bundle(tmp_path / "shop.medley"), keys=keys[0], host="0.0.0.0")
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        for at, requests in enumerate((READ, WRITE, ADMIN)):
            for method, path, body in requests:
                for lower in auth.ROLES[:at]:
                    error(ask(client, method, path, body, keys[1][lower]), 403, "role")
                answer = ask(client, method, path, body, keys[1][auth.ROLES[at]])
                expected = 409 if path.endswith("rollback") else 202 if path.endswith("feedback") else 200
                assert answer.status_code == expected, (path, answer.text)
        assert client.get("/v1/items/i1", headers={"X-API-Key": keys[1]["read"]}).json()["title"] == "Item 1"


def test_a_caller_without_a_role_is_refused_before_the_body_is_read(client):
    answer = client.put("/v1/items/x", content="{not json", headers={"Content-Type": "application/json"})
    error(answer, 401, "no_key")


def test_health_needs_no_key(client):
    assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200


def test_a_key_may_come_as_the_cookie_of_the_page_but_not_from_another_site(client, keys):
    cookie = {"Cookie": f"{auth.COOKIE}={keys[1]['admin']}"}
    assert client.get("/v1/model", headers=cookie).status_code == 200
    own = {**cookie, "Sec-Fetch-Site": "same-origin"}
    assert client.put("/v1/items/x", json={}, headers=own).status_code == 200
    assert client.put("/v1/items/x", json={}, headers={**cookie, "Origin": "http://127.0.0.1"}).status_code == 200
    for site in ({}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}):
        error(client.put("/v1/items/x", json={}, headers={**cookie, **site}), 401, "no_key")


def test_the_file_holds_no_key_and_only_its_owner_reads_it(keys):
    path, texts = keys
    content = path.read_text()
    for text in texts.values():
        assert text not in content and text.split("_", 2)[2] not in content
    assert path.stat().st_mode & 0o777 == 0o600
    assert len({key["salt"] for key in json.loads(content)["keys"]}) == 3


def test_rates_are_per_key(start, keys):
    client = start(keys=keys[0], rate=0.001, burst=1)
    for role in ("read", "write"):
        statuses = [client.get("/v1/model", headers={"X-API-Key": keys[1][role]}).status_code for _ in range(2)]
        assert statuses == [200, 429]


def test_a_removed_key_works_no_more_and_a_new_one_works(keys, monkeypatch):
    monkeypatch.setattr(auth, "SECONDS_BETWEEN_LOOKS", 0.0)
    path, texts = keys
    held = Keys(path)
    assert held.caller(texts["write"]).role == "write"
    document = json.loads(path.read_text())
    document["keys"] = [key for key in document["keys"] if key["role"] != "write"]
    path.write_text(json.dumps(document))
    os.utime(path, ns=(1, 1))
    assert held.caller(texts["write"]) is None and held.caller(texts["read"]).role == "read"
    late = new_key(path, "write")
    assert held.caller(late).role == "write"
    path.write_text("{")
    assert held.caller(late) is None


def test_a_file_that_may_not_be_read_lets_nobody_in(keys, monkeypatch):
    monkeypatch.setattr(auth, "SECONDS_BETWEEN_LOOKS", 0.0)
    path, texts = keys
    held = Keys(path)
    path.unlink()
    path.mkdir()  # reading raises an OSError, for the owner of the machine too
    for _ in range(2):
        assert held.caller(texts["admin"]) is None


def test_a_failing_check_of_a_key_answers_an_error_and_releases_the_service(client, keys, monkeypatch):
    def fail(self, text):
        raise RuntimeError("the disk is gone")

    holder = client.app.state.medley.holder
    monkeypatch.setattr(Keys, "caller", fail)
    error(client.get("/v1/model", headers={"X-API-Key": keys[1]["read"]}), 500, "internal")
    assert holder._live.num_users == 0


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"version": 2, "keys": []}', '{"keys": [{"id": "a"}]}', '{"version": 1, "keys": []}']
)
def test_a_file_that_holds_no_keys_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        Keys(path)
    assert "--new-key" in str(raised.value)


def test_an_unknown_role_is_refused(tmp_path):
    with pytest.raises(InputError, match="read or write or admin"):
        new_key(tmp_path / "keys.json", "root")
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_others_reach_needs_keys(tmp_path, keys):
    for host in ("0.0.0.0", "::", "192.168.1.5", "shop.example"):
        with pytest.raises(InputError, match="--keys FILE"):
            check_host(Settings(bundle=tmp_path, host=host))
        check_host(Settings(bundle=tmp_path, host=host, keys=keys[0]))
    for host in ("127.0.0.1", "localhost", "::1"):
        check_host(Settings(bundle=tmp_path, host=host))


def test_a_key_of_the_file_is_read_back(keys):
    assert [key.role for key in read_keys(keys[0]).keys] == ["read", "write", "admin"]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"sec-fetch-site": "same-origin", "host": "a"}, True),
        ({"sec-fetch-site": "cross-site", "host": "a", "origin": "http://a"}, False),
        ({"sec-fetch-site": "same-site", "host": "a"}, False),
        ({"sec-fetch-site": "none", "host": "a"}, False),
        ({"origin": "http://a:8000", "host": "a:8000"}, True),
        ({"origin": "http://a:8001", "host": "a:8000"}, False),
        ({"origin": "null", "host": "a"}, False),
        ({"origin": "null", "host": ""}, False),
        ({"origin": "http://A", "host": "a"}, True),
        ({"origin": "http://[a", "host": "a"}, False),
        ({"host": "a"}, False),
    ],
)
def test_a_change_is_allowed_from_our_own_page_only(headers, allowed):
    assert is_same_origin(headers) is allowed
