"""From a raw log to distinct interactions of known users and items. Each step reports how much it dropped."""

import numpy as np
import polars as pl

from medley.data.ids import IdMap
from medley.data.manifest import SPLIT_CODES
from medley.data.sources.raw import RawLog
from medley.data.sources.tables import source_name
from medley.errors import InputError


def refuse_first(
    raw: RawLog, log: pl.DataFrame, bad: pl.Series, what: str, *, expected: str, got: str, remedy: str
) -> None:
    """Raises an InputError about the first interaction that is `bad` (n,): its file, its line, its value of `got`."""
    if bad.any():
        first = log.row(int(bad.arg_max() or 0), named=True)
        file, line = raw.files[first["file"]], first["line"]
        raise InputError(what, file=file, row=line, expected=expected, got=repr(first[got]), remedy=remedy)


def known_items(raw: RawLog) -> pl.Series | None:
    """Returns all item ids if the source defines them, by an item table or by features whose row is the item.

    Raises:
        InputError: features do not match the items, or an interaction or a feature row names an unknown item.
    """
    by_row = {name: features for name, features in raw.features.items() if features.ids is None}
    if raw.items is not None:
        ids, num_items = raw.items.frame["item_id"], len(raw.items.frame)
        origin = source_name(raw.items.path)
        expected, origin = f"an item of {origin}", f"one per item of {origin}"
    elif by_row:
        first = next(iter(by_row.values()))
        num_items = len(first.values)
        ids = pl.Series("item_id", np.arange(num_items)).cast(pl.String)
        origin = source_name(first.path)
        expected, origin = f"0 to {num_items - 1:,}, the rows of {origin}", f"as many as {origin}"
    else:
        return None
    for features in by_row.values():
        if len(features.values) != num_items:
            raise InputError(
                "rows of features",
                file=features.path,
                expected=f"{num_items:,} ({origin})",
                got=f"{len(features.values):,}",
                remedy="extract the features of all items again",
            )
    known = ids.implode()
    outside = ~raw.interactions["item_id"].is_in(known)
    remedy = "add the item, or remove the row"
    refuse_first(raw, raw.interactions, outside, "unknown item", expected=expected, got="item_id", remedy=remedy)
    for features in raw.features.values():
        if features.ids is not None and (outside := ~features.ids.is_in(known)).any():
            row = int(outside.arg_max() or 0)
            got = repr(features.ids[row])
            raise InputError("unknown item", file=features.path, row=row + 1, expected=expected, got=got, remedy=remedy)
    return ids


def refuse_unknown_users(raw: RawLog) -> None:
    """Raises an InputError if an interaction names a user that the user table lacks."""
    if raw.users is not None:
        outside = ~raw.interactions["user_id"].is_in(raw.users.frame["user_id"].implode())
        expected, remedy = f"a user of {source_name(raw.users.path)}", "add the user, or remove the row"
        refuse_first(raw, raw.interactions, outside, "unknown user", expected=expected, got="user_id", remedy=remedy)


def keep_rated(raw: RawLog, log: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Keeps the interactions rated `threshold` or better; a missing rating is an InputError."""
    if "rating" not in log.columns:
        got, remedy = "a log without ratings", "name the column: rating_column=..., or leave the threshold out"
        raise InputError("rating_threshold", got=got, remedy=remedy)
    null, remedy = log["rating"].is_null(), "add the rating or remove the row"
    refuse_first(raw, log, null, "rating", expected="a number", got="rating", remedy=remedy)
    return log.filter(pl.col("rating") >= threshold)


def keep_first(log: pl.DataFrame, *, within_split: bool = False) -> pl.DataFrame:
    """Keeps one interaction per pair (and split): the earliest by split, then time, then order in the file."""
    keys = [pl.col("split").replace_strict(SPLIT_CODES, return_dtype=pl.Int8)] if "split" in log.columns else []
    keys += [pl.col("timestamp")] if "timestamp" in log.columns else []
    log = log.sort(keys, maintain_order=True, nulls_last=True) if keys else log
    pair = ["user_id", "item_id", "split"] if within_split else ["user_id", "item_id"]
    return log.unique(pair, keep="first", maintain_order=True)


def keep_core(log: pl.DataFrame, k: int) -> pl.DataFrame:
    """Keeps the interactions of the k-core, see `k_core`."""
    rows = {kind: IdMap.of(log[f"{kind}_id"], kind=kind).rows(log[f"{kind}_id"]) for kind in ("user", "item")}
    return log.filter(k_core(rows["user"], rows["item"], k))


def k_core(user: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """Returns (n,) bool, the interactions of the k-core: every user and item in it has at least k of them."""
    kept = np.ones(len(user), dtype=bool)
    while True:
        users = np.bincount(user[kept], minlength=int(user.max(initial=0)) + 1)
        items = np.bincount(item[kept], minlength=int(item.max(initial=0)) + 1)
        core = kept & (users[user] >= k) & (items[item] >= k)
        if core.sum() == kept.sum():
            return core
        kept = core
