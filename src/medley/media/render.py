"""Renders the catalogue of a simulated data set as real media, in which the planted clusters can be seen and heard.

<out>/media.parquet     item_id, image, video, audio (file names, or null), text (or null); one row per item
<out>/<item_id>.<suffix>

An item that lacks a modality has nothing of it: a clip without sound, a sound without a picture, no caption. Only the
content of the media depends on the clusters; names, formats and the order of the table do not. The titles of the items
name all clusters and are for people: text must be extracted from the captions, not from the titles.
"""

from pathlib import Path

import polars as pl

from medley.cores import num_cores
from medley.data.dataset import Dataset
from medley.data.simulate import SimulationSettings, phrase, planted, simulate
from medley.errors import InputError, MedleyError
from medley.files import refuse_existing, staged_folder
from medley.media.clips import Item, ItemRenderer, check_codecs
from medley.media.progress import ExtractProgress
from medley.media.workers import Failed, Workers

TABLE = "media.parquet"
FOLDER = "media"  # in the folder of the data set
MODALITIES = ("visual", "acoustic", "textual")  # that can be rendered
SECONDS, MEMORY = 60.0, 1024  # per item, of a worker; MiB


def simulate_media(
    out: str | Path,
    *,
    settings: SimulationSettings,
    seed: int,
    features: bool = True,
    jobs: int | None = None,
    overwrite: bool = False,
    progress: ExtractProgress | None = None,
) -> Dataset:
    """Simulates a data set and renders its catalogue into `out/media`.

    Args:
        out: the folder to make.
        settings: the shape of the data, as for `simulate`.
        seed: of all randomness.
        features: also write the simulator's own features.
        jobs: processes, as for `render`.
        overwrite: replace a data set in `out`, its media included.
        progress: shows the progress, item by item; nothing by default.

    Raises:
        InputError: as in `simulate` and `render`.
        MissingExtraError: packages of the extra `media` are absent.
    """
    check_codecs()
    _check_modalities(list(settings.modalities))
    data = simulate(out, settings=settings, seed=seed, features=features, overwrite=overwrite)
    render(data, data.folder / FOLDER, jobs=jobs, progress=progress)
    return data


def render(
    dataset: Dataset,
    out: str | Path,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    progress: ExtractProgress | None = None,
) -> Path:
    """Renders the catalogue of a simulated data set; the same data set gives the same bytes.

    Args:
        dataset: made by `simulate`.
        out: the folder to make; it appears when all items are rendered.
        jobs: processes; None: one per core.
        overwrite: replace a rendered catalogue in `out`.
        progress: shows the progress, item by item; nothing by default.

    Returns:
        The path of the table.

    Raises:
        InputError: not simulated, a modality that cannot be rendered, or `out` exists.
        MissingExtraError: packages of the extra `media` are absent.
    """
    check_codecs()
    out = Path(out)
    refuse_existing(out, overwrite=overwrite)
    if out.exists() and not (out / TABLE).is_file():
        remedy = "only rendered media are ever replaced: choose another name"
        raise InputError("not a folder of rendered media", file=out, remedy=remedy)
    items = _items(dataset)
    seed = int(dataset.manifest.provenance["seed"])
    with staged_folder(out, overwrite=overwrite) as folder:
        renderer = ItemRenderer(folder, seed)
        with Workers(renderer, jobs=num_cores() if jobs is None else jobs, seconds=SECONDS, memory=MEMORY) as workers:
            rows = _rendered(items, workers, progress or ExtractProgress())
        schema = dict.fromkeys(("item_id", "image", "video", "audio", "text"), pl.String)
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / TABLE)
    return out / TABLE


def _rendered(items: list[Item], workers: Workers, progress: ExtractProgress) -> list[dict[str, str | None]]:
    """Renders all items; returns the rows of the table."""
    rows = []
    progress.start("media", "rendering", len(items))
    try:
        for item, row in zip(items, workers.map(items), strict=True):
            if isinstance(row, Failed):
                raise MedleyError(f"item {item.raw_id} cannot be rendered: {row.reason}")
            rows.append(row)
            progress.medium(failed=False)
    finally:
        progress.stop()
    return rows


def _items(dataset: Dataset) -> list[Item]:
    """Returns what is to be rendered of each item, in row order."""
    clusters = planted(dataset).item_clusters  # (I, M)
    modalities = list(dataset.manifest.provenance["settings"]["modalities"])
    _check_modalities(modalities)
    column = {m: clusters[:, n].tolist() for n, m in enumerate(modalities)}
    lacking = [-1] * len(clusters)
    visual, acoustic, textual = (column.get(m, lacking) for m in MODALITIES)
    return [
        Item(
            row,
            raw_id,
            visual[row] if visual[row] >= 0 else None,
            acoustic[row] if acoustic[row] >= 0 else None,
            phrase("textual", textual[row]) if textual[row] >= 0 else None,
        )
        for row, raw_id in enumerate(dataset.items.raw)
    ]


def _check_modalities(modalities: list[str]) -> None:
    unknown = [m for m in modalities if m not in MODALITIES]
    if unknown:
        expected = ", ".join(MODALITIES)
        raise InputError("modalities to render", expected=expected, got=unknown[0], remedy="simulate without media")
