import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")
from starlette.requests import Request

from medley.errors import InputError
from medley.serving.http.page.forms import MAX_FIELDS, TooLargeError, Upload, parse_multipart, read_form

FIELD = b'\r\nContent-Disposition: form-data; name="x"\r\n\r\n'


def _request(body: bytes = b"", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    chunks = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False

    async def receive():
        return messages.pop(0)

    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def _read(request: Request):
    """Runs the reading to its end: it waits for nothing but the body, which is there."""
    with pytest.raises(StopIteration) as end:
        read_form(request).send(None)
    return end.value.value


@given(st.text(), st.binary(max_size=500), st.sampled_from([b"", b"\r\n", b"--", b"\r\n--", b"\r\n\r\n"]))
def test_a_form_with_a_file_is_read_as_another_library_wrote_it(words, content, tail):
    sent = httpx.Request("POST", "http://x", data={"text": words}, files={"image": ("a b.png", content + tail)})
    form = _read(_request(sent.read(), content_type=sent.headers["content-type"]))
    assert form.texts == [("text", words)]
    assert form.uploads == {"image": Upload("a b.png", content + tail)}


def test_a_file_field_that_was_left_empty_is_left_out():
    body = b'--B\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n--B--\r\n'
    assert parse_multipart(body, "B").uploads == {}


def test_a_plain_form_is_read():
    form = _read(_request(b"title=a+%C3%A4&empty=", content_type="application/x-www-form-urlencoded"))
    assert form.text("title") == "a ä" and form.text("empty") == form.text("absent") == ""


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "its end is missing"),
        (b"--B" + FIELD + b"half", "its end is missing"),
        (b'--B\r\nContent-Disposition: form-data; name="x"\r\n--B--\r\n', "a field has no name"),
        (b"--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--\r\n", "a field has no name"),
        (b"--B" + FIELD + b"\xff\r\n--B--\r\n", "not UTF-8"),
        (b"--B" + (FIELD + b"1\r\n--B") * (MAX_FIELDS + 1) + b"--", "more than"),
    ],
)
def test_a_damaged_form_is_refused(body, problem):
    with pytest.raises(InputError, match=problem):
        parse_multipart(body, "B")


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "", "a/b; boundary"])
def test_another_body_than_a_form_is_refused(kind):
    with pytest.raises(InputError, match="as a browser posts it"):
        read_form(_request(b"x", content_type=kind)).send(None)


def test_reading_stops_at_the_limit():
    request = _request(b"x" * 5000, content_type="application/x-www-form-urlencoded")
    with pytest.raises(TooLargeError, match="2,000 bytes at most"):
        read_form(request, limit=2000).send(None)
