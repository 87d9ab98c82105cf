"""Statistics of a data set: the table that papers print, and all oddities."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from medley.data.dataset import Dataset
from medley.data.ids import IdMap
from medley.data.manifest import SPLITS
from medley.data.writer import NO_SOUND
from medley.types import Interactions

BLOCK = 65_536  # feature rows read at a time
NUM_EXAMPLES = 3  # of media that failed for one reason


class SplitStatistics(NamedTuple):
    """Counts of one split. Cold: never in train."""

    interactions: int
    users: int
    items: int
    cold_users: int
    cold_items: int
    interactions_of_cold_users: int
    interactions_of_cold_items: int


class Failure(NamedTuple):
    """Media that could not be used for one reason."""

    count: int
    examples: list[str]  # "item: file", a few


class ModalityStatistics(NamedTuple):
    """Counts and origin of one modality."""

    dim: int
    dtype: str
    items: int  # items that have the modality
    missing: int  # items that lack the modality
    all_zero: int  # items that have the modality as zeros only
    made_by: str = ""  # encoder and scale, or the file it came from; empty if the data set does not say
    failures: dict[str, Failure] = {}  # noqa: RUF012 (never written to); reason -> media that extraction could not use
    no_sound: int = 0  # items that lack the modality since their clips have no sound track


class Inspection(NamedTuple):
    """The result of `inspect_dataset`; `as_dict` for programs, `tables` for people."""

    name: str
    interactions: int
    users: int
    items: int
    sparsity: float  # share of the user-item pairs that are not interactions, 0 to 1
    splits: dict[str, SplitStatistics]
    modalities: dict[str, ModalityStatistics]
    isolated_users: int  # without any interaction
    isolated_items: int
    users_without_train: int
    import_oddities: dict[str, int]  # what the import changed or dropped
    ratings: tuple[float, float] | None = None  # lowest and highest, where no threshold was set and they differ
    disliked: int = 0  # pairs that are known and not liked; in no split

    def as_dict(self) -> dict[str, Any]:
        """Returns plain dicts and numbers, ready for JSON."""
        parts = {"splits": self.splits, "modalities": self.modalities}
        plain = {what: {key: value._asdict() for key, value in part.items()} for what, part in parts.items()}
        for statistics in plain["modalities"].values():
            statistics["failures"] = {why: one._asdict() for why, one in statistics["failures"].items()}
        return {**self._asdict(), **plain, "oddities": self.oddities()}

    def oddities(self) -> dict[str, int]:
        """Returns oddity in words -> count, without zeros."""
        found = {_in_words(what): count for what, count in self.import_oddities.items()}
        if self.ratings is not None:
            low, high = self.ratings
            found[f"ratings {low:g} to {high:g}, all kept as positives: rating_threshold=..."] = self.interactions
        for split, part in self.splits.items():
            found[f"{split}: users never in train"] = part.cold_users
            found[f"{split}: interactions with users never in train"] = part.interactions_of_cold_users
            found[f"{split}: items never in train"] = part.cold_items
            found[f"{split}: interactions with items never in train"] = part.interactions_of_cold_items
        for modality, part in self.modalities.items():
            found[f"{modality}: items that lack it"] = part.missing
            found[f"{modality}: items whose clips have no sound track"] = part.no_sound
            found[f"{modality}: items whose features are all zero"] = part.all_zero
        found["users without any interaction"] = self.isolated_users
        found["users without a train interaction"] = self.users_without_train
        found["items without any interaction"] = self.isolated_items
        return {what: count for what, count in found.items() if count}

    def tables(self, *, say: Callable[[str], str] = str) -> dict[str, list[tuple[str, ...]]]:
        """Returns title -> rows of text, the header first; `say` rewrites oddities, for example parameters as flags."""
        dims = [f"{name} {part.dim}" for name, part in self.modalities.items()]
        counts = (
            f"{self.interactions:,}",
            f"{self.items:,}",
            f"{self.users:,}",
            f"{self.sparsity:.3%}",
            ", ".join(dims),
        )
        tables: dict[str, list[tuple[str, ...]]] = {
            self.name: [("interactions", "items", "users", "sparsity", "dimensions"), counts],
            "splits": [
                ("split", *(field.replace("_", " ") for field in SplitStatistics._fields[:5])),
                *((split, *(f"{count:,}" for count in part[:5])) for split, part in self.splits.items()),
            ],
        }
        if self.modalities:
            tables["modalities"] = [
                ("modality", "dim", "dtype", "items", "missing", "all zero", "made by"),
                *(
                    (name, f"{p.dim:,}", p.dtype, f"{p.items:,}", f"{p.missing:,}", f"{p.all_zero:,}", p.made_by or "-")
                    for name, p in self.modalities.items()
                ),
            ]
        failed = [
            (name, why, f"{one.count:,}", ", ".join(one.examples))
            for name, part in self.modalities.items()
            for why, one in part.failures.items()
        ]
        if failed:
            tables["media that could not be used"] = [("modality", "reason", "media", "such as (item: file)"), *failed]
        if odd := self.oddities():
            tables["what is odd"] = [("what", "how many"), *((say(what), f"{count:,}") for what, count in odd.items())]
        return tables


def inspect_dataset(dataset: Dataset) -> Inspection:
    """Counts the interactions, users, items and oddities of a data set; features are read block by block."""
    m = dataset.manifest
    parts = {split: dataset.interactions(split) for split in SPLITS}
    per_user = np.sum([part.items_per_user() for part in parts.values()], axis=0)  # (U,)
    per_item = np.sum([part.users_per_item() for part in parts.values()], axis=0)  # (I,)
    interactions = sum(m.num_interactions.values())
    return Inspection(
        name=m.name,
        interactions=interactions,
        users=m.num_users,
        items=m.num_items,
        sparsity=1 - interactions / (m.num_users * m.num_items),
        splits={split: _split_statistics(part, parts["train"]) for split, part in parts.items()},
        modalities={name: _modality_statistics(dataset, name) for name in dataset.features},
        isolated_users=int((per_user == 0).sum()),
        isolated_items=int((per_item == 0).sum()),
        users_without_train=int((parts["train"].items_per_user() == 0).sum()),
        import_oddities=m.oddities,
        ratings=_unused_ratings(dataset),
        disliked=len(dataset.disliked),
    )


def failures(media: pl.DataFrame, items: IdMap) -> dict[str, Failure]:
    """Counts the media that could not be used by reason, the most frequent first.

    Args:
        media: as `Dataset.media` returns them.
        items: raw ids, for the examples.
    """
    found: dict[str, Failure] = {}
    failed = media.filter(~pl.col("status").is_in(["ok", NO_SOUND]))
    for item, file, error in failed.select("item", "file", "error").iter_rows():
        count, examples = found.get(reason := _reason(error), Failure(0, []))
        more = [f"{items.raw_id(item)}: {file}"] if count < NUM_EXAMPLES else []
        found[reason] = Failure(count + 1, examples + more)
    return dict(sorted(found.items(), key=lambda each: (-each[1].count, each[0])))


def num_without_sound(media: pl.DataFrame) -> int:
    """Counts the items of which every medium is a clip without a sound track.

    Args:
        media: as `Dataset.media` returns them.
    """
    return int(media.group_by("item").agg((pl.col("status") == NO_SOUND).all())["status"].sum())


def _reason(error: str) -> str:
    """The part of a reason that other media share: `not an image`, of `not an image: cannot identify ...`."""
    head, colon, tail = error.partition(": ")
    return tail if colon and any(char.isdigit() for char in head) else head


def _made_by(made_by: dict[str, Any] | None) -> str:
    """Who made a modality, in words."""
    made_by = made_by or {}
    if "encoder" in made_by:
        scale = made_by.get("scale", "none")
        return str(made_by["encoder"]) + (f", scaled: {scale}" if scale != "none" else "")
    return "simulator" if "simulator" in made_by else str(made_by.get("file", ""))


def _in_words(what: str) -> str:
    """Keys such as `outside_kcore` in words; sentences, which may name files, stay."""
    return what if " " in what else what.replace("_", " ")


def _unused_ratings(dataset: Dataset) -> tuple[float, float] | None:
    """Lowest and highest rating, if ratings differ and the import set no threshold."""
    if dataset.manifest.provenance.get("options", {}).get("rating_threshold") is not None:
        return None
    if "rating" not in dataset.log.columns or not len(known := dataset.log["rating"].drop_nulls()):
        return None
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]
    return (low, high) if low < high else None


def _split_statistics(part: Interactions, train: Interactions) -> SplitStatistics:
    cold_user, cold_item = train.items_per_user() == 0, train.users_per_item() == 0
    users, items = part.items_per_user(), part.users_per_item()
    return SplitStatistics(
        interactions=len(part),
        users=int((users > 0).sum()),
        items=int((items > 0).sum()),
        cold_users=int((cold_user & (users > 0)).sum()),
        cold_items=int((cold_item & (items > 0)).sum()),
        interactions_of_cold_users=int(users[cold_user].sum()),
        interactions_of_cold_items=int(items[cold_item].sum()),
    )


def _modality_statistics(dataset: Dataset, name: str) -> ModalityStatistics:
    values, present = dataset.features[name]
    media = dataset.media(name)
    starts = range(0, len(values), BLOCK)
    zero = np.concatenate([~np.asarray(values[start : start + BLOCK]).any(axis=1) for start in starts])  # (I,)
    return ModalityStatistics(
        dim=values.shape[1],
        dtype=str(values.dtype),
        items=int(present.sum()),
        missing=int((~present).sum()),
        all_zero=int((zero & present).sum()),
        made_by=_made_by(dataset.manifest.modalities[name].made_by),
        failures={} if media is None else failures(media, dataset.items),
        no_sound=0 if media is None else num_without_sound(media),
    )
