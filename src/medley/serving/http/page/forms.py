"""Reads forms that a browser posts: `application/x-www-form-urlencoded` and `multipart/form-data` (RFC 7578)."""

import re
from email.message import Message
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request

from medley.errors import InputError

MAX_BODY = 24 * 2**20  # bytes of a form with its files
MAX_FIELDS = 200


class Upload(NamedTuple):
    """A file of a form."""

    name: str
    content: bytes


class TooLargeError(InputError):
    """The form exceeds the limit on its size."""


class Fields:
    """The fields of a form, in the order of the page."""

    def __init__(self, texts: list[tuple[str, str]], uploads: dict[str, Upload]):
        self.texts, self.uploads = texts, uploads

    def text(self, name: str) -> str:
        """Returns the stripped value of the first field of this name, '' where there is none."""
        return next((value.strip() for key, value in self.texts if key == name), "")


async def read_form(request: Request, *, limit: int = MAX_BODY) -> Fields:
    """Reads the form in the body of a request.

    Args:
        request: a request that was posted by a form.
        limit: bytes of the body; reading stops there.

    Raises:
        TooLargeError: the body is longer than `limit`.
        InputError: the body is not a form, or it is damaged.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError("size of the form", expected=f"{limit:,} bytes at most", got="more")
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    kind = header.get_content_type()
    if kind == "application/x-www-form-urlencoded":
        try:
            texts = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
        except ValueError as error:
            raise _damaged(str(error)) from None
        return Fields(texts, {})
    if kind == "multipart/form-data":
        boundary = header.get_param("boundary")
        if isinstance(boundary, str) and boundary:
            return parse_multipart(bytes(body), boundary)
    raise InputError("type of the form", expected="a form as a browser posts it", got=repr(kind))


def parse_multipart(body: bytes, boundary: str) -> Fields:
    """Parses a body of the type `multipart/form-data`.

    A file without a name and without content is a file field that was left empty, and is left out.

    Raises:
        InputError: the body is damaged, or has more than MAX_FIELDS fields.
    """
    delimiter = b"\r\n--" + boundary.encode()
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise _damaged("its end is missing")
    if len(pieces) - 2 > MAX_FIELDS:
        raise _damaged(f"it has more than {MAX_FIELDS} fields")
    texts, uploads = [], {}
    for piece in pieces[1:-1]:
        head, separator, content = piece.partition(b"\r\n\r\n")
        name, file = _disposition(head)
        if not separator or name is None:
            raise _damaged("a field has no name")
        if file is None:
            try:
                texts.append((name, content.decode()))
            except UnicodeDecodeError:
                raise _damaged(f"field {name!r} is not UTF-8 text") from None
        elif file or content:
            uploads[name] = Upload(file, content)
    return Fields(texts, uploads)


def _disposition(head: bytes) -> tuple[str | None, str | None]:
    """Returns the name of a field and the name of its file; browsers write quotes in names as %22."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            found = {match[1].lower(): match[2] for match in re.finditer(r';\s*([\w*]+)="([^"]*)"', value)}
            return found.get("name"), found.get("filename")
    return None, None


def _damaged(reason: str) -> InputError:
    return InputError(f"the form is damaged: {reason}", remedy="open the page again and send the form once more")
