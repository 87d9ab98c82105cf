"""Groups of items as matrices (I, G): each row holds the shares of an item in G groups, and is empty for no group.

Shapes: I items, G groups.
"""

import numpy as np
import polars as pl
import scipy.sparse as sp

from medley.errors import InputError

SEPARATORS = ("|", ";", ",")  # of the genres of one item; the first that occurs in the column separates
HEAD = TAIL = 0.2  # share of the interactions: Abdollahpouri et al., User-centered evaluation of popularity bias, 2021


def genres(items: pl.DataFrame, column: str, separator: str | None = None) -> sp.csr_array:
    """Reads the genres of the items from a column; an item with several genres belongs to each with an equal share.

    Args:
        items: the item table.
        column: of text, of lists of text, or of any other values that name one genre each.
        separator: between several genres in a text; by default the first of `|`, `;` and `,` that occurs in the column.

    Returns:
        (I, G), rows that sum to 1, or 0 where an item has no genre.

    Raises:
        InputError: no such column, or no item has a genre in it.
    """
    if column not in items.columns or column == "item_id":
        known = ", ".join(name for name in items.columns if name != "item_id")
        got = repr(column)
        raise InputError("column of genres", expected=known or "a data set whose items have columns", got=got)
    values = items[column]
    if not isinstance(values.dtype, pl.List):
        values = values.cast(pl.String)
        found = (each for each in SEPARATORS if values.str.contains(each, literal=True).any())
        separator = next(found, None) if separator is None else separator
        values = values if separator is None else values.str.split(separator)
    one = pl.DataFrame({"item": np.arange(len(values)), "genre": values})
    one = one.explode("genre") if isinstance(values.dtype, pl.List) else one
    one = one.with_columns(pl.col("genre").cast(pl.String).str.strip_chars()).filter(
        pl.col("genre").str.len_bytes() > 0
    )
    one = one.unique(maintain_order=True)
    if not len(one):
        raise InputError(f"column {column} of the items", expected="genres", got="no value")
    names, group = np.unique(one["genre"].to_numpy(), return_inverse=True)
    item = one["item"].to_numpy()
    share = 1 / np.bincount(item, minlength=len(items))[item]
    return sp.csr_array((share, (item, group)), shape=(len(items), len(names)))


def popularity_groups(popularity: np.ndarray) -> sp.csr_array:
    """Divides items into head, middle and tail by train popularity (I,): the most popular items that make up the first
    20% of all interactions, the items that make up the last 20%, and those between; equal popularity by lower row.

    Returns:
        (I, 3), one 1 in each row.
    """
    order = np.argsort(-popularity, kind="stable")
    before = np.concatenate([[0], np.cumsum(popularity[order])[:-1]])  # interactions of more popular items
    total = popularity.sum()
    group = np.empty(len(popularity), dtype=np.int64)
    group[order] = np.where(before < HEAD * total, 0, np.where(before < (1 - TAIL) * total, 1, 2))
    return sp.csr_array((np.ones(len(group)), (np.arange(len(group)), group)), shape=(len(group), 3))
