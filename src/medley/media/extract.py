"""From media to modalities: find the media, decode and encode what has changed, write modalities in one step each.

What is encoded is kept in a journal beside the data, chunk by chunk. The same call goes on where a killed one stopped,
and gives the same bytes; a later call encodes only items whose media have changed. Memory holds a batch, what the
workers have ready, one chunk of vectors, and about 2 kB per medium: its path, and its line in the report.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from medley.cores import num_cores
from medley.data.dataset import Dataset
from medley.data.inspect import Failure, failures, num_without_sound
from medley.data.options import checked
from medley.data.writer import MEDIA_COLUMNS
from medley.errors import InputError
from medley.files import sha256_of_json
from medley.media.decode import Limits
from medley.media.encoders import DEFAULTS, MODALITY_OF, Encoder, find
from medley.media.files import Found, find_media
from medley.media.item import BY, ENCODER, SCALE, about, media_of, prepare_of
from medley.media.journal import Chunk, Journal, only_one
from medley.media.pieces import Medium, Preparation, Preparations
from medley.media.progress import ExtractProgress
from medley.media.update import Modality, update
from medley.media.workers import Workers
from medley.modality_names import check_modality_name
from medley.nn.scale import FeatureScale, Scale

MOST_JOBS = 8  # processes by default; more decode faster than most networks encode
BLOCK = 16_384  # rows that are scaled at a time


class _Options(BaseModel):
    """The options that need a check of their own."""

    model_config = ConfigDict(extra="forbid")

    batch: int = Field(default=32, ge=1)
    jobs: int | None = Field(default=None, ge=1)
    scale: FeatureScale = "none"


class Extraction(NamedTuple):
    """What became of one modality."""

    encoder: str
    dim: int
    num_items: int  # items that have the modality
    num_without: int  # items without a medium of this kind
    num_failed: int  # other items without a vector: their media failed
    num_encoded: int  # items that were encoded now; the vectors of all others were there
    written: bool  # false if nothing has changed
    failures: dict[str, Failure]  # reason -> how many media, and examples
    num_no_sound: int = 0  # items whose media are clips without a sound track


@dataclass(frozen=True)
class Extracted:
    """The result of `extract`."""

    dataset: Dataset  # with the modalities
    modalities: dict[str, Extraction]
    unmatched: list[str]  # files without an item
    notes: list[str]  # sentences for people
    problems: list[tuple[str, str]]  # files that were not used, and why

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return any(each.written for each in self.modalities.values())

    def as_dict(self) -> dict[str, Any]:
        """Returns plain dicts and numbers, ready for JSON."""
        modalities = {
            name: each._asdict() | {"failures": {why: one._asdict() for why, one in each.failures.items()}}
            for name, each in self.modalities.items()
        }
        return {
            "dataset": str(self.dataset.folder),
            "changed": self.changed,
            "modalities": modalities,
            "unmatched": self.unmatched,
            "notes": self.notes,
            "problems": [{"file": file, "reason": reason} for file, reason in self.problems],
        }


def extract(
    dataset: Dataset,
    media: Path | str | pl.DataFrame | None = None,
    *,
    visual: str | None = None,
    acoustic: str | None = None,
    textual: str | None = None,
    name: str | None = None,
    text: Sequence[str] = (),
    id_rule: str = "auto",
    scale: str = "none",
    batch: int = 32,
    device: str = "cpu",
    jobs: int | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: ExtractProgress | None = None,
) -> Extracted:
    """Turns media into modalities of a data set.

    Args:
        dataset: the data set, in whose folder the modalities are written.
        media: a folder or a table of media, see `medley.media.files.find_media`; None: only text of the items.
        visual: encoder of images and key frames: a name, a model id or folder, see `medley.media.encoders.find`.
        acoustic: encoder of sound files, and of the sound of videos.
        textual: encoder of texts. Without any of the three, each kind of medium that is found has its default encoder.
        name: of the modality, in place of visual, acoustic or textual; with exactly one encoder.
        text: columns of the items that hold their text.
        id_rule: how file names become item ids, see `find_media`.
        scale: none, l2, standard, pca-whitening or pca-whitening-D, fitted to the items of train.
        batch: pieces (images, windows of sound, texts) that are encoded at a time.
        device: of the networks.
        jobs: processes that decode; by default one per core, up to 8.
        limits: what one medium may cost; a mapping changes some of the defaults.
        overwrite: replace a modality that extraction has not made.
        progress: shows the progress; None shows nothing.

    Returns:
        The data set with its modalities, and what became of every one.

    Raises:
        InputError: a wrong option or table, an unknown encoder, nothing to encode, no usable medium at all, a modality
            of another origin, or another process extracts; the data set is not changed.
        MissingExtraError: the extra media is not installed.
    """
    options = checked(_Options, {"batch": batch, "jobs": jobs, "scale": scale}, of="extract")
    if not isinstance(limits, Limits):
        limits = checked(Limits, limits or {}, of="the limits of extract")
    wanted = _wanted({"image": visual, "sound": acoustic, "text": textual}, name)
    text = (text,) if isinstance(text, str) else tuple(text)
    if isinstance(media, str):
        media = Path(media)
    found = find_media(dataset, media, text=text, id_rule=id_rule, limits=limits)
    by_kind = {reads: _by_item(found, reads) for reads in DEFAULTS}
    asked = bool(wanted)
    if not asked:
        wanted = {reads: (MODALITY_OF[reads], DEFAULTS[reads]) for reads in DEFAULTS if by_kind[reads]}
    if not wanted:
        raise _nothing(found, "image, sound or text")
    for reads, (modality, _) in wanted.items():
        _check_origin(dataset, modality, overwrite)
        if not by_kind[reads]:
            raise _nothing(found, reads)
    modalities: list[Modality] = []
    for reads, (modality, spec) in wanted.items():
        encoder = find(spec, reads, device=device)
        provenance = {"text": list(text) if reads == "text" else [], "id_rule": id_rule, "scale": options.scale}
        made = _modality(dataset, modality, encoder, by_kind[reads], provenance, limits)
        made.asked, made.root = asked, _root(media)
        modalities.append(made)
    notes, progress = list(found.notes), progress or ExtractProgress()
    num_items = dataset.manifest.num_items
    with only_one(dataset.folder), ExitStack() as stack:
        preparations = {each.name: each.preparation for each in modalities}
        jobs = options.jobs or default_jobs()
        workers = stack.enter_context(
            Workers(Preparations(preparations), jobs=jobs, seconds=limits.seconds, memory=limits.memory)
        )
        for each in modalities:
            update(each, workers, batch=options.batch, num_items=num_items, progress=progress)
        usable = [each for each in modalities if _has_vectors(each)]
        for each in modalities:
            if each not in usable and (each.asked or not usable):
                raise _all_failed(each, dataset)
            if each not in usable:
                count = len(each.media)
                notes.append(f"{each.name}: left out, for none of the media of {count:,} items could be used")
        results: dict[str, Extraction] = {}
        for each in usable:
            dataset, results[each.name] = _write(dataset, each, options.scale)
    problems = [(problem.file, problem.reason) for problem in found.problems]
    return Extracted(dataset, results, list(found.unmatched), notes, problems)


def default_jobs() -> int:
    """Returns the number of processes that decode unless the caller chooses: one per core, up to 8."""
    return min(MOST_JOBS, num_cores())


def _wanted(encoders: Mapping[str, str | None], name: str | None) -> dict[str, tuple[str, str]]:
    """Returns what is read -> (modality, encoder)."""
    given = {reads: spec for reads, spec in encoders.items() if spec is not None}
    if name is not None:
        check_modality_name(name)
        if len(given) != 1:
            expected = "exactly one encoder: visual, acoustic or textual"
            remedy = "give one encoder with the name, and extract the others in calls of their own"
            raise InputError(f"the name {name!r}", expected=expected, got=len(given), remedy=remedy)
    return {reads: (name or MODALITY_OF[reads], spec) for reads, spec in given.items()}


def _check_origin(dataset: Dataset, modality: str, overwrite: bool) -> None:
    """Refuses to replace a modality that extraction has not made."""
    record = dataset.manifest.modalities.get(modality)
    if record is None or overwrite or (record.made_by or {}).get("by") == BY:
        return
    remedy = "give the new modality another name, or pass overwrite=True"
    raise InputError(f"modality {modality!r} exists already, and was not extracted", file=dataset.folder, remedy=remedy)


def _nothing(found: Found, kind: str) -> InputError:
    got = f"none; {len(found.unmatched):,} files without an item, {len(found.problems):,} not used"
    remedy = "name files after item ids, or give a table with item_id and image, video, audio or text"
    if kind == "text":
        remedy = "name the columns of the items that hold it: text=..."
    said = f" ({'; '.join(found.notes)})" if found.notes else ""
    return InputError(f"nothing to encode: no {kind} belongs to an item", got=got + said, remedy=remedy)


def _by_item(found: Found, reads: str) -> dict[int, list[Medium]]:
    media = {row: media_of(each, reads) for row, each in found.media.items()}
    return {row: each for row, each in media.items() if each}


def _modality(
    dataset: Dataset,
    name: str,
    encoder: Encoder,
    media: dict[int, list[Medium]],
    provenance: Mapping[str, Any],
    limits: Limits,
) -> Modality:
    """Fits the encoder where it is fitted to all texts, and finds the journal."""
    if encoder.reads == "text":
        encoder.fit([str(medium.source) for row in media for medium in media[row]])
    fitted, limited = encoder.fitted(), limits.model_dump()
    hashes = {key: sha256_of_json([array.tolist(), str(array.dtype)]) for key, array in sorted(fitted.items())}
    key = {
        "items": dataset.manifest.parts["items"],
        "reads": encoder.reads,
        "about": about(encoder),
        "fitted": hashes,
        "limits": limited,
    }
    made_by = {"by": BY, "encoder": encoder.name, "reads": encoder.reads, "about": key["about"], **provenance}
    made_by["limits"] = limited
    preparation, journal = Preparation(prepare_of(encoder), limits), Journal(dataset.folder, name, key)
    return Modality(name, encoder, fitted, preparation, journal, media, made_by)


def _chunks(modality: Modality) -> Iterator[Chunk]:
    for start in sorted(modality.journal.starts()):
        chunk = modality.journal.read(start)
        if chunk is None:  # it was read or written a moment ago
            remedy = "run the extraction again"
            raise InputError("the journal is damaged", file=modality.journal.folder, remedy=remedy)
        yield chunk


def _has_vectors(modality: Modality) -> bool:
    return any(len(chunk.rows) for chunk in _chunks(modality))


def _all_failed(modality: Modality, dataset: Dataset) -> InputError:
    reasons = failures(_table(modality), dataset.items)
    said = "; ".join(f"{why} ({one.count:,}, such as {one.examples[0]})" for why, one in reasons.items())
    if silent := num_without_sound(_table(modality)):
        said = "; ".join(filter(None, (said, f"clips without a sound track, of {silent:,} items")))
    return InputError(
        f"{modality.name}: none of the media could be used",
        expected="at least one vector",
        got=f"media of {len(modality.media):,} items: {said}",
        remedy="correct the media or the limits; nothing was written",
    )


def _table(modality: Modality) -> pl.DataFrame:
    """Returns the media of a modality, one row each."""
    tables = [
        pl.DataFrame(
            [(e.item, e.file, e.state.sha256, e.state.bytes, e.status, e.error) for e in chunk.entries],
            schema=MEDIA_COLUMNS,
            orient="row",
        )
        for chunk in _chunks(modality)
    ]
    return pl.concat(tables) if tables else pl.DataFrame(schema=MEDIA_COLUMNS)


def _write(dataset: Dataset, modality: Modality, how: str) -> tuple[Dataset, Extraction]:
    """Scales the vectors and writes the modality, unless the data set has exactly this already."""
    num_items, journal = dataset.manifest.num_items, modality.journal
    table = _table(modality)
    content = sha256_of_json([column.to_list() for column in table])
    made_by = {**modality.made_by, "media": content}
    present = np.zeros(num_items, dtype=bool)
    for chunk in _chunks(modality):
        present[chunk.rows] = True
    record = dataset.manifest.modalities.get(modality.name)
    written = record is None or record.made_by != made_by
    if written:
        with journal.array((num_items, modality.encoder.dim)) as values, ExitStack() as stack:
            for chunk in _chunks(modality):
                values[chunk.rows] = chunk.vectors
            in_train = dataset.train.users_per_item() > 0
            fitted_scale = Scale.fit(how, values, present & in_train)
            scaled = values
            if how != "none":
                scaled = stack.enter_context(journal.array((num_items, fitted_scale.dim or values.shape[1])))
                for start in range(0, num_items, BLOCK):
                    scaled[start : start + BLOCK] = fitted_scale.apply(values[start : start + BLOCK])
            fitted = {ENCODER + key: array for key, array in modality.fitted.items()}
            fitted |= {SCALE + key: array for key, array in fitted_scale.arrays.items()}
            dataset = dataset.with_modality(
                modality.name, scaled, present, made_by=made_by, media=table, fitted=fitted, replace=True
            )
        journal.remove_others()
    num_present, num_no_sound = int(present.sum()), num_without_sound(table)
    result = Extraction(
        encoder=modality.encoder.name,
        dim=dataset.manifest.modalities[modality.name].dim,
        num_items=num_present,
        num_without=num_items - len(modality.media),
        num_failed=len(modality.media) - num_present - num_no_sound,
        num_encoded=modality.num_encoded,
        written=written,
        failures=failures(table, dataset.items),
        num_no_sound=num_no_sound,
    )
    return dataset, result


def _root(media: Path | pl.DataFrame | None) -> Path | None:
    """The folder to which the names of files in the report are relative."""
    if not isinstance(media, Path):
        return None
    return (media if media.is_dir() else media.parent).absolute()
