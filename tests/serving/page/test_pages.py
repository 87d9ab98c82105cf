import io
import re
from html import unescape

import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient
from tests.serving.page.fake_service import HOSTILE, FakeService

from medley.errors import InputError, MissingExtraError
from medley.serving.http.page import router

OWN = {"sec-fetch-site": "same-origin"}
PAGES = (
    "/", "/?q=beach", "/user?id=u1", "/user?id=u1&w.visual=2&diversity=0.5", "/history",
    "/history?item=i1&item=i5&q=forest", "/item?id=i5", "/item?id=i7&user=u2&lands=1", "/map", "/map?user=u3",
    "/model", "/new",
)  # fmt: skip


@pytest.fixture
def site(service) -> TestClient:
    return _client(service)


def _client(service: FakeService, **options) -> TestClient:
    app = FastAPI()
    app.include_router(router(lambda: service, **({"keys": None} | options)))
    return TestClient(app, follow_redirects=False)


def _listed(html: str) -> list[str]:
    return re.findall(r'<li data-id="(\w+)"', html)


def _png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("address", PAGES)
def test_every_page_is_whole_escaped_and_strict(site, address):
    answer = site.get(address)
    assert answer.status_code == 200 and "</html>" in answer.text
    assert HOSTILE not in answer.text and "<script>" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "private, no-cache"
    for landmark in ("<header", "<nav aria-label", '<main id="main"', "<h1>", '<html lang="en">'):
        assert answer.text.count(landmark) == 1


@pytest.mark.parametrize("address", PAGES)
def test_every_field_has_a_label_and_ids_are_unique(site, address):
    html = site.get(address).text
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    fields = re.findall(r"<(?:input|textarea)\b[^>]*>", html)
    labelled = set(re.findall(r'<label for="([^"]+)"', html))
    for field in fields:
        if 'type="hidden"' not in field:
            assert re.search(r'\sid="([^"]+)"', field)[1] in labelled
    for name in re.findall(r'aria-labelledby="([^"]+)"', html):
        assert name in ids


def test_hostile_titles_are_shown_as_text(site):
    assert HOSTILE in unescape(site.get("/item?id=i5").text)


def test_files_are_named_after_their_content_and_kept_for_ever(site):
    html = site.get("/").text
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        address = re.search(rf"/static/{re.escape(name)}\?v=\w{{12}}", html)[0]
        answer = site.get(address)
        assert answer.headers["content-type"].startswith(kind) and "immutable" in answer.headers["cache-control"]
    assert site.get("/static/base.html").status_code == 404


def test_search_finds_users_and_items_and_says_if_there_are_none(site):
    html = site.get("/?q=kitchen").text
    assert "kitchen" in html and "/user?id=" not in html
    assert "/user?id=u11" in site.get("/?q=u1").text
    assert "Nothing is called" in site.get("/?q=zzz").text


def test_long_lists_have_a_next_page(service, site):
    for n in range(100, 140):
        service.add(f"i{n}", f"extra {n}")
    html = site.get("/?q=extra").text
    following = unescape(re.search(r'href="(/\?q=extra[^"]+)">More', html)[1])
    first, second = (set(re.findall(r"extra \d+", page)) for page in (html, site.get(following).text))
    assert len(first) == 24 and len(second) == 16 and not first & second


def test_sliders_reach_the_service_and_change_the_list(service, site):
    plain = _listed(site.get("/user?id=u8").text)
    html = site.get("/user?id=u8&w.textual=0&w.visual=3&w.acoustic=1.0&diversity=0.25&k=5").text
    asked = next(q for q in reversed(service.questions) if q.explain)
    assert (asked.user, asked.weights, asked.diversity, asked.k) == ("u8", {"textual": 0.0, "visual": 3.0}, 0.25, 5)
    assert len(_listed(html)) == 5 and _listed(html) != plain[:5]
    assert "▲" in html or "▼" in html


def test_a_move_is_the_difference_to_the_plain_list(service, site):
    plain = _listed(site.get("/user?id=u8&k=100").text)
    html = site.get("/user?id=u8&w.textual=0").text
    for rank, item in enumerate(_listed(html), start=1):
        row = html.split(f'<li data-id="{item}"')[1].split("</li>")[0]
        move = plain.index(item) + 1 - rank
        shown = re.search(r'class="unseen">(up|down) </span>(\d+)', row)
        assert (0 if shown is None else int(shown[2]) * (1 if shown[1] == "up" else -1)) == move


