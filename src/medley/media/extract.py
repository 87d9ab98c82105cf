"""From media to modalities: find the media, decode and encode what has changed, write modalities in one step each.

What is encoded is kept in a journal beside the data, chunk by chunk. The same call goes on where a killed one stopped,
and gives the same bytes; a later call encodes only items whose media have changed. Memory holds a batch, what the
workers have ready, and one chunk of vectors, however large the catalogue is.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from medley.data.dataset import Dataset
from medley.data.inspect import Failure, failures
from medley.data.manifest import check_modality_name
from medley.data.options import checked
from medley.data.writer import LOCK, MEDIA_COLUMNS
from medley.errors import InputError
from medley.files import sha256_of_json
from medley.media.decode import Limits, MediaError
from medley.media.encoders import DEFAULTS, MODALITY_OF, Encoder, find
from medley.media.files import Found, ItemMedia, find_media
from medley.media.item import BY, ENCODER, SCALE, Batches, about, mean_of, media_of, prepare_of
from medley.media.journal import CHUNK, Chunk, Entry, Journal, only_one, release_stale
from medley.media.pieces import Made, Medium, Preparation, Preparations, State, Task, looks_as, state_of
from medley.media.progress import ExtractProgress
from medley.media.workers import Failed, Workers
from medley.nn.scale import FeatureScale, Scale
from medley.version import versions

MOST_JOBS = 8  # processes by default; more decode faster than most networks encode
DECODERS = ("pillow", "av", "soundfile")
BLOCK = 16_384  # rows that are scaled at a time
OK, FAILED, STOPPED = "ok", "failed", "stopped"


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
    num_failed: int  # items whose media all failed
    num_encoded: int  # items that were encoded now; the vectors of all others were there
    written: bool  # false if nothing has changed
    failures: dict[str, Failure]  # reason -> how many media, and examples


@dataclass(frozen=True)
class Extracted:
    """The result of `extract`."""

    dataset: Dataset  # with the modalities
    modalities: dict[str, Extraction]
    unmatched: list[str]  # files without an item
    notes: list[str]  # sentences for people
    problems: list[tuple[str, str]]  # files that were not used, and why
    folder: str = field(repr=False, default="")

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


class _Planned(NamedTuple):
    """A chunk of item rows to be made again."""

    start: int
    kept: Chunk | None  # items that stay as they are
    pending: list[int]  # item rows to encode


@dataclass
class _Modality:
    """One modality on its way."""

    name: str
    encoder: Encoder
    about: dict[str, Any]
    fitted: dict[str, np.ndarray]
    journal: Journal
    media: dict[int, list[Medium]]  # item row -> its media of this kind
    made_by: dict[str, Any]
    asked: bool  # by name, not by default
    num_encoded: int = 0


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
        textual: encoder of texts. Without any of the three, every kind of medium that is found gets its default encoder.
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
        InputError: a wrong option or table, an unknown encoder, nothing to encode, no usable medium at all, a modality of
            another origin, or another process extracts; the data set is not changed.
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
    modalities: list[_Modality] = []
    for reads, (modality, spec) in wanted.items():
        encoder = find(spec, reads, device=device)
        provenance = {"text": list(text) if reads == "text" else [], "id_rule": id_rule, "scale": options.scale}
        modalities.append(_modality(dataset, modality, encoder, by_kind[reads], provenance, limits, asked))
    notes, progress = list(found.notes), progress or ExtractProgress()
    root = _root(media)
    with only_one(dataset.folder), ExitStack() as stack:
        preparations = {each.name: Preparation(prepare_of(each.encoder), limits) for each in modalities}
        jobs = options.jobs or min(MOST_JOBS, _cores())
        workers = stack.enter_context(
            Workers(Preparations(preparations), jobs=jobs, seconds=limits.seconds, memory=limits.memory)
        )
        for each in modalities:
            _encode(each, preparations[each.name], workers, options.batch, limits, root, dataset, progress)
        usable = [each for each in modalities if _has_vectors(each)]
        for each in modalities:
            if each not in usable and (each.asked or not usable):
                raise _all_failed(each, dataset)
            if each not in usable:
                count = len(each.media)
                notes.append(f"{each.name}: left out, for none of the media of {count:,} items could be used")
        release_stale(dataset.folder / LOCK)  # of a process that was killed as it wrote
        results: dict[str, Extraction] = {}
        for each in usable:
            dataset, results[each.name] = _write(dataset, each, options.scale)
    problems = [(problem.file, problem.reason) for problem in found.problems]
    return Extracted(dataset, results, list(found.unmatched), notes, problems)


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
    remedy = "choose another name (name=...), or pass overwrite=True"
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
    asked: bool,
) -> _Modality:
    """Fits the encoder where it is fitted to all texts, and finds the journal."""
    if encoder.reads == "text":
        encoder.fit([str(medium.source) for row in media for medium in media[row]])
    fitted, described, limited = encoder.fitted(), about(encoder), limits.model_dump()
    hashes = {key: sha256_of_json([array.tolist(), str(array.dtype)]) for key, array in sorted(fitted.items())}
    key = {
        "items": dataset.manifest.parts["items"],
        "reads": encoder.reads,
        "about": described,
        "fitted": hashes,
        "limits": limited,
    }
    made_by = {"by": BY, "encoder": encoder.name, "reads": encoder.reads, "about": described, **provenance}
    made_by["limits"] = limited
    journal = Journal(dataset.folder, name, key)
    return _Modality(name, encoder, described, fitted, journal, media, made_by, asked)


def _encode(
    modality: _Modality,
    prepare: Preparation,
    workers: Workers[Task, Made],
    batch: int,
    limits: Limits,
    root: Path | None,
    dataset: Dataset,
    progress: ExtractProgress,
) -> None:
    """Brings the journal of one modality up to date."""
    modality.made_by["versions"] = modality.journal.begin(_versions())
    planned = list(_plan(modality, limits, root, dataset.manifest.num_items))
    total = sum(len(modality.media[row]) for chunk in planned for row in chunk.pending)
    modality.num_encoded = sum(len(chunk.pending) for chunk in planned)
    todo = (medium for chunk in planned for row in chunk.pending for medium in modality.media[row])
    if modality.encoder.reads == "text":
        results: Iterator[Made | Failed] = map(prepare, todo)
    else:
        results = workers.map(Task(modality.name, medium) for medium in todo)
    if total:
        progress.start(modality.name, modality.encoder.name, total)
    try:
        for chunk in planned:
            made = _made(modality, chunk.pending, results, batch, limits, root, progress)
            modality.journal.write(chunk.start, _joined(chunk.kept, made))
    finally:
        if total:
            progress.stop()


def _plan(modality: _Modality, limits: Limits, root: Path | None, num_items: int) -> Iterator[_Planned]:
    """Yields the chunks that differ from the journal."""
    there = modality.journal.starts()
    for start in range(0, num_items, CHUNK):
        rows = [row for row in range(start, min(start + CHUNK, num_items)) if row in modality.media]
        old = modality.journal.read(start) if start in there else None
        if old is None:
            if rows or start in there:
                yield _Planned(start, None, rows)
            continue
        entries: dict[int, list[Entry]] = {}
        for entry in old.entries:
            entries.setdefault(entry.item, []).append(entry)
        same = {row: _unchanged(modality.media[row], entries.get(row, []), limits, root) for row in rows}
        kept = [entry for row in rows for entry in same[row] or ()]
        pending = [row for row in rows if same[row] is None]
        if pending or kept != old.entries:
            stays = np.isin(old.rows, [row for row in rows if same[row] is not None])
            yield _Planned(start, Chunk(old.rows[stays], old.vectors[stays], kept), pending)


def _unchanged(media: list[Medium], entries: list[Entry], limits: Limits, root: Path | None) -> list[Entry] | None:
    """Returns the entries of an item, with the times of its files now; None if it is to be encoded again."""
    if [entry.file for entry in entries] != [_name(medium.source, root) for medium in media]:
        return None
    now: list[Entry] = []
    for medium, entry in zip(media, entries, strict=True):
        if entry.status == STOPPED:
            return None
        state = entry.state
        if not (isinstance(medium.source, Path) and state.modified and looks_as(medium.source, state)):
            try:
                state = state_of(medium.source, limits)
            except MediaError:
                return None
            if not state.sha256 or state.sha256 != entry.state.sha256:
                return None
        now.append(entry._replace(state=state))
    return now


def _made(
    modality: _Modality,
    pending: Iterable[int],
    results: Iterator[Made | Failed],
    batch: int,
    limits: Limits,
    root: Path | None,
    progress: ExtractProgress,
) -> Chunk:
    """Encodes items; takes one result per medium."""
    batches = Batches(modality.encoder, batch)
    entries: dict[int, list[Entry]] = {}
    for row in pending:
        entries[row] = []
        for medium in modality.media[row]:
            result = next(results)
            if isinstance(result, Failed):
                result, status = Made(_state_in_any_case(medium, limits), None, result.reason), STOPPED
            else:
                status = FAILED if result.error else OK
            if status == OK:
                batches.add(result.pieces)
            file = _name(medium.source, root)
            entries[row].append(Entry(row, file, result.state, status, result.error))
            progress.medium(failed=status != OK)
    of_media = iter(batches.finish())
    rows: list[int] = []
    vectors: list[np.ndarray] = []
    for row, each in entries.items():
        mine = [next(of_media) for entry in each if entry.status == OK]
        if not mine:
            continue
        try:
            vectors.append(mean_of(mine))
            rows.append(row)
        except MediaError as error:
            entries[row] = [
                entry._replace(status=FAILED, error=str(error)) if entry.status == OK else entry for entry in each
            ]
    values = np.stack(vectors) if vectors else np.zeros((0, modality.encoder.dim), dtype=np.float32)
    return Chunk(np.array(rows, dtype=np.int32), values, [entry for each in entries.values() for entry in each])


def _state_in_any_case(medium: Medium, limits: Limits) -> State:
    try:
        return state_of(medium.source, limits)
    except MediaError:
        return State("", 0, 0)


def _joined(kept: Chunk | None, made: Chunk) -> Chunk:
    """Joins two chunks of the same rows, by item row."""
    if kept is None or not kept.entries:
        return made
    rows = np.concatenate([kept.rows, made.rows])
    order = np.argsort(rows)
    entries = sorted([*kept.entries, *made.entries], key=lambda entry: entry.item)
    return Chunk(rows[order], np.concatenate([kept.vectors, made.vectors])[order], entries)


def _chunks(modality: _Modality) -> Iterator[Chunk]:
    for start in sorted(modality.journal.starts()):
        chunk = modality.journal.read(start)
        if chunk is None:  # it was read or written a moment ago
            remedy = "run the extraction again"
            raise InputError("the journal is damaged", file=modality.journal.folder, remedy=remedy)
        yield chunk


def _has_vectors(modality: _Modality) -> bool:
    return any(len(chunk.rows) for chunk in _chunks(modality))


def _all_failed(modality: _Modality, dataset: Dataset) -> InputError:
    reasons = failures(_table(modality), dataset.items)
    said = "; ".join(f"{why} ({one.count:,}, such as {one.examples[0]})" for why, one in reasons.items())
    return InputError(
        f"{modality.name}: none of the media could be used",
        expected="at least one vector",
        got=f"media of {len(modality.media):,} items: {said}",
        remedy="correct the media or the limits; nothing was written",
    )


def _table(modality: _Modality) -> pl.DataFrame:
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


def _write(dataset: Dataset, modality: _Modality, how: str) -> tuple[Dataset, Extraction]:
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
    num_present = int(present.sum())
    result = Extraction(
        encoder=modality.encoder.name,
        dim=dataset.manifest.modalities[modality.name].dim,
        num_items=num_present,
        num_without=num_items - len(modality.media),
        num_failed=len(modality.media) - num_present,
        num_encoded=modality.num_encoded,
        written=written,
        failures=failures(table, dataset.items),
    )
    return dataset, result


def _root(media: Path | pl.DataFrame | None) -> Path | None:
    """The folder to which the names of files in the report are relative."""
    if not isinstance(media, Path):
        return None
    return (media if media.is_dir() else media.parent).absolute()


def _name(source: Path | bytes | str, root: Path | None) -> str:
    if not isinstance(source, Path):
        return "text" if isinstance(source, str) else "bytes"
    path = source.absolute()
    return path.relative_to(root).as_posix() if root is not None and path.is_relative_to(root) else str(source)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _versions() -> dict[str, str]:
    """Versions that can change a vector and that no encoder knows of."""
    found = versions()
    for package in DECODERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
