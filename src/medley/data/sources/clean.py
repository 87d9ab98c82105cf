"""From a raw log to distinct interactions of known users and items. Each step reports how much it dropped."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from medley.data.ids import IdMap
from medley.data.manifest import SPLIT_CODES
from medley.data.sources.raw import RawLog
from medley.data.sources.tables import source_name
from medley.errors import InputError

FEW_ROWS = 20  # in a smaller log every item may well occur once


def refuse_first(
    raw: RawLog, log: pl.DataFrame, bad: pl.Series, what: str, *, expected: str, got: str, remedy: str
) -> None:
    """Raises an InputError about the first interaction that is `bad` (n,): its file, its line, its value of `got`."""
    if bad.any():
        first = log.row(int(bad.arg_max() or 0), named=True)
        file, line = raw.files[first["file"]], first["line"]
        raise InputError(what, file=file, row=line, expected=expected, got=repr(first[got]), remedy=remedy)


def settle_unknown(raw: RawLog, *, items: str, users: str) -> tuple[RawLog, pl.Series | None, dict[str, int]]:
    """Compares the ids of the log and of the features with the catalogues of the source.

    Args:
        raw: what a reader returned.
        items: what happens to an item that the source does not define: refuse, drop or keep.
        users: the same of users.

    Returns:
        The log without what is dropped, all known item ids if the source defines them, and reason -> count.

    Raises:
        InputError: an id is unknown and refused, or the ids of features match no item of the log.
    """
    known, notes = known_items(raw), {}
    for kind, policy, ids, origin in (
        ("item", items, None if known is None else known.ids, "" if known is None else known.origin),
        ("user", users, *_known_users(raw)),
    ):
        if ids is None:
            continue
        outside = ~raw.interactions[f"{kind}_id"].is_in(ids.implode())
        if outside.any() and policy == "refuse":
            _refuse_unknown(raw, kind, outside, ids, origin)
        if outside.any():
            done = "dropped" if policy == "drop" else "kept"
            notes[f"interactions with {kind}s that are not {origin}: {done}"] = int(outside.sum())
        if policy == "drop":
            raw = raw._replace(interactions=raw.interactions.filter(~outside))
    if raw.interactions.is_empty():
        remedy = "do the ids of the log and of the tables mean the same?"
        raise InputError("no interactions are left", file=raw.files[0], got="unknown ids only", remedy=remedy)
    ids = None if known is None else known.ids
    for modality, features in raw.features.items():
        if features.ids is None:
            continue
        if ids is not None and (outside := ~features.ids.is_in(ids.implode())).any():
            if items == "refuse":
                row, assert_known = int(outside.arg_max() or 0), known
                raise InputError(
                    "unknown item",
                    file=features.path,
                    row=row + 1,
                    expected=assert_known.expected if assert_known else None,
                    got=f"{features.ids[row]!r} ({int(outside.sum()):,} of {len(outside):,} ids are unknown)",
                    remedy="add the item, or remove the row; unknown_items=drop leaves such rows out",
                )
            done = "dropped" if items == "drop" else "kept"
            notes[f"{modality}: features of items that are not {origin_of(known)}: {done}"] = int(outside.sum())
        _refuse_strangers(raw, modality, features.ids)
    if ids is not None and items == "keep":
        more = [raw.interactions["item_id"], *(f.ids for f in raw.features.values() if f.ids is not None)]
        ids = pl.concat([ids, *(each.rename(ids.name) for each in more)]).unique(maintain_order=True)
    return raw, ids, notes


class Known(NamedTuple):
    """The items that a source defines."""

    ids: pl.Series
    expected: str  # in an error
    origin: str  # of the ids, in a sentence


def origin_of(known: Known | None) -> str:
    """What a sentence says about the origin of known items."""
    return "" if known is None else known.origin


def known_items(raw: RawLog) -> Known | None:
    """Returns all item ids if the source defines them, by an item table or by features whose row is the item.

    Raises:
        InputError: features have more or fewer rows than items.
    """
    by_row = {name: features for name, features in raw.features.items() if features.ids is None}
    if raw.items is not None:
        ids, num_items = raw.items.frame["item_id"], len(raw.items.frame)
        origin = source_name(raw.items.path)
        expected, rows, origin = f"an item of {origin}", f"one per item of {origin}", f"in {origin}"
    elif by_row:
        first = next(iter(by_row.values()))
        num_items = len(first.values)
        ids = pl.Series("item_id", np.arange(num_items)).cast(pl.String)
        origin = source_name(first.path)
        expected, rows = f"0 to {num_items - 1:,}, the rows of {origin}", f"as many as {origin}"
        origin = f"rows of {origin}"
    else:
        return None
    for features in by_row.values():
        if len(features.values) != num_items:
            raise InputError(
                "rows of features",
                file=features.path,
                expected=f"{num_items:,} ({rows})",
                got=f"{len(features.values):,}",
                remedy="extract the features of all items again; move the file elsewhere if it is something else",
            )
    return Known(ids, expected, origin)


def _known_users(raw: RawLog) -> tuple[pl.Series | None, str]:
    if raw.users is None:
        return None, ""
    return raw.users.frame["user_id"], f"in {source_name(raw.users.path)}"


def _refuse_unknown(raw: RawLog, kind: str, outside: pl.Series, ids: pl.Series, origin: str) -> None:
    known = known_items(raw) if kind == "item" else None
    strangers = raw.interactions[f"{kind}_id"].filter(outside).unique(maintain_order=True)
    first = raw.interactions.row(int(outside.arg_max() or 0), named=True)
    count = f"{int(outside.sum()):,} of {len(outside):,} interactions name {len(strangers):,} unknown {kind}s"
    remedy = f"add the {kind}, or remove the row; unknown_{kind}s=drop leaves such rows out, keep adds the {kind}s"
    alike = _would_match(strangers, ids)
    raise InputError(
        f"unknown {kind}",
        file=raw.files[first["file"]],
        row=first["line"],
        expected=known.expected if known is not None else f"a user of {origin.removeprefix('in ')}",
        got=f"{first[f'{kind}_id']!r} ({count}{alike})",
        remedy=remedy,
    )


def _refuse_strangers(raw: RawLog, modality: str, ids: pl.Series) -> None:
    """Raises an InputError if no id of some features is an item of the log: they name items in another way."""
    log = raw.interactions["item_id"].unique(maintain_order=True)
    if ids.is_in(log.implode()).any():
        return
    alike = _would_match(ids, log)
    raise InputError(
        f"the ids of features {modality!r} match no item of the log",
        file=raw.features[modality].path,
        expected=f"ids like {log[0]!r}",
        got=f"{ids[0]!r}{alike}",
        remedy="use one kind of item ids in the log and the features",
    )


def _would_match(strangers: pl.Series, ids: pl.Series) -> str:
    """Says which small change would make unknown ids known; the most frequent slips of exports."""
    changes = {
        "without leading zeros": lambda each: each.str.strip_chars_start("0"),
        "whatever their case": lambda each: each.str.to_lowercase(),
        "without a final .0": lambda each: each.str.replace(r"\.0$", ""),
        "without quotes": lambda each: each.str.strip_chars("\"'"),
    }
    for how, change in changes.items():
        matching = int(change(strangers).is_in(change(ids).implode()).sum())
        if matching * 2 > len(strangers):
            return f"; {how} {matching:,} ids would match"
    return ""


def skip_missing(raw: RawLog, columns: list[str]) -> tuple[RawLog, dict[str, int]]:
    """Leaves out and counts rows without a value that the options need."""
    notes: dict[str, int] = {}
    for name in columns:
        if name in raw.interactions.columns and (missing := raw.interactions[name].null_count()):
            notes[f"rows skipped: no {name}"] = missing
            raw = raw._replace(interactions=raw.interactions.filter(pl.col(name).is_not_null()))
    return raw, notes


def positives(
    raw: RawLog,
    log: pl.DataFrame,
    *,
    threshold: float | None,
    positive: tuple[str, ...],
    negative: tuple[str, ...],
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """Tells interactions that count as positive from dislikes.

    Args:
        raw: what a reader returned.
        log: its interactions.
        threshold: of ratings; lower ratings are dislikes.
        positive: kinds of events that count; others are neither.
        negative: kinds of events that are dislikes.

    Returns:
        The positive rows, the rows of dislikes, and reason -> number of rows dropped, or kept without a choice.

    Raises:
        InputError: a rating is missing, or an event is named that does not occur.
    """
    dropped: dict[str, int] = {}
    disliked = [log.clear()]
    if positive or negative:
        kind = _events(raw, log, (*positive, *negative))
        dislikes = kind.is_in(negative).fill_null(False)
        likes = (kind.is_in(positive) if positive else ~dislikes & kind.is_not_null()).fill_null(False)
        dropped["negative_events"] = int(dislikes.sum())
        dropped["other_events"] = int((~likes & ~dislikes).sum())
        disliked.append(log.filter(dislikes))
        log = log.filter(likes)
    elif "event" in log.columns and log["event"].n_unique() > 1:
        kinds = ", ".join(log["event"].drop_nulls().unique(maintain_order=True)[:5].to_list())
        dropped[f"events such as {kinds}, all kept as positives: positive=... says which count"] = len(log)
    if threshold is not None:
        kept = keep_rated(raw, log, threshold)
        dropped["below_rating_threshold"] = len(log) - len(kept)
        disliked.append(log.filter(pl.col("rating") < threshold))
        log = kept
    both = pl.concat(disliked)
    if both.is_empty():
        return log, both, dropped
    return log, both.join(log, on=["user_id", "item_id"], how="anti", maintain_order="left"), dropped


def _events(raw: RawLog, log: pl.DataFrame, named: tuple[str, ...]) -> pl.Series:
    if "event" not in log.columns:
        got, remedy = "a log without events", "name the column: event_column=..."
        raise InputError("positive and negative events", file=raw.files[0], got=got, remedy=remedy)
    counts = log["event"].value_counts(sort=True).drop_nulls()
    for event in named:
        if event not in counts["event"]:
            expected = ", ".join(f"{kind!r} ({count:,})" for kind, count in counts.head(10).rows()) or "events"
            raise InputError(
                "event", file=raw.files[0], expected=expected, got=repr(event), remedy="check the spelling"
            )
    return log["event"]


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


def doubtful_ids(ids: Mapping[str, pl.Series], num_rows: int) -> dict[str, int]:
    """Says when ids look like something else: several ids in one field, or every item (user) only once.

    Args:
        ids: kind -> its distinct ids.
        num_rows: of the log.
    """
    notes: dict[str, int] = {}
    for kind, distinct in ids.items():
        if several := int(distinct.str.contains(r"[\s,;|]").sum()):
            notes[f"{kind} ids that hold blanks, commas or bars: several ids in one field?"] = several
        if num_rows >= FEW_ROWS and len(distinct) == num_rows:
            notes[f"every {kind} occurs once"] = len(distinct)
    return notes
