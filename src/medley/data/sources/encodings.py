"""Bytes of text in any encoding -> UTF-8 without a byte order mark."""

import codecs
from pathlib import Path

from medley.errors import InputError

MARKS = (  # the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BEGINNING = 4_000  # bytes that tell UTF-16 without a mark


def to_utf8(path: Path, data: bytes, encoding: str = "utf-8") -> bytes:
    """Converts text to UTF-8; a byte order mark wins over `utf-8`, and contradicts any other encoding.

    Raises:
        InputError: the encoding is unknown or wrong, or the text holds a NUL byte; the message names line and byte.
    """
    name = _known(encoding)
    mark = next((its for bom, its in MARKS if data.startswith(bom)), None)
    if mark is not None and name not in ("utf-8", "utf-8-sig") and not name.startswith(mark.removesuffix("-sig")):
        got, remedy = f"the byte order mark of {mark.removesuffix('-sig')}", "leave encoding out"
        raise InputError("wrong encoding", file=path, expected=encoding, got=got, remedy=remedy)
    if mark is not None:
        name = mark
    elif name == "utf-16":
        name = _wide(data) or name
    try:
        if name == "utf-8":
            data.decode()
        else:
            data = data.decode(name).encode()
    except UnicodeError as error:
        raise _wrong(path, data, getattr(error, "start", 0), encoding) from None
    except (LookupError, ValueError):
        raise InputError("encoding", expected="a text encoding", got=repr(encoding)) from None
    data = data.removeprefix(codecs.BOM_UTF8)
    if (offset := data.find(b"\0")) >= 0:
        wide = _wide(data)
        if wide is not None:
            raise _wrong(path, data, offset, encoding)
        raise InputError(
            "a NUL byte",
            file=path,
            row=data.count(b"\n", 0, offset) + 1,
            expected="text",
            got=f"byte 0x00 at offset {offset:,} ({data.count(bytes(1)):,} in the file)",
            remedy=f"remove it, for example with tr -d '\\000' < {path.name}",
        )
    return data


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except (LookupError, ValueError, TypeError):
        remedy = 'use a name that Python knows, for example "latin-1", "cp1252" or "utf-16"'
        raise InputError("encoding", got=repr(encoding), remedy=remedy) from None


def _wide(data: bytes) -> str | None:
    """Recognises UTF-16 without a mark by the NULs in every second byte of its Latin letters."""
    even, odd = data[:BEGINNING:2].count(0), data[1:BEGINNING:2].count(0)
    many = min(len(data), BEGINNING) / 5
    return "utf-16-le" if odd > many and odd > 4 * even else "utf-16-be" if even > many and even > 4 * odd else None


def _wrong(path: Path, data: bytes, offset: int, encoding: str) -> InputError:
    wide = _wide(data)
    if wide is not None:
        likely, tool = wide, wide.upper().replace("-LE", "LE").replace("-BE", "BE")
    elif encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        likely, tool = "utf-8", None
    else:
        windows = any(0x80 <= byte < 0xA0 for byte in data[offset : offset + 100_000])
        likely, tool = ("cp1252", "CP1252") if windows else ("latin-1", "LATIN1")
    convert = f", or convert it: iconv -f {tool} -t UTF-8 {path.name}" if tool else ""
    return InputError(
        "wrong encoding",
        file=path,
        row=data.count(b"\n", 0, offset) + 1,
        expected=encoding.upper() if encoding == "utf-8" else encoding,
        got=f"byte 0x{data[offset]:02X} at offset {offset:,}" if offset < len(data) else "an end within a letter",
        remedy=f'perhaps encoding="{likely}"{convert}',
    )
