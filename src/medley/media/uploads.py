"""Media that strangers upload: encoded as the items of the catalogue were, in a process bounded in time and memory."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from medley.errors import InputError
from medley.media.decode import MediaError
from medley.media.files import ItemMedia
from medley.media.item import ItemEncoder
from medley.media.pieces import Made, Medium, Preparations, Task
from medley.media.thumbnails import THUMBNAIL, preparation
from medley.media.workers import Failed, Workers

IN_VIDEO = {"image", "sound"}  # what encoders read of a video


class Uploads:
    """Turns uploaded media into features and a thumbnail. Threads may share one object; `close` ends its processes."""

    def __init__(
        self,
        made_by: Mapping[str, Mapping[str, Any]],
        fitted: Mapping[str, Mapping[str, np.ndarray]],
        *,
        device: str = "cpu",
        jobs: int = 1,
        wait: bool = True,
    ):
        """Args:
        made_by: modality -> who made it, as in the manifest of the data set or the bundle.
        fitted: modality -> arrays that encode a new item.
        device: of the networks.
        jobs: processes that decode.
        wait: for the networks, which take seconds to load; False loads them in a thread, and the first upload waits.

        Raises:
            InputError: no modality was extracted from media, or an encoder is not the one that made it; without `wait`
                the first upload raises.
            MissingExtraError: the extra media is not installed.
        """
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="medley-encoders")
        self._loading = self._executor.submit(_load, made_by, fitted, device, jobs)
        if wait:
            self._loading.result()

    @property
    def reads(self) -> dict[str, str]:
        """Modality -> image, sound or text."""
        return self._loading.result()[0].reads

    def encode(
        self,
        *,
        text: str | None = None,
        image: bytes | None = None,
        audio: bytes | None = None,
        video: bytes | None = None,
    ) -> tuple[dict[str, np.ndarray], bytes | None]:
        """Encodes the media of one item.

        Returns:
            modality -> (d_m,) float32, and a JPEG of the image.

        Raises:
            InputError: a medium cannot be used, or no encoder of the catalogue reads it.
        """
        encoder, workers = self._loading.result()
        reads = encoder.reads
        for what, medium in {"text": text, "image": image, "sound": audio, "video": video}.items():
            usable = IN_VIDEO if what == "video" else {what}
            if medium is not None and usable.isdisjoint(reads.values()):
                expected = " or ".join(sorted(set(reads.values())))
                raise InputError("media of an item", expected=f"media that the catalogue encodes: {expected}", got=what)
        media = ItemMedia(
            images=() if image is None else (image,),
            audios=() if audio is None else (audio,),
            videos=() if video is None else (video,),
            texts=() if text is None else (text,),
        )
        try:
            features = encoder.encode(media, workers=workers)
        except MediaError as error:
            raise InputError("media of an item", got=str(error), remedy="send another file") from None
        if video is not None and not any(reads[modality] in IN_VIDEO for modality in features):
            raise InputError("media of an item", got="a video without usable sound", remedy="send another file")
        return features, None if image is None else _thumbnail(image, workers)

    def close(self) -> None:
        """Ends the processes."""
        self._executor.shutdown(cancel_futures=True)
        if not self._loading.cancelled() and self._loading.exception() is None:
            self._loading.result()[1].close()


def _load(
    made_by: Mapping[str, Mapping[str, Any]], fitted: Mapping[str, Mapping[str, np.ndarray]], device: str, jobs: int
) -> tuple[ItemEncoder, Workers[Task, Made]]:
    encoder = ItemEncoder(made_by, fitted, device=device)
    limits = list(encoder.limits.values())
    strictest = min(limits, key=lambda each: each.max_pixels)
    function = Preparations({**encoder.preparations.by_modality, THUMBNAIL: preparation(strictest)})
    seconds, memory = max(each.seconds for each in limits), max(each.memory for each in limits)
    return encoder, Workers(function, jobs=jobs, seconds=seconds, memory=memory)


def _thumbnail(image: bytes, workers: Workers[Task, Made]) -> bytes | None:
    made = workers.submit(Task(THUMBNAIL, Medium("image", image))).result()
    return None if isinstance(made, Failed) or made.error else made.pieces.tobytes()
