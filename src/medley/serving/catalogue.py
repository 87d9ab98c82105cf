"""The items that are served now: those of the bundle, with what was added, changed and deleted since.

Items of the bundle have rows 0 to I - 1, items that were added later the rows after. A row is never given twice: a
deleted item keeps its row, and has the row again if it is put again.

Shapes: I items of the bundle, N items with those added since, V columns of item vectors, d_m raw dimension of
modality m.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from medley.errors import InputError, NotFoundError
from medley.serving.bundle import Bundle
from medley.serving.filters import Filter, ItemFilters
from medley.serving.new_items import Embedded

GROW = 1.5  # factor by which arrays grow


class Item(NamedTuple):
    """An item that was added, or an item of the bundle that was changed."""

    attributes: dict[str, Any]  # all columns but item_id
    features: Mapping[str, np.ndarray]  # modality -> (d_m,) raw
    vector: np.ndarray | None  # (V,); None: the vector of the bundle
    length: float | None  # with which it counts in a history; None: the rule of the bundle says it


class Catalogue:
    """Raw ids, attributes, features and vectors of all items. Not locked: the service lets one thread write at a time.

    Readers see an item whole or not at all: its row is published last. They read a copy of what changes.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.num_bundled = bundle.manifest.num_items
        self.popularity = _Column(bundle.popularity.astype(np.int64))
        self.cold = _Column(bundle.popularity == 0)
        self.alive = _Column(np.ones(self.num_bundled, dtype=bool))
        self.placed = _Column(np.ones(self.num_bundled, dtype=bool))  # has a vector, so it can be ranked
        self._changed: dict[int, Item] = {}
        self._added: dict[str, int] = {}  # raw id -> row
        self._ids: list[str] = []  # of added items
        self.filters = ItemFilters(bundle.items)
        self._columns = frozenset(bundle.items.columns)

    def __len__(self) -> int:
        """Returns the number of rows, deleted items included."""
        return self.num_bundled + len(self._ids)

    @property
    def num_alive(self) -> int:
        """The number of items that can be listed."""
        return int(self.alive.values.sum())

    def find(self, raw_id: str) -> int | None:
        """Returns the row of an id, also of a deleted item; None for an unknown id."""
        row = self._added.get(raw_id)
        return self.bundle.item_ids.find(raw_id) if row is None else row

    def find_alive(self, raw_id: str) -> int | None:
        """Returns the row of an item that can be listed; None for an unknown or deleted item."""
        row = self.find(raw_id)
        return row if row is not None and self.alive.values[row] else None

    def row(self, raw_id: str) -> int:
        """Returns the row of an item.

        Raises:
            NotFoundError: no such item, or a deleted item.
        """
        row = self.find_alive(raw_id)
        if row is None:
            raise NotFoundError("item", got=repr(raw_id), remedy="GET /v1/items lists all items")
        return row

    def rows(self, raw_ids: Iterable[str]) -> tuple[np.ndarray, list[str]]:
        """Returns the rows of known items, each once, in the given order, and the ids that are not known."""
        rows: dict[int, None] = {}
        unknown = []
        for raw_id in raw_ids:
            row = self.find_alive(raw_id)
            if row is None:
                unknown.append(raw_id)
            else:
                rows[row] = None
        return np.fromiter(rows, dtype=np.int64, count=len(rows)), unknown

    def allowed(self, filter: Filter | None) -> np.ndarray:
        """Returns (N,) bool: which items can be listed and pass a filter.

        Raises:
            InputError: an unknown column of the filter.
        """
        alive, placed, mask = self.alive.values, self.placed.values, self.filters.mask(filter)
        size = min(len(alive), len(placed), len(alive if mask is None else mask))
        may = alive[:size] & placed[:size]
        return may if mask is None else may & mask[:size]

    def raw_id(self, row: int) -> str:
        """Returns the raw id of a row."""
        return self._ids[row - self.num_bundled] if row >= self.num_bundled else self.bundle.item_ids.raw_id(row)

    def attributes(self, row: int) -> dict[str, Any]:
        """Returns all columns of an item but its id, without empty cells."""
        if row in self._changed:
            return dict(self._changed[row].attributes)
        cells = self.bundle.items.row(row, named=True)
        return {name: value for name, value in cells.items() if name != "item_id" and value is not None}

    def title(self, row: int) -> str | None:
        """Returns the title of an item, if it has one."""
        title = self.attributes(row).get("title")
        return None if title is None else str(title)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors (n, V) of item rows (n,)."""
        own = {at: self._changed[row].vector for at, row in enumerate(rows.tolist()) if row in self._changed}
        own = {at: vector for at, vector in own.items() if vector is not None}
        if not own:
            return self.bundle.scores.item_vectors(rows)
        bundled = np.array([at for at in range(len(rows)) if at not in own], dtype=np.int64)
        out = np.empty((len(rows), len(next(iter(own.values())))), dtype=np.float32)
        if len(bundled):
            out[bundled] = self.bundle.scores.item_vectors(rows[bundled])
        for at, vector in own.items():
            out[at] = vector
        return out

    def features(self, row: int) -> dict[str, np.ndarray]:
        """Returns modality -> raw features (d_m,) of the modalities that an item has."""
        if row in self._changed:
            return dict(self._changed[row].features)
        return {m: np.asarray(f.values[row]) for m, f in self.bundle.features.items() if f.present[row]}

    @property
    def changed(self) -> list[int]:
        """The rows of items that were added, or changed since the export."""
        return list(self._changed)

    def own_features(self, modality: str) -> dict[int, np.ndarray | None]:
        """Returns row -> features of all items whose features differ from the bundle; None where an item has none."""
        return {row: item.features.get(modality) for row, item in list(self._changed.items())}

    def own_vectors(self) -> dict[int, np.ndarray]:
        """Returns row -> vector of all items whose vector differs from the bundle."""
        return {row: item.vector for row, item in list(self._changed.items()) if item.vector is not None}

    def own_lengths(self, rows: np.ndarray) -> dict[int, float]:
        """Returns row -> length, of those of the rows (n,) whose length in a history is not that of the bundle."""
        items = {row: self._changed[row] for row in rows.tolist() if row in self._changed}
        return {row: item.length for row, item in items.items() if item.length is not None}

    def put(self, raw_id: str, attributes: Mapping[str, Any], features: Mapping[str, np.ndarray]) -> int:
        """Adds an item, or replaces the attributes and features of one; returns its row.

        An item with interactions keeps the vector that was learned; any other item gets one from its features. An added
        item of which the model cannot make one is known, but listed for nobody.

        Raises:
            InputError: attributes or features of a wrong form.
        """
        attributes = self.checked(attributes)
        found = self.find(raw_id)
        learned = found is not None and found < self.num_bundled and not self.cold.values[found]
        embedded = Embedded(None) if learned else self.bundle.embed(features)
        row = len(self) if found is None else found
        if found is None:
            self.popularity.append(0)
            self.cold.append(True)
            self.placed.append(False)
            self.alive.append(False)
            self._ids.append(raw_id)
        self._changed[row] = Item(attributes, dict(features), embedded.vector, embedded.length)
        self.filters.put(
            row, {"item_id": raw_id} | {name: v for name, v in attributes.items() if name in self._columns}
        )
        self._added.setdefault(raw_id, row)
        self.placed.values[row] = row < self.num_bundled or embedded.vector is not None
        self.alive.values[row] = True
        return row

    def delete(self, row: int) -> None:
        """Stops listing an item."""
        self.alive.values[row] = False

    def containing(self, text: str) -> np.ndarray:
        """Returns the rows (n,), ascending, of items whose id or title contains a text, in any case."""
        text, table = text.lower(), self.bundle.items
        found = np.zeros(len(self), dtype=bool)
        for name in {"item_id", "title"} & set(table.columns):
            holds = table[name].cast(pl.String).str.to_lowercase().str.contains(text, literal=True)
            found[: self.num_bundled] |= holds.fill_null(False).to_numpy()
        for row in [row for row in list(self._changed) if row < len(found)]:
            found[row] = text in self.raw_id(row).lower() or text in (self.title(row) or "").lower()
        return np.flatnonzero(found)

    def checked(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the attributes that are not None; a title is always allowed.

        Raises:
            InputError: a column that the item table does not have, or a value of a wrong type.
        """
        given = {name: value for name, value in attributes.items() if value is not None}
        if "item_id" in given:
            raise InputError("attributes", expected="columns other than item_id", got="item_id")
        self.filters.checked({name: value for name, value in given.items() if name in self._columns or name != "title"})
        return given


class _Column:
    """A column that grows; `values` is a view of its rows."""

    def __init__(self, values: np.ndarray):
        self._array, self.values = values, values

    def append(self, value: Any) -> None:
        size = len(self.values)
        if size == len(self._array):
            grown = np.empty(int((size + 16) * GROW), dtype=self._array.dtype)
            grown[:size] = self._array
            self._array = grown
        self._array[size] = value
        self.values = self._array[: size + 1]
