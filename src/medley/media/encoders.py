"""Encoders by name: what turns decoded media into vectors. A name, a hub id, a folder or an import path finds one.

    encoder = find("efficientnet-lite0", "image")
    pieces = encoder.prepare(image)          # anywhere: a worker process needs neither torch nor weights
    vector = encoder.encode(pieces).mean(axis=0)

Each encoder imports the packages of its extra when it is made. What workers run is in `medley.media.pixels` and
`medley.media.logmel`, which import no torch.
"""

import difflib
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medley import plugins
from medley.errors import InputError, MedleyError

Reads = Literal["image", "sound", "text"]

MODALITY_OF: dict[str, str] = {"image": "visual", "sound": "acoustic", "text": "textual"}
DEFAULTS: dict[str, str] = {"image": "efficientnet-lite0", "sound": "logmel", "text": "minilm"}
ENTRY_POINTS = "medley.encoders"  # the group under which another package lists its encoders

# What an encoder reads -> name -> where its class is. A name with a colon takes a file: `vggish:weights.safetensors`.
ENCODERS: dict[str, dict[str, str]] = {
    "image": {
        "efficientnet-lite0": "medley.media.visual:EfficientNetLite0",
        "colour-layout": "medley.media.visual:ColourLayout",
    },
    "sound": {"logmel": "medley.media.acoustic:LogMelStatistics", "vggish:FILE": "medley.media.acoustic:VGGish"},
    "text": {
        "minilm": "medley.media.textual:MiniLM",
        "hashing": "medley.media.words:Hashing",
        "sif:FILE": "medley.media.words:SIF",
    },
}

# Networks of the transformers library -> the id under which a hub has the weights.
HUB_IDS: dict[str, dict[str, str]] = {
    "image": {
        "resnet50": "microsoft/resnet-50",
        "clip": "openai/clip-vit-base-patch32",
        "siglip2": "google/siglip2-base-patch16-224",
        "dinov2": "facebook/dinov2-base",
        "dinov3": "facebook/dinov3-vitb16-pretrain-lvd1689m",
    },
    "sound": {"ast": "MIT/ast-finetuned-audioset-10-10-0.4593", "clap": "laion/clap-htsat-unfused"},
    "text": {
        "bert": "google-bert/bert-base-uncased",
        "clip": "openai/clip-vit-base-patch32",
        "siglip2": "google/siglip2-base-patch16-224",
        "clap": "laion/clap-htsat-unfused",
    },
}
TRANSFORMERS = {
    "image": "medley.media.visual:TransformersImage",
    "sound": "medley.media.acoustic:TransformersSound",
    "text": "medley.media.textual:transformers_text",
}


class Encoder(ABC):
    """Turns decoded media of one kind into vectors.

    Attributes:
        name: the text by which the user asked for the encoder; `find` finds it again by the same text.
        reads: image, sound or text.
        dim: numbers per vector.
        rate: Hz at which `prepare` expects sound; 0 for other media.
        prepare: a small picklable function without the network. It reads an image, (H, W, 3) uint8 RGB; a sound, (n,)
            float32, mono, at `rate` Hz; or a text, and returns pieces, (p, ...) with p >= 1: one row per image, one per
            window of a sound; or a list with one text. Raises MediaError for a medium that says nothing, such as a
            text without words.
    """

    name: str
    reads: Reads
    dim: int
    rate: int = 0
    prepare: Callable[[Any], Any]

    @abstractmethod
    def encode(self, pieces: Any) -> np.ndarray:
        """Returns one vector per piece, (B, dim) float32. The vector of a medium is the mean over its pieces.

        The result does not depend on what else is in the batch, up to rounding (1e-5).

        Args:
            pieces: what `prepare` returned for one medium or, joined, for several: (B, ...), or a list of B texts.
        """

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Returns what determines the vectors: encoder, revision, preprocessing, versions of packages; JSON-able."""

    def fit(self, texts: Sequence[str]) -> None:  # noqa: B027 - most encoders have nothing to fit
        """Fits what depends on the whole catalogue, such as word frequencies. Most encoders have nothing to fit.

        Args:
            texts: the texts of all items.
        """

    def fitted(self) -> dict[str, np.ndarray]:
        """Returns what `fit` found, for `restore`; empty for most encoders."""
        return {}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes back what `fitted` returned.

        Raises:
            InputError: the arrays are not those of this encoder.
        """
        if arrays:
            expected = "none: this encoder is not fitted to a catalogue"
            raise InputError(f"fitted arrays of {self.name!r}", expected=expected, got=", ".join(sorted(arrays)))


def names(reads: str) -> list[str]:
    """Returns the names of the encoders of images, sounds or texts: ours, then all those of installed packages."""
    return plugins.with_installed([*ENCODERS[_checked(reads)], *HUB_IDS[reads]], ENTRY_POINTS)


