"""A store for a service without a file."""

from collections.abc import Sequence

from medley.serving.records import Event, Outcome


class Unsaved:
    """A store that forgets everything but the ids of feedback: changes live in memory alone."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}

    def put_item(self, *_: object) -> None: ...
    def delete_item(self, *_: object) -> None: ...
    def put_user(self, *_: object) -> None: ...
    def delete_user(self, *_: object) -> None: ...
    def close(self) -> None: ...

    def add_feedback(self, events: Sequence[Event]) -> list[Outcome]:
        """Returns what became of each event, as a store does."""
        outcomes: list[Outcome] = []
        for event in events:
            known = self._events.setdefault(event.id, event)
            outcomes.append("new" if known is event else "duplicate" if known == event else "conflict")
        return outcomes