@pytest.mark.parametrize(
    "query", ["w.visual=4", "w.visual=-1", "w.visual=nan", "w.visual=x", "diversity=1.1", "k=0", "k=1e9"]
)
def test_a_value_beyond_its_slider_is_an_error_page(site, query):
    answer = site.get(f"/user?id=u1&{query}")
    assert answer.status_code == 422 and "expected" in answer.text and "a number from" in answer.text


def test_the_reason_of_an_item_is_a_bar_and_the_items_of_the_user(service, site):
    html = site.get("/user?id=u8").text
    row = html.split("<li data-id=")[1]
    assert re.search(r'aria-label="shares of the score: [^"]*words \d+%', row)
    widths = [float(width) for width in re.findall(r'<rect class="m\d" x="[\d.]+" width="([\d.]+)"', row)]
    assert len(widths) == 3 and max(widths) == widths[2] and 98 <= sum(widths) <= 100
    assert f"/item?id={service.seen['u8'][0]}" in row


def test_a_history_is_made_item_by_item(service, site):
    assert "The list appears with the first item" in site.get("/history").text
    hits = site.get("/history?item=i1&q=beach").text
    offered = re.findall(r'<button class="quiet" name="item" value="(\w+)"', hits)
    assert offered and "i1" not in offered
    html = site.get(f"/history?item=i1&item={offered[0]}&item=i1").text
    assert service.questions[-1].history == ["i1", offered[0]]
    assert _listed(html) and not {"i1", offered[0]} & set(_listed(html))
    site.get(f"/history?item=i1&item={offered[0]}&without=i1")
    assert service.questions[-1].history == [offered[0]]
    assert "No item has the id" in site.get("/history?item=gone").text


def test_an_item_says_why_it_cannot_be_compared(site):
    html = site.get("/item?id=i7").text
    assert "The item has no sound." in html and 'data-by="visual"' in html


def test_an_unknown_user_on_the_pages_of_items_and_the_map_is_a_note(site):
    for address in ("/item?id=i1&user=nobody", "/map?user=nobody"):
        answer = site.get(address)
        assert answer.status_code == 200 and "No user has the id" in answer.text


def test_the_map_names_what_it_draws(service, site):
    html = site.get("/map?user=u3").text
    assert len(re.findall("<circle", html)) == 24
    assert html.count('circle class="seen') == 3 and html.count('circle class="recommended') == 12
    assert len(re.findall(r"<tbody>.*?</tbody>", html, re.DOTALL)[0].split("<tr>")) == 16


@pytest.mark.parametrize("address", ["/user?id=nobody", "/item?id=nothing", "/thumbnail?id=i1"])
def test_an_unknown_id_is_a_page_that_says_so(site, address):
    answer = site.get(address)
    assert answer.status_code == 404 and "Not found" in answer.text


@pytest.mark.parametrize("address", ["/user", "/item?id="])
def test_an_address_without_an_id_is_an_error_page(site, address):
    assert site.get(address).status_code == 422


@pytest.mark.parametrize("id", ["..", "a/b", "a&b=c", "?", "#x", "ä 日", "%2F", " x ", "<b>"])
def test_every_id_has_an_address(service, site, id):
    service.add(id, f"odd one {id}")
    link = unescape(re.search(r'class="name" href="([^"]+)"><bdi>odd', site.get("/?q=odd one").text)[1])
    answer = site.get(link)
    assert answer.status_code == 200 and f"odd one {id}" in unescape(answer.text)
    assert service.item(id).id in unescape(site.get("/history", params={"item": id}).text)


def test_a_new_item_is_put_with_its_words_picture_and_attributes(service, site):
    written = []
    site = _client(service, on_write=lambda: written.append(sorted(service.pictures)))
    data = {"id": "n/1", "title": "A <new> one", "text": "forest at night", "a.year": "2024", "a.tags": "x, y"}
    answer = site.post("/new", data=data, files={"image": ("p.png", _png("blue"), "image/png")}, headers=OWN)
    assert answer.status_code == 303 and written == [["n/1"]]
    html = site.get(answer.headers["location"]).text
    assert "A <new> one" in unescape(html) and "Added." in html and "Where it lands" in html
    assert service.vectors["n/1"][2] > 0 and service.vectors["n/1"][8] > 0
    assert site.get("/thumbnail", params={"id": "n/1"}).content == _png("blue")
    ranks = [int(rank) for rank in re.findall(r"</bdi></a></th><td>(\d+)</td>", html)]
    assert ranks and ranks == sorted(ranks) and ranks[0] == 1


