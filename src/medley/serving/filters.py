"""Filters over the columns of the items: which items pass.

    {"must": [{"field": "genres", "in": ["Action", "Comedy"]}, {"field": "year", "gte": 1990, "lte": 1999}],
     "must_not": [{"field": "title", "eq": "Heat"}],
     "should": [...]}

An item passes if every condition of `must` holds, none of `must_not`, and at least one of `should`, if there is any. A
condition on a value that an item lacks does not hold. Columns are described in columns.py.

Shapes: I items.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from medley.errors import InputError, invalid
from medley.serving.columns import Column, Scalar, columns_of, nearest

MAX_VALUES = 10_000  # of one `in`
MAX_CONDITIONS = 100  # of each list
CACHE_BYTES = 2**26  # of masks, 64 MiB
MAX_CHANGES = 100_000  # that masks are told one by one; then all masks are computed anew


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("text, a finite number, or true or false")
    return value


Value = Annotated[Any, BeforeValidator(_scalar)]


class Condition(BaseModel):
    """A condition on one column: `eq`, `in`, or a range with `gte`, `lte` or both."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    field: str
    eq: Value = None
    any_of: Annotated[tuple[Value, ...] | None, Field(alias="in", min_length=1, max_length=MAX_VALUES)] = None
    gte: Value = None
    lte: Value = None

    @model_validator(mode="after")
    def _one_test(self) -> "Condition":
        tests = [name for name in ("eq", "any_of") if getattr(self, name) is not None]
        tests += ["range"] if self.gte is not None or self.lte is not None else []
        if len(tests) != 1:
            raise ValueError("one of eq, in, or a range (gte, lte or both)")
        return self


class Filter(BaseModel):
    """Which items may be recommended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    must: Annotated[tuple[Condition, ...], Field(max_length=MAX_CONDITIONS)] = ()
    must_not: Annotated[tuple[Condition, ...], Field(max_length=MAX_CONDITIONS)] = ()
    should: Annotated[tuple[Condition, ...], Field(max_length=MAX_CONDITIONS)] = ()

    @classmethod
    def parse(cls, document: object) -> "Filter":
        """Reads a filter from names with values, as JSON has them.

        Raises:
            InputError: not a filter; the message names the first problem.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            known = {"lists": list(cls.model_fields), "names in a condition": ["field", "eq", "in", "gte", "lte"]}
            raise invalid(error, "field", of="the filter", known=known) from None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of all lists."""
        return (*self.must, *self.must_not, *self.should)


class _Mask(NamedTuple):
    passing: np.ndarray  # (I,) bool, not writable
    num_changes: int  # that it knows of


class ItemFilters:
    """The columns of the items, and cached masks of the filters that were asked for. Safe with threads."""

    def __init__(self, items: pl.DataFrame, *, separators: Mapping[str, str | None] | None = None):
        """Looks at the columns.

        Args:
            items: one row per item, in row order.
            separators: text column -> what separates the values of a cell, None for one value; by default the data
                decide, see `medley.serving.columns.separator_of`.

        Raises:
            InputError: a separator for something that is not a text column.
        """
        self.columns: dict[str, Column] = columns_of(items, separators or {})
        self._base = {name: column.read(items[name]) for name, column in self.columns.items()}
        self._others = set(items.columns) - set(self.columns)  # cannot be filtered
        self._num_base, self._num_items = items.height, items.height
        self._changed: dict[int, dict[str, Any]] = {}  # row -> values that replace those of the table
        self._changes: list[int] = []  # rows, in the order of the changes
        self._masks: OrderedDict[str, _Mask] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._num_items

    def put(self, row: int, values: Mapping[str, Scalar | list | None]) -> None:
        """Sets all columns of one item; the next mask knows the change.

        Args:
            row: of an item, or the number of items for a new item.
            values: column -> value; a column without a value is empty.

        Raises:
            InputError: unknown column, a value of a wrong type, or a row that leaves a gap; nothing is changed.
        """
        read = self.checked(values)
        with self._lock:
            if not 0 <= row <= self._num_items:
                raise InputError("row of the item", expected=f"0 to {self._num_items:,}", got=f"{row:,}")
            if len(self._changes) >= MAX_CHANGES:
                self._masks.clear()
                self._changes.clear()
            self._changed[row] = read
            self._changes.append(row)
            self._num_items = max(self._num_items, row + 1)

    def checked(self, values: Mapping[str, Scalar | list | None]) -> dict[str, Any]:
        """Returns column -> value as the columns hold it; columns that cannot be filtered are left out.

        Raises:
            InputError: unknown column, or a value of a wrong type.
        """
        for name in values:
            if name not in self._others:
                self._column(name)
        return {name: column.stored(values.get(name)) for name, column in self.columns.items()}

    def mask(self, which: Filter | None) -> np.ndarray | None:
        """Returns the items that pass.

        Args:
            which: the filter; None, or one without conditions, lets all items pass.

        Returns:
            (I,) bool, not writable; None where all items pass.

        Raises:
            InputError: unknown column, or a value that does not fit the type of its column.
        """
        if which is None or not which.conditions:
            return None
        for condition in which.conditions:
            self._column(condition.field).check(condition)
        key = which.model_dump_json()
        with self._lock:
            known = self._masks.pop(key, None)
            mask = self._patched(known, which) if known is not None else self._computed(which)
            self._masks[key] = mask
            while len(self._masks) > 1 and sum(each.passing.nbytes for each in self._masks.values()) > CACHE_BYTES:
                self._masks.popitem(last=False)
        return mask.passing

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            remedy = nearest(name, self.columns)
            raise InputError("column of the items", expected="a column of the items", got=repr(name), remedy=remedy)
        return self.columns[name]

    def _computed(self, which: Filter) -> _Mask:
        passing = np.zeros(self._num_items, dtype=bool)
        passing[: self._num_base] = self._passing(which, self._base, self._num_base)
        return self._frozen(passing, which, list(self._changed))

    def _patched(self, known: _Mask, which: Filter) -> _Mask:
        later = self._changes[known.num_changes :]
        if not later:
            return known
        passing = np.zeros(self._num_items, dtype=bool)
        passing[: len(known.passing)] = known.passing
        return self._frozen(passing, which, list(dict.fromkeys(later)))

    def _frozen(self, passing: np.ndarray, which: Filter, rows: list[int]) -> _Mask:
        """Judges some changed rows anew."""
        if rows:
            changed = {
                name: column.read(column.series([self._changed[row][name] for row in rows]))
                for name, column in self.columns.items()
                if any(condition.field == name for condition in which.conditions)
            }
            passing[rows] = self._passing(which, changed, len(rows))
        passing.setflags(write=False)
        return _Mask(passing, len(self._changes))

    def _passing(self, which: Filter, read: Mapping[str, Any], num_items: int) -> np.ndarray:
        def holds(condition: Condition) -> np.ndarray:
            return self.columns[condition.field].holds(condition, read[condition.field])

        passing = np.ones(num_items, dtype=bool)
        for condition in which.must:
            passing &= holds(condition)
        for condition in which.must_not:
            passing &= ~holds(condition)
        if which.should:
            passing &= np.logical_or.reduce([holds(condition) for condition in which.should])
        return passing
