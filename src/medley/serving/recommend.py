"""Recommends items with raw ids, titles and reasons: questions of people and programs to the service.

    model, data set -> bundle in memory (export/) --\\
                                                      -> Service -> lists.py -> recommendations, or a file (batch.py)
    bundle, store ------------------------------------/

So the command line, the API and the page, which all ask the service, agree. Search is exact. Torch is imported for a
model alone: a bundle needs none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from medley.data.manifest import SPLITS
from medley.errors import InputError
from medley.serving.batch import SCHEMA, write_frames
from medley.serving.bundle_files import MANIFEST
from medley.serving.catalogue import Catalogue
from medley.serving.index.base import checked_k
from medley.serving.lists import Block, Lists, known_item
from medley.serving.service import Service
from medley.serving.similarity import ALL

if TYPE_CHECKING:
    from medley.data.dataset import Dataset
    from medley.models import Recommender


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item: str  # raw id
    title: str | None
    score: float
    parts: dict[str, float]  # of the score, which is their sum: a modality, `id`, ...; empty if the score has none
    shares: dict[str, float]  # part / sum of |parts|; a negative share speaks against the item
    columns: dict[str, Any] = field(default_factory=dict)  # the other columns of the item table


def service_of(model: "Recommender", data: "Dataset") -> Service:
    """Returns a service that answers questions about a model at once; it takes no new users and no new items.

    Args:
        model: a trained model, of any kind.
        data: the data set that the model was built from.

    Raises:
        InputError: data of another size, or scores that are not numbers.
    """
    from medley.serving.export import export  # imports torch

    return Service(export(model, data, calibrate=False), index="exact")


def open_bundle(path: str | Path, *, store: str | Path | None = None) -> Service:
    """Returns a service that answers questions about a bundle, with what happened since if a store is given.

    Raises:
        InputError: not a bundle, or a damaged one; no such store.
    """
    if store is not None and not Path(store).exists():
        raise InputError(
            "no store", file=store, remedy="give the file in which a server of the bundle keeps its writes"
        )
    return Service.open(path, store=store, index="exact")


def is_bundle(path: str | Path) -> bool:
    """Returns whether a path looks like a bundle rather than a run."""
    path = Path(path)
    return path.is_file() or ((path / MANIFEST).exists() and not (path / "run.json").exists())


def recommend(
    model: "Recommender",
    data: "Dataset",
    users: Sequence[Any],
    *,
    k: int = 10,
    explain: bool = False,
    seen: Sequence[str] = SPLITS,
    where: Mapping[str, Any] | None = None,
    exclude: Sequence[str] = (),
) -> list[list[Recommendation]]:
    """Returns the k best items for each user, best first: `ask` of a service in memory."""
    return ask(service_of(model, data), users, k=k, explain=explain, seen=seen, where=where, exclude=exclude)


def ask(
    service: Service,
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
    users get the same list. Users without any interaction get the most popular items.

    Args:
        service: the model.
        users: raw ids; 42 and "42" are one id.
        k: number of items; fewer are returned for a user who has seen nearly all items.
        explain: fill `parts` and `shares`, if the score is a sum of parts.
        seen: a user's items in these splits are not recommended; () recommends them again. Disliked items never are.
        where: column of the item table -> the value that recommended items must have there.
        exclude: raw ids of items that are not recommended.

    Raises:
        InputError: unknown user, item or column; no item has the wanted values; k below 1.
    """
    return answers(Lists(service, users, k=k, explain=explain, seen=seen, where=where, exclude=exclude))


def answers(lists: Lists) -> list[list[Recommendation]]:
    """Returns the list of each user of a question."""
    items = _Items(lists.service.catalogue)
    return [found for block in lists for found in _recommendations(block, items)]


def similar(service: Service, item: Any, *, by: str = ALL, k: int = 10) -> list[Recommendation]:
    """Returns the k items most similar to an item, best first; their score is the similarity.

    Args:
        service: the model.
        item: raw id; 42 and "42" are one id.
        by: behaviour, a modality, or all.
        k: number of items.

    Raises:
        InputError: unknown item; an unknown `by`, a modality that the item lacks; k below 1.
    """
    raw_id = service.catalogue.raw_id(known_item(service, item))
    answer, items = service.similar(raw_id, by=by, k=checked_k(k)), _Items(service.catalogue)
    rows, _ = service.catalogue.rows(found.id for found in answer.items)
    return [items(row, found.score, {}, {}) for row, found in zip(rows.tolist(), answer.items, strict=True)]


def write_recommendations(path: str | Path, lists: Mapping[str, Sequence[Recommendation]]) -> None:
    """Writes the lists of many users as one table, in one step.

    Args:
        path: a .csv, .parquet or .jsonl file; columns user_id, place (from 1), item_id, title, score, and the share of
            every part as share_<part>.
        lists: raw id of a user -> recommendations, best first.

    Raises:
        InputError: another kind of file.
    """
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
    frame = pl.DataFrame(rows, schema_overrides=SCHEMA, infer_schema_length=None)
    write_frames(path, [frame] if rows else [])


class _Items:
    """Describes items, each once."""

    def __init__(self, catalogue: Catalogue):
        self.catalogue = catalogue
        self._columns = [name for name in catalogue.bundle.items.columns if name not in ("item_id", "title")]
        self._known: dict[int, tuple[str, str | None, dict[str, Any]]] = {}

    def __call__(self, row: int, score: float, parts: dict[str, float], shares: dict[str, float]) -> Recommendation:
        """Returns a recommendation of the item in a row."""
        if row not in self._known:
            attributes = dict.fromkeys(self._columns) | self.catalogue.attributes(row)
            title = attributes.pop("title", None)
            self._known[row] = self.catalogue.raw_id(row), None if title is None else str(title), attributes
        raw_id, title, columns = self._known[row]
        return Recommendation(raw_id, title, score, parts, shares, columns)


def _recommendations(block: Block, items: _Items) -> Iterator[list[Recommendation]]:
    """Yields the list of each user of a block."""
    shares = block.shares()
    for at, row in enumerate(block.rows):
        places = range(int(np.count_nonzero(row >= 0)))
        yield [
            items(
                int(row[place]),
                float(block.scores[at, place]),
                {name: float(part[at, place]) for name, part in block.parts.items()},
                {name: float(share[at, place]) for name, share in shares.items()},
            )
            for place in places
        ]