def test_attributes_are_sent_in_the_type_of_their_column(service, site, monkeypatch):
    put, put_item = [], service.put_item
    monkeypatch.setattr(service, "put_item", lambda id, request: put.append(request) or put_item(id, request))
    site.post("/new", data={"text": "beach", "a.year": "1999", "a.tags": "x, y,"}, headers=OWN)
    assert put[0].attributes == {"year": 1999, "tags": ["x", "y"]} and put[0].media.text == "beach"
    answer = site.post("/new", data={"text": "beach", "a.year": "soon"}, headers=OWN)
    assert answer.status_code == 422 and "a whole number" in answer.text and 'value="soon"' in answer.text


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"title": "nothing else"}, "nothing to be placed by"),
        ({"id": "i1", "text": "beach"}, "an id that no item has"),
        ({"id": "x" * 600, "text": "beach"}, "512"),
        ({"text": "beach" * 30_000}, "100000"),
    ],
)
def test_a_form_that_does_not_fit_comes_back_with_what_was_typed(service, site, data, problem):
    before = set(service.titles)
    answer = site.post("/new", data=data, headers=OWN)
    assert answer.status_code == 422 and problem in answer.text and 'role="alert"' in answer.text
    assert next(iter(data.values()))[:50] in answer.text and set(service.titles) == before


def test_a_picture_that_is_none_is_an_error_of_the_form(site):
    answer = site.post("/new", files={"image": ("x.png", b"not a picture")}, headers=OWN)
    assert answer.status_code == 422 and "a JPEG, PNG or WebP file" in answer.text


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (MissingExtraError("Media of items", "media"), "pip install"),
        (InputError("media of an item", remedy="start it with encoders"), "start it with encoders"),
    ],
)
def test_errors_of_the_service_are_shown_in_the_form(service, site, monkeypatch, error, shown):
    def refuse(*_):
        raise error

    monkeypatch.setattr(service, "put_item", refuse)
    answer = site.post("/new", data={"text": "beach"}, headers=OWN)
    assert answer.status_code == 422 and shown in answer.text


def test_an_item_that_the_model_cannot_place_is_said(service, site, monkeypatch):
    monkeypatch.setattr(service, "put_item", lambda id, request: None)
    answer = site.post("/new", data={"text": "beach"}, headers=OWN)
    assert answer.status_code == 422 and "cannot place it" in answer.text


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "cross-site"}, {"origin": "http://elsewhere"}])
def test_a_form_from_another_site_changes_nothing(service, site, headers):
    before = set(service.titles)
    answer = site.post("/new", data={"text": "beach"}, headers=headers)
    assert answer.status_code == 403 and set(service.titles) == before


def test_a_form_that_is_too_large_is_refused(site):
    answer = site.post("/new", files={"image": ("x.png", b"x" * (25 * 2**20))}, headers=OWN)
    assert answer.status_code == 413


def test_only_pictures_are_served_as_thumbnails_and_they_are_not_sent_twice(service, site, monkeypatch):
    service.pictures["i1"] = _png("red")
    answer = site.get("/thumbnail?id=i1")
    assert answer.headers["content-type"] == "image/png" and answer.headers["x-content-type-options"] == "nosniff"
    again = site.get("/thumbnail?id=i1", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert '<img class="thumb" src="/thumbnail?id=i1"' in site.get("/").text
    monkeypatch.setattr(service, "thumbnail", lambda id: (b"<svg onload='x'/>", "image/svg+xml"))
    assert site.get("/thumbnail?id=i1").status_code == 404


def test_a_service_that_is_not_ready_is_a_page(service):
    def loading() -> FakeService:
        raise HTTPException(503, "the bundle is still loading", {"Retry-After": "1"})

    app = FastAPI()
    app.include_router(router(loading, keys=None))
    answer = TestClient(app).get("/")
    assert answer.status_code == 503 and "The bundle is still loading" in answer.text
    assert answer.headers["retry-after"] == "1"


def test_the_page_works_below_a_prefix(service):
    app = FastAPI()
    app.include_router(router(lambda: service, keys=None))
    html = TestClient(app, root_path="/shop").get("/user?id=u1").text
    addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', html)
    assert addresses and all(address.startswith("/shop/") for address in addresses)


def test_the_page_is_not_part_of_the_documented_interface(site):
    assert site.get("/openapi.json").json()["paths"] == {}
