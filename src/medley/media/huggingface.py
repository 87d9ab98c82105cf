"""Networks of the transformers and sentence-transformers libraries: where their files are, what they read, loading.

Weights are read from safetensors alone, and no code of a model's folder is ever run. A hub is asked only for an id
whose files are not in its cache on this machine.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medley.errors import InputError, MissingExtraError
from medley.files import read_json, sha256_of_file
from medley.media.encoders import HUB_IDS, MODALITY_OF
from medley.media.limits import kind_and_line
from medley.nn.device import pick_device

FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "[0-9]_*/*.json", "[0-9]_*/*.safetensors"]  # of a hub's folder
INCOMPLETE = "download the whole model again: config.json, *.safetensors, the files of its preprocessor or tokenizer"

# The library makes up a tokenizer or processor where these files are absent, and its vectors would mean nothing.
TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tekken.json")
PROCESSOR = ("preprocessor_config.json", "processor_config.json")

# Networks with two towers -> what the towers read. All others read what their class calls its main input.
TOWERS = {
    "clip": ("image", "text"),
    "siglip": ("image", "text"),
    "siglip2": ("image", "text"),
    "clap": ("sound", "text"),
}
MAIN_INPUT = {"pixel_values": "image", "input_ids": "text"}


@dataclass(frozen=True)
class Found:
    """The files of a model on this machine.

    Attributes:
        spec: what the user asked for.
        folder: where the files are.
        revision: the hub's commit, or a hash of the files of a folder.
        config: the content of config.json.
    """

    spec: str
    folder: Path
    revision: str
    config: dict[str, Any]

    @property
    def kind(self) -> str:
        """The type of the model: bert, clip, resnet, ..."""
        return str(self.config.get("model_type", ""))


def find_model(spec: str, reads: str) -> Found:
    """Finds the files of a model and checks that the model reads `reads`.

    Args:
        spec: a name out of `HUB_IDS`, a folder, or a hub id with an optional `@revision`.
        reads: image, sound or text.

    Raises:
        InputError: the files are not here, or the model reads something else.
        MissingExtraError: transformers is not installed.
    """
    _transformers()
    if spec in HUB_IDS[reads]:
        folder, commit = _from_hub(HUB_IDS[reads][spec], spec)
    elif Path(spec).is_dir():
        folder, commit = Path(spec), None
    else:
        folder, commit = _from_hub(spec, spec)
    sentence_model = (folder / "modules.json").is_file() and not (folder / "config.json").exists()
    config = {} if sentence_model else read_json(folder / "config.json", remedy=INCOMPLETE)
    found = Found(spec, folder, commit or _hash_of_folder(folder), config)
    reading = _what_it_reads(found)
    if reads not in reading:
        got = f"a model of type {found.kind!r}, which reads {' and '.join(reading) or 'something else'}"
        fitting = ", ".join(MODALITY_OF[each] for each in reading)
        remedy = f"use it for the {fitting} modality" if fitting else "choose a model of images, sounds or texts"
        raise InputError(f"encoder {spec!r}", expected=f"a model that reads {reads}", got=got, remedy=remedy)
    return found


def load_network(found: Found, device: str) -> tuple[Any, list[str]]:
    """Loads the network of a model, in float32, ready for inference.

    Returns:
        The network on `device`, and the names of the parameters of pooling layers that the weights lack.

    Raises:
        InputError: the weights cannot be read, or lack other parameters.
    """
    transformers = _transformers()
    where = pick_device(device)
    with quiet(), reading(found):
        network, info = transformers.AutoModel.from_pretrained(
            found.folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = sorted(info["missing_keys"])
    pooling = [name for name in missing if "pooler" in name]
    if len(pooling) < len(missing) or info["mismatched_keys"]:
        wrong = [name for name in missing if name not in pooling] + [str(each[0]) for each in info["mismatched_keys"]]
        got = f"{len(wrong):,} absent or of another shape, such as {wrong[0]}"
        what = f"weights of {found.spec!r}"
        raise InputError(what, file=found.folder, expected="all parameters of the network", got=got, remedy=INCOMPLETE)
    return network.eval().requires_grad_(False).to(where), pooling


def pooled(output: Any, *, untrained: bool) -> torch.Tensor:
    """Returns (B, d): the pooled output of a network of the library.

    Args:
        output: what the network returned.
        untrained: whether the pooling layer has no weights; then the first token stands for the whole.
    """
    if output.get("pooler_output") is not None and not untrained:
        return output.pooler_output.flatten(start_dim=1)
    last = output.last_hidden_state
    return last.mean(dim=(2, 3)) if last.dim() == 4 else last[:, 0]


@contextmanager
def reading(found: Found) -> Iterator[None]:
    """Turns whatever a library raises about a model's files into an InputError that names the folder."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # files of strangers: the library may raise anything
        got = kind_and_line(error)
        what = f"encoder {found.spec!r} cannot be loaded"
        raise InputError(what, file=found.folder, got=got, remedy=INCOMPLETE) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library's progress bars and remarks off the terminal; errors are raised in any case."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def require(found: Found, patterns: Sequence[str], what: str) -> None:
    """Raises an InputError if a folder holds none of the files."""
    if not any(True for pattern in patterns for _ in found.folder.rglob(pattern)):
        raise InputError(what, file=found.folder, expected=" or ".join(patterns), got="none of them", remedy=INCOMPLETE)