def find(spec: str, reads: str, *, device: str = "cpu") -> Encoder:
    """Makes an encoder.

    Args:
        spec: a name out of `names(reads)`; a folder with a model of the transformers or sentence-transformers library;
            the id of such a model on the hub, `owner/name` or `owner/name@revision`; or an import path such as
            `mypkg.mymodule:Mine` to a class or function that takes the spec and the device.
        reads: image, sound or text.
        device: cpu, cuda, cuda:1, mps, or auto.

    Raises:
        InputError: no such encoder, it reads something else, its weights are not here, or no such device.
        MissingExtraError: the extra media is not installed.
    """
    _checked(reads)
    make = _factory(spec, reads)
    encoder = make(spec, device)
    if not isinstance(encoder, Encoder):
        raise InputError(f"encoder {spec!r}", expected="a medley.media.encoders.Encoder", got=repr(encoder))
    if encoder.reads != reads:
        remedy = f"use it for the {MODALITY_OF.get(encoder.reads, encoder.reads)} modality"
        expected = f"an encoder that reads {reads}"
        raise InputError(f"encoder {spec!r}", expected=expected, got=encoder.reads, remedy=remedy)
    return encoder


@contextmanager
def inference() -> Iterator[None]:
    """Runs a network without gradients, in full float32 and with the same kernels each time."""
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False, deterministic=True, benchmark=False):
        yield


def to_tensor(pieces: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copies pieces to a device."""
    return torch.tensor(np.asarray(pieces), device=device)


def in_parts(encode: Callable[[Any], np.ndarray], pieces: Any, size: int, device: torch.device) -> np.ndarray:
    """Encodes pieces in parts on a CPU, whose caches hold the layers of a small part, and all at once on a GPU.

    Args:
        encode: of a network: pieces -> (B, d).
        pieces: (B, ...), or a list of B texts.
        size: pieces per part.
        device: of the network.

    Returns:
        (B, d), what `encode` returns for all pieces, up to rounding.
    """
    if device.type != "cpu" or len(pieces) <= size:
        return encode(pieces)
    return np.concatenate([encode(pieces[first : first + size]) for first in range(0, len(pieces), size)])


def versions(*packages: str) -> dict[str, str]:
    """Returns package -> installed version."""
    return {package: version(package) for package in packages}


def _checked(reads: str) -> str:
    if reads not in ENCODERS:
        raise InputError("what an encoder reads", expected=", ".join(ENCODERS), got=repr(reads))
    return reads


def _factory(spec: str, reads: str) -> Callable[[str, str], Any]:
    """Returns what makes the encoder: names first, then packages and import paths, then folders and hub ids."""
    head = spec.partition(":")[0]
    for name, path in ENCODERS[reads].items():
        if name == spec or (name.endswith(":FILE") and name.partition(":")[0] == head):
            return _at(path)
    if spec in HUB_IDS[reads]:
        return _at(TRANSFORMERS[reads])
    installed = plugins.installed(ENTRY_POINTS)
    entry = installed.get(spec) or installed.get(head) or plugins.at_path(spec, ENTRY_POINTS)
    if entry is not None:
        factory = plugins.load(
            "encoder", spec, entry, remedy="is the package installed, and is the path module:Class right?"
        )
        if not callable(factory) or (inspect.isclass(factory) and not issubclass(factory, Encoder)):
            expected = "a subclass of medley.media.encoders.Encoder, or a function that returns one"
            raise InputError(f"encoder {spec!r}", expected=expected, got=repr(factory))
        return _careful(factory)
    if (spec and Path(spec).is_dir()) or _looks_like_hub_id(spec):
        return _at(TRANSFORMERS[reads])
    raise _unknown(spec, reads)


def _careful(factory: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """Turns whatever the code of another package raises into an InputError that names the encoder."""

    def make(spec: str, device: str) -> Any:
        try:
            return factory(spec, device)
        except MedleyError:
            raise
        except Exception as error:  # another package may raise anything
            raise InputError(f"encoder {spec!r} cannot be made", got=repr(error)) from error

    return make


def _at(path: str) -> Callable[[str, str], Any]:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def _looks_like_hub_id(spec: str) -> bool:
    """`owner/name`, with an optional `@revision`; not a path, which starts with a dot or slash or has more parts."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", spec) is not None


def _unknown(spec: str, reads: str) -> InputError:
    known = names(reads)
    others = [f"the {MODALITY_OF[each]} modality" for each in ENCODERS if each != reads and spec in names(each)]
    similar = difflib.get_close_matches(spec, known, n=1)
    hint = f"{spec} is for {' and '.join(others)}; " if others else ""
    hint += f"did you mean {similar[0]}? " if similar else ""
    remedy = f"{hint}choose one, or pass a folder, a hub id owner/name, or an import path such as mypkg.mymodule:Mine"
    what = f"unknown encoder of the {MODALITY_OF[reads]} modality"
    return InputError(what, expected=f"one of {', '.join(known)}", got=repr(spec), remedy=remedy)
