"""Raw ids <-> rows. Only this module converts between them.

Raw ids are text, also if the log has numbers: `17` and `"17"` are one id. Rows are 0, 1, ... in natural order (numeric
if every id is a whole number, else by code point), so the same set of ids gives the same rows for any order of
the log.
"""

import numpy as np
import polars as pl

from medley.errors import InputError


class IdMap:
    """The raw ids of users or of items, in row order."""

    def __init__(self, raw: pl.Series, *, kind: str):
        self.raw = raw.cast(pl.String).rename(f"{kind}_id")  # (n,)
        self.kind = kind
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

    def row(self, raw_id: str) -> int:
        """Returns the row of one raw id.

        Raises:
            InputError: the id is unknown; the message names similar ids.
        """
        if raw_id in self._row_of:
            return self._row_of[raw_id]
        import difflib

        alike = difflib.get_close_matches(raw_id, self.raw.head(100_000).to_list(), n=3)
        remedy = f"did you mean {', '.join(alike)}?" if alike else f"ids look like {self.raw[0]!r}"
        raise InputError(f"unknown {self.kind} id", got=repr(raw_id), remedy=remedy)

    def rows(self, raw: pl.Series) -> np.ndarray:
        """Returns (n,) int32 rows of raw ids, -1 for unknown ids."""
        found = raw.cast(pl.String).replace_strict(self.raw, np.arange(len(self), dtype=np.int32), default=-1)
        return found.cast(pl.Int32).to_numpy()

    def raw_id(self, row: int) -> str:
        """Returns the raw id of one row."""
        return self.raw[int(row)]
