"""Short forms of events and items of a store, for tests."""

import numpy as np

from medley.serving.records import Event, StoredItem
from medley.serving.store import Store


def reopened(store: Store) -> Store:
    store.close()
    return Store(store.path, create=False)


def event(number: int, user: str = "ann", **changes) -> Event:
    return Event(
        **{"id": f"e{number}", "user": user, "item": f"i{number % 7}", "type": "click", "time": 1e9, **changes}
    )


def item_of(store: Store, item: str) -> StoredItem | None:
    return next((each for each in store.items() if each.item == item), None)


def num_events(store: Store) -> int:
    return sum(1 for _ in store.feedback())


def same(ours: StoredItem | None, other: StoredItem) -> bool:
    return (
        ours is not None
        and (ours.item, ours.attributes, ours.deleted) == (other.item, other.attributes, other.deleted)
        and ours.features.keys() == other.features.keys()
        and all(np.array_equal(ours.features[name], other.features[name]) for name in other.features)
    )
