import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.serving.page.conftest import Keys

from medley.serving.http.page import router

PAGES = ("/", "/user?id=u1", "/item?id=i1", "/history", "/map", "/model", "/new", "/thumbnail?id=i1")
ELSEWHERE = ("https://evil", "//evil", "/\\evil", "\\\\evil", "javascript:x", "", "/\t/evil", "/\n/evil")
OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def site(service) -> TestClient:
    app = FastAPI()
    app.include_router(router(lambda: service, keys=Keys()))
    return TestClient(app, follow_redirects=False)


def _sign_in(site: TestClient, key: str, target: str = "/"):
    return site.post("/sign-in", data={"key": key, "next": target}, headers=OWN)


@pytest.mark.parametrize("address", PAGES)
def test_without_a_key_every_page_asks_for_one(site, address):
    answer = site.get(address)
    assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?next=")
    site.cookies.set("medley_key", "guessed")
    assert site.get(address).status_code == 303


def test_the_key_stays_in_a_cookie_that_scripts_and_other_sites_cannot_use(site):
    answer = _sign_in(site, "reader", "/user?id=u1")
    assert answer.status_code == 303 and answer.headers["location"] == "/user?id=u1"
    cookie = answer.headers["set-cookie"].lower()
    assert "medley_key=reader" in cookie and "httponly" in cookie and "samesite=strict" in cookie
    assert site.get("/user?id=u1").status_code == 200


def test_the_cookie_is_for_https_alone_where_there_is_https(service):
    app = FastAPI()
    app.include_router(router(lambda: service, keys=Keys()))
    answer = _sign_in(TestClient(app, base_url="https://shop", follow_redirects=False), "reader")
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("key", ["", "wrong", "x" * 10_000])
def test_a_wrong_key_opens_nothing(site, key):
    answer = _sign_in(site, key)
    assert answer.status_code == 401 and "set-cookie" not in answer.headers and "not known" in answer.text
    assert key not in answer.text or not key


@pytest.mark.parametrize("target", ELSEWHERE)
def test_signing_in_leads_to_pages_of_this_service_only(site, target):
    assert _sign_in(site, "reader", target).headers["location"] == "/"


def test_reading_does_not_allow_writing(service, site):
    _sign_in(site, "reader")
    before = set(service.titles)
    assert site.get("/new").status_code == 403
    assert site.post("/new", data={"text": "beach"}, headers=OWN).status_code == 403
    assert set(service.titles) == before
    _sign_in(site, "writer")
    assert site.post("/new", data={"text": "beach"}, headers=OWN).status_code == 303
    assert set(service.titles) > before


def test_the_key_is_checked_before_the_body_is_read(site):
    answer = site.post("/new", content=b"x" * (30 * 2**20), headers=OWN | {"content-type": "text/plain"})
    assert answer.status_code == 303 and answer.headers["location"] == "/sign-in?next=%2F"


def test_signing_out_forgets_the_key(site):
    _sign_in(site, "reader")
    assert site.post("/sign-out", headers={}).status_code == 403
    assert site.post("/sign-out", data={"x": ""}, headers=OWN).status_code == 303
    assert site.get("/").status_code == 303


def test_a_program_may_send_its_key_in_the_header(site):
    assert site.get("/", headers={"x-api-key": "reader"}).status_code == 200
