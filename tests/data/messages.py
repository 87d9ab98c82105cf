"""Messages of errors, for tests."""

from collections.abc import Iterable


def has_in_order(message: str, parts: Iterable[str]) -> None:
    """Checks that a message is one line and has some parts, in this order."""
    position = 0
    for part in parts:
        assert part in message[position:], f"{part!r} is not in {message[position:]!r}"
        position = message.index(part, position) + len(part)
    assert "\n" not in message
