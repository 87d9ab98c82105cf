"""API keys: random secrets with roles, of which the file holds salted hashes only.

    {"version": 1, "keys": [{"id": "3f9a...", "role": "read", "salt": "...", "sha256": "...", "created": "..."}]}

A key is `medley_<id>_<secret>` with 256 random bits, so one round of sha256 is enough: nobody can try all secrets, and
no request pays for a slow hash. The file is read again when it changes; a key that is removed from it works no more.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from medley.errors import InputError, invalid
from medley.files import locked, read_json, write_json

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = ("read", "write", "admin")  # each may do what those before it may
HEADER = "x-api-key"
COOKIE = "medley_key"  # set by the page after signing in
REMEDY = "make a key with `medley serve --keys FILE --new-key ROLE`"
SECONDS_BETWEEN_LOOKS = 1.0  # at the file


class Caller(NamedTuple):
    """Who asks."""

    id: str | None  # of the key; None without keys
    role: Role


ANYONE = Caller(None, "admin")  # on a server without keys, which only this machine can reach


class Key(BaseModel):
    """One key as the file holds it."""

    model_config = ConfigDict(extra="forbid")

    id: str
    role: Role
    salt: str
    sha256: str
    created: str


class KeysFile(BaseModel):
    """The document of the file."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: list[Key]


def new_key(path: Path, role: Role) -> str:
    """Adds a key to a file, which is made if absent, and returns the key: it cannot be read from the file again.

    Raises:
        InputError: the file is not a file of keys.
    """
    if role not in ROLES:
        raise InputError("role", expected=" or ".join(ROLES), got=repr(role))
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        held = read_keys(path) if path.exists() else KeysFile(keys=[])
        identifier, secret, salt = secrets.token_hex(4), secrets.token_urlsafe(32), secrets.token_hex(16)
        text = f"medley_{identifier}_{secret}"
        created = datetime.now(UTC).isoformat(timespec="seconds")
        held.keys.append(Key(id=identifier, role=role, salt=salt, sha256=_hash(text, salt), created=created))
        write_json(path, held.model_dump())
        path.chmod(0o600)
    return text


def read_keys(path: Path) -> KeysFile:
    """Reads a file of keys.

    Raises:
        InputError: the file is absent or is not a file of keys.
    """
    document = read_json(path, remedy=REMEDY)
    try:
        return KeysFile.model_validate(document)
    except ValidationError as error:
        raise invalid(error, "field", file=path, remedy=REMEDY) from None


class Keys:
    """The keys of a server."""

    def __init__(self, path: Path):
        self.path = path
        self._stamp = self._look()
        self._keys = read_keys(path).keys
        self._looked = time.monotonic()
        if not self._keys:
            raise InputError("the file holds no key: nobody could ask anything", file=path, remedy=REMEDY)

    def caller(self, text: str | None) -> Caller | None:
        """Returns who asks with this key; None for a key that is not in the file."""
        self._refresh()
        if not text:
            return None
        found = None
        for key in self._keys:  # all of them, each in constant time: the time does not tell which one nearly fits
            if hmac.compare_digest(_hash(text, key.salt), key.sha256):
                found = Caller(key.id, key.role)
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = read_keys(self.path).keys
            except (InputError, OSError):  # a file that cannot be read opens no door
                self._keys = []

    def _look(self) -> tuple[int, ...] | None:
        try:
            state = self.path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_ino, state.st_size


def may(role: Role, needed: Role) -> bool:
    """Returns whether a role may do what `needed` may."""
    return ROLES.index(role) >= ROLES.index(needed)


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Returns whether a request that changes something comes from a page of this server.

    Browsers say so in Sec-Fetch-Site; older ones, and pages without https, in Origin. Programs send neither.

    Args:
        headers: of the request, found by names in lower case.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin, host = headers.get("origin", ""), headers.get("host", "")
    return host != "" and origin.partition("://")[2].lower() == host.lower()


def _hash(text: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}:{text}".encode("utf-8", "surrogatepass")).hexdigest()
