"""Recommends items with raw ids, titles and reasons, by a trained model."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch

from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS
from medley.errors import InputError, MedleyWarning
from medley.files import write_atomic
from medley.models import Recommender
from medley.scoring.top_k import top_k

BLOCK = 4096  # users whose explanations are computed at a time


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item: str  # raw id
    title: str | None
    score: float
    parts: dict[str, float]  # of the score, which is their sum: a modality, `id`, ...; empty if the score has none
    shares: dict[str, float]  # part / sum of |parts|; a negative share speaks against the item
    columns: dict[str, Any] = field(default_factory=dict)  # the other columns of the item table


def recommend(
    model: Recommender,
    data: Dataset,
    users: Sequence[Any],
    *,
    k: int = 10,
    explain: bool = False,
    seen: Sequence[str] = SPLITS,
    where: Mapping[str, Any] | None = None,
    exclude: Sequence[str] = (),
) -> list[list[Recommendation]]:
    """Returns the k best items for each user, best first.

    Warns (`MedleyWarning`) about users without a train interaction, whom the model knows nothing about, and if all
    users get the same list.

    Args:
        model: a trained model.
        data: the data set that the model was built from.
        users: raw ids; 42 and "42" are one id.
        k: number of items; fewer are returned for a user who has seen nearly all items.
        explain: fill `parts` and `shares`, if the score is a sum of parts.
        seen: a user's items in these splits are not recommended; () recommends them again. Disliked items never are.
        where: column of the item table -> the value that recommended items must have there.
        exclude: raw ids of items that are not recommended.

    Raises:
        InputError: unknown user, item or column; no item has the wanted values; k below 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError("k", expected="a whole number of at least 1", got=repr(k))
    rows = np.array([data.users.row(user) for user in users], dtype=np.int64)
    allowed = allowed_items(data, where or {}, exclude)
    _warn_about_strangers(data, rows)
    with torch.no_grad():
        items, scores = top_k(model.scorer(), rows, seen_items(data, seen), k, allowed=allowed)  # (B, k)
        parts = _parts(model, rows, np.maximum(items, 0)) if explain else {}  # items: -1 where there are no more
    is_trained = any(True for _ in model.parameters())  # popularity is meant to be the same for everybody
    if is_trained and len(rows) > 1 and (items == items[0]).all():
        message = f"all {len(rows):,} users get the same list: the scores of this model do not depend on the user"
        warnings.warn(message, MedleyWarning, stacklevel=2)
    known = {int(item): _describe(data, int(item)) for item in np.unique(items[items >= 0])}
    return [
        [
            _recommendation(
                known[int(item)], float(score), {name: float(part[row, at]) for name, part in parts.items()}
            )
            for at, (item, score) in enumerate(zip(items[row], scores[row], strict=True))
            if item >= 0
        ]
        for row in range(len(rows))
    ]


def _parts(model: Recommender, rows: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
    """Parts of the scores of users (B,) for their items (B, k), a block of users at a time: name -> (B, k)."""
    blocks: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(rows), BLOCK):
        these = slice(start, start + BLOCK)
        found = model.contributions(torch.from_numpy(rows[these]), torch.from_numpy(items[these]))
        for name, values in found.items():
            blocks.setdefault(name, []).append(values.cpu().numpy())
    return {name: np.concatenate(values) for name, values in blocks.items()}


def allowed_items(data: Dataset, where: Mapping[str, Any], exclude: Sequence[str]) -> np.ndarray | None:
    """(I,) bool, the items with the wanted values in the item table that are not excluded; None for all items.

    Raises:
        InputError: unknown item or column, or no item has the wanted values.
    """
    if not where and not exclude:
        return None
    allowed = np.ones(data.manifest.num_items, dtype=bool)
    table = data.item_table
    for column, value in where.items():
        if column not in table.columns:
            known = ", ".join(table.columns)
            raise InputError("column of the items", expected=known, got=repr(column), remedy="filter by one of these")
        cells = table[column].cast(pl.String)
        allowed &= (cells == str(value)).fill_null(False).to_numpy()
        if not allowed.any():
            examples = ", ".join(map(repr, cells.drop_nulls().unique(maintain_order=True).head(5)))
            raise InputError(f"items with {column} = {value!s}", expected="at least one", got=f"none ({examples}, ...)")
    allowed[[data.items.row(item) for item in exclude]] = False
    return allowed


def seen_items(data: Dataset, splits: Sequence[str]) -> sp.csr_array:
    """0/1 matrix (U, I) of the interactions in some splits, and of the items that users dislike: never recommended."""
    parts = [data.disliked, *(data.interactions(split) for split in splits)]
    user, item = (np.concatenate(columns) for columns in zip(*((part.user, part.item) for part in parts), strict=True))
    size = (data.manifest.num_users, data.manifest.num_items)
    return sp.csr_array((np.ones(len(user), dtype=np.float32), (user, item)), shape=size)


def _warn_about_strangers(data: Dataset, rows: np.ndarray) -> None:
    strangers = rows[data.train.items_per_user()[rows] == 0]
    if len(strangers):
        example = data.users.raw_id(int(strangers[0]))
        who = (
            f"user {example} has"
            if len(rows) == 1
            else f"{len(strangers):,} of {len(rows):,} users ({example}, ...) have"
        )
        message = f"{who} no train interaction: the model knows nothing about them, popularity may serve them better"
        warnings.warn(message, MedleyWarning, stacklevel=3)


def _describe(data: Dataset, item: int) -> tuple[str, str | None, dict[str, Any]]:
    """Raw id, title and the other columns of an item row."""
    row = data.item_table.row(item, named=True)
    columns = {name: value for name, value in row.items() if name not in ("item_id", "title")}
    return data.items.raw_id(item), data.title(item), columns


def _recommendation(
    item: tuple[str, str | None, dict[str, Any]], score: float, parts: dict[str, float]
) -> Recommendation:
    raw_id, title, columns = item
    size = sum(abs(part) for part in parts.values())
    shares = {name: part / size if size else 0.0 for name, part in parts.items()}
    return Recommendation(raw_id, title, score, parts, shares, columns)


def write_recommendations(path: str | Path, lists: Mapping[str, Sequence[Recommendation]]) -> None:
    """Writes the lists of many users as one table, in one step.

    Args:
        path: a .csv, .parquet or .jsonl file; columns user_id, place (from 1), item_id, title, score, and the share of
            every part as share_<part>.
        lists: raw id of a user -> recommendations, best first.

    Raises:
        InputError: another kind of file.
    """
    path = Path(path)
    write = {
        ".csv": lambda frame: frame.write_csv().encode(),
        ".parquet": lambda frame: _in_memory(frame.write_parquet),
        ".jsonl": lambda frame: _in_memory(frame.write_ndjson),
    }
    if path.suffix.lower() not in write:
        raise InputError("file of recommendations", file=path, expected=" or ".join(write), got=repr(path.suffix))
    rows = [
        {
            "user_id": user,
            "place": place,
            "item_id": item.item,
            "title": item.title,
            "score": item.score,
            **{f"share_{name}": share for name, share in item.shares.items()},
        }
        for user, items in lists.items()
        for place, item in enumerate(items, start=1)
    ]
    schema = {"user_id": pl.String, "place": pl.Int64, "item_id": pl.String, "title": pl.String, "score": pl.Float64}
    frame = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=schema)
    write_atomic(path, write[path.suffix.lower()](frame))


def _in_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()