def refuse_own_code(found: Found) -> None:
    """Raises an InputError if a sentence-transformers folder names classes that are not the library's own."""
    modules = found.folder / "modules.json"
    with reading(found):
        types = [module["type"] for module in json.loads(modules.read_text(encoding="utf-8"))]
    foreign = [each for each in types if not each.startswith("sentence_transformers.")]
    if foreign:
        remedy = "choose a model without code of its own: Medley never runs code of a model's folder"
        expected = "classes of sentence-transformers"
        what = f"encoder {found.spec!r}"
        raise InputError(what, file=modules, expected=expected, got=", ".join(foreign), remedy=remedy)


def _what_it_reads(found: Found) -> tuple[str, ...]:
    if (found.folder / "modules.json").is_file():  # sentence-transformers
        return ("text",)
    if found.kind in TOWERS:
        return TOWERS[found.kind]
    if found.kind == "audio-spectrogram-transformer":
        return ("sound",)
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    with quiet(), reading(found):
        config = AutoConfig.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
        network = MODEL_MAPPING.get(type(config), None)
    if isinstance(network, tuple):
        network = network[0]
    main = getattr(network, "main_input_name", "")
    return (MAIN_INPUT[main],) if main in MAIN_INPUT and not getattr(config, "is_encoder_decoder", False) else ()


def _from_hub(hub_id: str, spec: str) -> tuple[Path, str]:
    """Returns the folder and the commit of a hub's model: from the cache of this machine, else from the hub."""
    from huggingface_hub import snapshot_download

    name, _, revision = hub_id.partition("@")
    kwargs: dict[str, Any] = {"allow_patterns": FILES, "revision": revision or None}
    folder = None
    try:
        folder = Path(snapshot_download(name, local_files_only=True, **kwargs))
    except Exception:  # not in the cache: the next lines ask the hub
        folder = None
    if folder is None or not (folder / "config.json").exists() or not any(folder.glob("*.safetensors")):
        try:
            folder = Path(snapshot_download(name, **kwargs))
        except Exception as error:  # no network, no such id, no permission: each has errors of its own
            got = kind_and_line(error)
            remedy = (
                f"on a machine with network: hf download {name}{f' --revision {revision}' if revision else ''} "
                f"--local-dir FOLDER; then copy the folder here and pass its path instead of {spec!r}"
            )
            expected = f"the model {hub_id} in the hub's cache on this machine, or a hub that can be reached"
            raise InputError(f"encoder {spec!r}", expected=expected, got=got, remedy=remedy) from None
    return folder, folder.name


def _hash_of_folder(folder: Path) -> str:
    """Returns one hash of the weights, configurations and vocabularies of a folder; file names count."""
    files = sorted(path for pattern in FILES for path in folder.glob(pattern) if path.is_file())
    if not any(path.suffix == ".safetensors" for path in files):
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder"
        remedy = "save the model again with save_pretrained(folder): pickled weights are never read"
        raise InputError("weights", file=folder, expected="*.safetensors", got=found, remedy=remedy)
    parts = [f"{path.relative_to(folder).as_posix()} {sha256_of_file(path)}\n" for path in files]
    return f"sha256:{hashlib.sha256(''.join(parts).encode()).hexdigest()}"


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("an encoder of the transformers library", "media") from None
    return transformers
