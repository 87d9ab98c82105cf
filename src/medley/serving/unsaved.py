"""A store for a service without a file."""

from collections.abc import Iterator, Sequence

from medley.serving.records import Event, Outcome


class Unsaved:
    """A store that keeps feedback in memory and nothing else: the service itself holds items and users."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}

    def put_item(self, *_: object) -> None: ...
    def delete_item(self, *_: object) -> None: ...
    def put_user(self, *_: object) -> None: ...
    def delete_user(self, *_: object) -> None: ...
    def close(self) -> None: ...

    def is_forgotten(self, _: object) -> bool:
        """Returns False: nothing stays of a deleted user."""
        return False

    def num_changes(self) -> int:
        """Returns 0: nobody else writes here."""
        return 0

    def feedback(self, *, since: int = 0) -> Iterator[tuple[int, Event]]:
        """Yields (number, event) of new events, as a store does."""
        return iter(list(enumerate(self._events.values(), start=1))[since:])

    def add_feedback(self, events: Sequence[Event]) -> list[Outcome]:
        """Returns what became of each event, as a store does."""
        outcomes: list[Outcome] = []
        for event in events:
            known = self._events.setdefault(event.id, event)
            outcomes.append("new" if known is event else "duplicate" if known == event else "conflict")
        return outcomes
