"""The vectors of one item from its media, by the encoders, means and scales that made the modalities of a data set.

    encoder = ItemEncoder.of(dataset)
    encoder.encode(ItemMedia(images=(Path("new.jpg"),), texts=("A red shirt",)))  # {"visual": ..., "textual": ...}

The vector of a medium is the mean over its pieces, that of an item the mean over its media, which is scaled last.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from medley.data.dataset import Dataset
from medley.data.options import checked
from medley.errors import InputError
from medley.media.decode import Limits, MediaError
from medley.media.encoders import Encoder, find
from medley.media.files import ItemMedia
from medley.media.pieces import Made, Medium, Preparation, Preparations, Prepare, Task
from medley.media.workers import Failed, Workers
from medley.nn.scale import Scale

BY = "medley extract"  # marks the modalities that extraction made
ENCODER, SCALE = "encoder.", "scale."  # prefixes of fitted arrays
BATCH = 32  # pieces of one item that are encoded at a time


def media_of(media: ItemMedia, reads: str) -> list[Medium]:
    """Returns the media of an item that an encoder of images, sound or text reads.

    Images come from image files and from the key frames of videos. Sound comes from sound files; only where an item has
    none, from the tracks of its videos, which otherwise would count twice.
    """
    if reads == "text":
        return [Medium("text", text) for text in media.texts]
    if reads == "sound":
        return [Medium("sound", source) for source in media.audios or media.videos]
    images = [Medium("image", source) for source in media.images]
    return images + [Medium("frames", source) for source in media.videos]


def prepare_of(encoder: Encoder) -> Prepare:
    """Returns what a worker needs of an encoder."""
    return Prepare(encoder.prepare, encoder.rate)


class Batches:
    """Collects pieces of media, encodes them in batches, and returns a vector per medium: the mean over its pieces."""

    def __init__(self, encoder: Encoder, size: int):
        self.encoder, self.size = encoder, size
        self._pieces: list[Any] = []  # one (1, ...) array or one text each
        self._owner: list[int] = []
        self._sums: list[np.ndarray] = []
        self._counts: list[int] = []

    def add(self, pieces: np.ndarray | list[str]) -> int:
        """Takes the pieces of one medium and returns its number."""
        number = len(self._sums)
        self._sums.append(np.zeros(self.encoder.dim))
        self._counts.append(len(pieces))
        for piece in pieces:
            if self._pieces and not isinstance(piece, str) and piece.shape != self._pieces[-1].shape:
                self._encode(len(self._pieces))
            self._pieces.append(piece)
            self._owner.append(number)
            if len(self._pieces) == self.size:
                self._encode(self.size)
        return number

    def finish(self) -> list[np.ndarray]:
        """Encodes what is left and returns (d,) float32 per medium, in the order in which they were added."""
        if self._pieces:
            self._encode(len(self._pieces))
        return [(total / count).astype(np.float32) for total, count in zip(self._sums, self._counts, strict=True)]

    def _encode(self, count: int) -> None:
        pieces, owners = self._pieces[:count], self._owner[:count]
        del self._pieces[:count], self._owner[:count]
        vectors = self.encoder.encode(pieces if isinstance(pieces[0], str) else np.stack(pieces))
        if vectors.shape != (count, self.encoder.dim):
            raise InputError(
                f"vectors of the encoder {self.encoder.name!r}",
                expected=f"shape {(count, self.encoder.dim)}, one row per piece",
                got=vectors.shape,
                remedy="correct encode or dim of the encoder",
            )
        for owner, vector in zip(owners, vectors, strict=True):
            self._sums[owner] += vector


def mean_of(vectors: list[np.ndarray]) -> np.ndarray:
    """Returns the vector of an item, (d,) float32, from those of its media.

    Raises:
        MediaError: the mean says nothing: it is zero, or not finite.
    """
    mean = np.stack(vectors).astype(np.float64).mean(axis=0).astype(np.float32)
    if not np.isfinite(mean).all():
        raise MediaError("the encoder gave numbers that are not finite")
    if not mean.any():
        raise MediaError("the encoder found nothing: the vector is zero")
    return mean


class _Part(NamedTuple):
    """One modality."""

    encoder: Encoder
    scale: Scale


class ItemEncoder:
    """Encodes the media of one item as `extract` encoded those of a data set.

    Attributes:
        limits: modality -> what one medium may cost.
        preparations: the function of a pool of workers, without the networks; `workers` makes such a pool.
    """

    def __init__(
        self,
        made_by: Mapping[str, Mapping[str, Any]],
        fitted: Mapping[str, Mapping[str, np.ndarray]],
        *,
        encoders: Mapping[str, str] | None = None,
        device: str = "cpu",
        limits: Limits | None = None,
    ):
        """Makes the encoders again.

        Args:
            made_by: modality -> `made_by` of its record in the manifest; modalities made otherwise are left out.
            fitted: modality -> the fitted arrays beside it.
            encoders: modality -> where its encoder is now, if not where it was: another folder or file.
            device: of the networks.
            limits: what one medium may cost; by default the limits of the extraction.

        Raises:
            InputError: no modality was extracted, an encoder is not found, or it is not the one of the extraction.
            MissingExtraError: the extra media is not installed.
        """
        made = {modality: record for modality, record in made_by.items() if record.get("by") == BY}
        if not made:
            remedy = "medley.extract makes modalities from media"
            raise InputError(
                "modalities that were extracted from media", expected="at least one", got="none", remedy=remedy
            )
        self._parts = {
            modality: _part(modality, record, fitted.get(modality, {}), (encoders or {}).get(modality), device)
            for modality, record in made.items()
        }
        self.limits = {name: limits or checked(Limits, record["limits"], of=name) for name, record in made.items()}
        self.preparations = Preparations(
            {name: Preparation(prepare_of(part.encoder), self.limits[name]) for name, part in self._parts.items()}
        )

    @classmethod
    def of(cls, dataset: Dataset, **options: Any) -> "ItemEncoder":
        """Makes the encoders of a data set again; the options are those of the constructor."""
        records = dataset.manifest.modalities
        made_by = {modality: record.made_by or {} for modality, record in records.items()}
        return cls(made_by, {modality: dataset.fitted(modality) for modality in records}, **options)

    @property
    def reads(self) -> dict[str, str]:
        """Modality -> what its encoder reads: image, sound or text."""
        return {modality: part.encoder.reads for modality, part in self._parts.items()}

    def workers(self, jobs: int = 1) -> Workers[Task, Made]:
        """Makes a pool of processes that decode and prepare media for `encode`, under the limits of this encoder."""
        seconds = max(each.seconds for each in self.limits.values())
        memory = max(each.memory for each in self.limits.values())
        return Workers(self.preparations, jobs=jobs, seconds=seconds, memory=memory)

    def encode(
        self, media: ItemMedia, *, workers: Workers[Task, Made] | None = None, skip_broken: bool = False
    ) -> dict[str, np.ndarray]:
        """Encodes the media of one item.

        Args:
            media: files or their contents, and texts.
            workers: the pool of `workers`, for media of strangers; None decodes in this process.
            skip_broken: leave out media that cannot be used, as `extract` does, in place of raising.

        Returns:
            modality -> (d,) float32, without the modalities of which the item has no usable medium.

        Raises:
            MediaError: a medium cannot be used. A video without usable sound only lacks the modality of sounds.
        """
        tasks = [Task(name, each) for name, part in self._parts.items() for each in media_of(media, part.encoder.reads)]
        decoded = [task for task in tasks if task.medium.kind != "text"]
        results = map(self.preparations, decoded) if workers is None else workers.map(decoded)
        batches = {name: Batches(part.encoder, BATCH) for name, part in self._parts.items()}
        for task in tasks:
            made = self.preparations(task) if task.medium.kind == "text" else next(results)
            of_video = task.medium.kind == "sound" and not media.audios
            if not isinstance(made, Failed) and not made.error:
                batches[task.modality].add(made.pieces)
            elif not (skip_broken or of_video):
                reason = made.reason if isinstance(made, Failed) else made.error
                raise MediaError(f"{task.medium.kind} for {task.modality}: {reason}")
        vectors: dict[str, np.ndarray] = {}
        for name, part in self._parts.items():
            if found := batches[name].finish():
                try:
                    vectors[name] = part.scale.apply(mean_of(found)[None])[0]
                except MediaError as error:
                    if not skip_broken:
                        raise MediaError(f"{name}: {error}") from None
        return vectors


def about(encoder: Encoder) -> dict[str, Any]:
    """Returns the provenance of an encoder as JSON will give it back.

    Raises:
        InputError: it is not ready for JSON.
    """
    try:
        return json.loads(json.dumps(encoder.about(), allow_nan=False))
    except (TypeError, ValueError) as error:
        what, remedy = f"about() of the encoder {encoder.name!r}", "use text, numbers, lists and names with values"
        raise InputError(what, expected="a JSON object", got=str(error), remedy=remedy) from None


def _part(
    modality: str, record: Mapping[str, Any], fitted: Mapping[str, np.ndarray], spec: str | None, device: str
) -> _Part:
    encoder = find(spec or record["encoder"], record["reads"], device=device)
    then, now = record["about"], about(encoder)
    differ = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    differ = [key for key in differ if key not in ("encoder", "versions")]  # how it was asked for, and what runs it
    if differ:
        raise InputError(
            f"the encoder of {modality!r} is not the one that made the features",
            expected=", ".join(f"{key} {then.get(key)}" for key in differ),
            got=", ".join(str(now.get(key)) for key in differ),
            remedy="install the same weights, or extract the features again",
        )
    if arrays := _named(fitted, ENCODER):
        encoder.restore(arrays)
    return _Part(encoder, Scale.restore(record["scale"], _named(fitted, SCALE)))


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
