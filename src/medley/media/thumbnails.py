"""Small pictures of items, for pages that show them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medley.data.dataset import Dataset
from medley.media.decode import Limits
from medley.media.files import find_media
from medley.media.pieces import Medium, Preparation, Preparations, Prepare, Task
from medley.media.workers import Failed, Workers

SIDE = 160  # pixels of the longer side
QUALITY = 80  # of JPEG: about 5 kB at this size
THUMBNAIL = "thumbnail"  # in place of the modality of a task
NUM_JOBS = 2


class Thumbnail:
    """Makes a small JPEG of a decoded picture; runs in worker processes, which return arrays."""

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Returns the bytes of a JPEG, (n,) uint8, of a picture (H, W, 3) uint8."""
        from PIL import Image

        image = Image.fromarray(picture)
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        return np.frombuffer(file.getvalue(), dtype=np.uint8)


def preparation(limits: Limits) -> Preparation:
    """Returns what a worker needs to make thumbnails."""
    return Preparation(Prepare(Thumbnail()), limits)


def thumbnails(
    data: Dataset, media: Path, *, id_rule: str = "auto", jobs: int = NUM_JOBS
) -> Iterator[tuple[int, bytes]]:
    """Yields item row and JPEG of each item that has a picture that can be read, by row.

    Args:
        data: the data set.
        media: a folder or table, as for `medley.extract`.
        id_rule: how file names become item ids.
        jobs: processes that decode.
    """
    limits = Limits()
    found = find_media(data, media, id_rule=id_rule, limits=limits)
    rows = [row for row, each in found.media.items() if each.images]
    tasks = (Task(THUMBNAIL, Medium("image", found.media[row].images[0])) for row in rows)
    function = Preparations({THUMBNAIL: preparation(limits)})
    with Workers(function, jobs=jobs, seconds=limits.seconds, memory=limits.memory) as workers:
        for row, made in zip(rows, workers.map(tasks), strict=True):
            if not isinstance(made, Failed) and not made.error:
                yield row, made.pieces.tobytes()
