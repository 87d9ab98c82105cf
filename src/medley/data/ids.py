"""Raw ids <-> rows. Only this module converts between them.

Raw ids are text, also if the log has numbers: `17` and `"17"` are one id. Rows are 0, 1, ... in natural order (numeric
if every id is a whole number, else by code point), so the same set of ids gives the same rows for any order of
the log.
"""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from medley.errors import InputError


class IdMap:
    """The raw ids of users or of items, in row order."""

    def __init__(self, raw: pl.Series, *, kind: str, left_out: Callable[[], Mapping[str, str]] | None = None):
        """Numbers raw ids.

        Args:
            raw: the ids, in row order.
            kind: user or item.
            left_out: reads id -> why the import left it out; asked only when an id is unknown.
        """
        self.raw = raw.cast(pl.String).rename(f"{kind}_id")  # (n,)
        self.kind = kind
        self._left_out = left_out
        self._row_of = {raw_id: row for row, raw_id in enumerate(self.raw)}
        if len(self._row_of) != len(self.raw):
            twice = self.raw.filter(self.raw.is_duplicated())[0]
            raise InputError(f"{kind} ids must be distinct", got=f"{twice!r} twice", remedy="keep one row per id")

    @classmethod
    def of(cls, raw: pl.Series, *, kind: str) -> "IdMap":
        """Maps the distinct values of `raw`, in natural order."""
        distinct = raw.cast(pl.String).unique()
        numbers = distinct.cast(pl.Int64, strict=False)
        plain = numbers.is_not_null().all() and bool((numbers.cast(pl.String) == distinct).all())
        ordered = distinct.gather(numbers.arg_sort()) if plain else distinct.sort()
        return cls(ordered, kind=kind)

    def __len__(self) -> int:
        return len(self.raw)

    def find(self, raw_id: str) -> int | None:
        """Returns the row of one raw id, None if the id is unknown; unlike `row`, without looking for similar ids."""
        row = self._row_of.get(raw_id)
        return self._row_of.get(raw_id.strip()) if row is None else row

    def row(self, raw_id: str | int) -> int:
        """Returns the row of one raw id; whole numbers count as text, white space around text is dropped.

        Raises:
            InputError: the id is neither text nor a whole number, or it is unknown; the message says whether the import
                left it out, or names similar ids.
        """
        if isinstance(raw_id, bool | np.bool_) or not isinstance(raw_id, str | int | np.integer):
            expected, remedy = "text or a whole number", "give one raw id"
            raise InputError(f"{self.kind} id", expected=expected, got=f"{raw_id!r:.80}", remedy=remedy)
        text = str(raw_id)
        text = text if text in self._row_of else text.strip()
        if text in self._row_of:
            return self._row_of[text]
        reason = self._left_out().get(text) if self._left_out is not None else None
        if reason is not None:
            remedy = f"import again with other options to have this {self.kind}"
            raise InputError(f"{self.kind} {text!r} was left out by the import", got=reason, remedy=remedy)
        import difflib

        alike = difflib.get_close_matches(text, self.raw.head(100_000).to_list(), n=3)
        remedy = f"did you mean {', '.join(alike)}?" if alike else f"ids look like {self.raw[0]!r}"
        raise InputError(f"unknown {self.kind} id", got=repr(text), remedy=remedy)

    def rows(self, raw: pl.Series) -> np.ndarray:
        """Returns (n,) int32 rows of raw ids, -1 for unknown ids."""
        found = raw.cast(pl.String).replace_strict(self.raw, np.arange(len(self), dtype=np.int32), default=-1)
        return found.cast(pl.Int32).to_numpy()

    def raw_id(self, row: int) -> str:
        """Returns the raw id of one row."""
        return self.raw[int(row)]
