"""Data sets: opens them, audits them, and turns media into their features."""

from pathlib import Path
from typing import Any

import polars as pl

from medley.api.arguments import dataset_of
from medley.auditing import Audit
from medley.auditing import audit as audit_with
from medley.data.dataset import Dataset
from medley.media.extract import Extracted
from medley.media.extract import extract as extract_with
from medley.media.progress import ExtractBar, ExtractProgress


def load(folder: str | Path) -> Dataset:
    """Opens a data set folder made by `import_dataset`, `simulate` or their commands.

    Raises:
        InputError: not a data set folder.
    """
    return dataset_of(folder)


def audit(data: Dataset) -> Audit:
    """Audits a data set: can a benchmark on it be believed?

    Does the order of rows or raw ids tell held-out items, does popularity drift, do a few users or items rule, are
    judged users like trained ones, are the splits disjoint and in order of time, do features tell items apart, and
    what do lists for everybody get? A finding is a flag if it is both large and certain: see `medley.auditing`.

    Returns:
        `findings` (figure, expected value, why the figure matters, remedy), `flags`, `as_dict()`, `tables()`.
    """
    return audit_with(dataset_of(data))


def extract(
    data: Dataset,
    media: str | Path | pl.DataFrame | None = None,
    *,
    progress: bool | ExtractProgress = True,
    **options: Any,
) -> Extracted:
    """Turns media (images, videos, sounds, texts) into modalities of a data set: resumable, repeats only what changed.

    Args:
        data: the data set, in whose folder the modalities are written.
        media: a folder whose files are named after item ids; or a table with `item_id` and any of `image`, `video`,
            `audio` and `text`; or None, with `text=["title", ...]`: columns of the items.
        progress: True shows a bar on standard error; an object of a subclass of `ExtractProgress` shows anything else.
        options: `visual`, `acoustic`, `textual` (encoders), `name`, `text`, `id_rule`, `scale`, `batch`, `device`,
            `jobs`, `limits`, `overwrite`: see `medley.media.extract.extract`.

    Raises:
        InputError: a wrong option, nothing to encode, no usable medium, or a modality of another origin; the data set
            is not changed.
        MissingExtraError: the extra media is not installed.
    """
    if not isinstance(progress, ExtractProgress):
        progress = ExtractBar() if progress else ExtractProgress()
    return extract_with(dataset_of(data), media, progress=progress, **options)
