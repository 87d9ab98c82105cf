"""Encoders of texts that look at words alone: hashing, which needs nothing, and SIF, which needs word vectors."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medley.errors import InputError
from medley.files import sha256_of_file
from medley.media.encoders import Encoder, versions
from medley.media.limits import MediaError
from medley.nn.device import pick_device

TOKEN = re.compile(r"\w+|[^\w\s]")  # a word, or one sign such as an emoji


class Hashing(Encoder):
    """A baseline without weights, of 1,024 numbers of length 1: which words and parts of words a text has.

    Words, signs, and the 3 to 5 neighbouring characters within a word (with a space on each side) are counted. Each of
    them adds 1 + log(count) to the place, and with the sign, that a hash of it chooses (K. Weinberger et al.: Feature
    Hashing for Large Scale Multitask Learning, ICML 2009). Parts of words make inflected forms and typing errors
    similar. The hash is BLAKE2b, the same in each process and on each machine.
    """

    reads = "text"
    dim = 1024
    PARTS = (3, 4, 5)  # characters, as in fastText

    def __init__(self, spec: str = "hashing", device: str = "cpu"):
        pick_device(device)
        self.name = spec
        self.prepare = not_empty

    def encode(self, pieces: list[str]) -> np.ndarray:
        return np.stack([hashed(text, self.dim, self.PARTS) for text in pieces])

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": "1",  # of the formula
            "preprocessing": {"case": "folded, NFKC", "parts_of_words": list(self.PARTS), "tf": "1 + log"},
            "dim": self.dim,
            "versions": versions("numpy"),
        }


class SIF(Encoder):
    """Sentence vectors from word vectors of a file: weighted means without their common direction.

    S. Arora, Y. Liang, T. Ma: A Simple but Tough-to-Beat Baseline for Sentence Embeddings, ICLR 2017. A word w weighs
    a / (a + p(w)), with p(w) its share of all words in the texts of the catalogue; the first singular vector of all
    sentence vectors is removed from each. `fit` finds both. The file has a word and its numbers per line (GloVe), after
    an optional line with the two counts (word2vec, fastText).
    """

    reads = "text"
    A = 1e-3  # Sec. 4: 1e-4 to 1e-3 are best; 1e-3 is the value of the authors' experiments

    def __init__(self, spec: str, device: str = "cpu"):
        pick_device(device)
        self.name = spec
        self._path = Path(spec.partition(":")[2])
        self._rows, self._vectors = _word_vectors(self._path)
        self.dim = self._vectors.shape[1]
        self.prepare = KnownWords(self._rows)
        self._counts: dict[str, int] | None = None
        self._component = np.zeros(self.dim)

    def encode(self, pieces: list[str]) -> np.ndarray:
        if self._counts is None:
            remedy = "call fit with the texts of the catalogue, or restore with what fitted() returned"
            raise InputError("word frequencies of SIF", expected="those of a catalogue", got="none", remedy=remedy)
        means = self._means(pieces)
        return (means - np.outer(means @ self._component, self._component)).astype(np.float32)

    def fit(self, texts: Sequence[str]) -> None:
        known = [text for text in texts if any(word in self._rows for word in tokens_of(text))]
        if len({tuple(tokens_of(text)) for text in known}) < 2:
            remedy = "are the word vectors those of the texts' language?"
            got = f"{len(texts):,} texts, {len(known):,} with a known word"
            expected = "two different texts with words of the file"
            raise InputError("texts for SIF", file=self._path, expected=expected, got=got, remedy=remedy)
        self._counts = dict(Counter(word for text in texts for word in tokens_of(text)))
        self._component = first_direction(self._means(known))

    def fitted(self) -> dict[str, np.ndarray]:
        if self._counts is None:
            return {}
        words = "\n".join(self._counts).encode()
        return {
            "words": np.frombuffer(words, dtype=np.uint8),
            "counts": np.array(list(self._counts.values()), dtype=np.int64),
            "component": self._component,
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        try:
            words = arrays["words"].tobytes().decode().split("\n")
            counts = dict(zip(words, arrays["counts"].tolist(), strict=True))
            component = np.asarray(arrays["component"], dtype=np.float64).reshape(self.dim)
        except (KeyError, ValueError) as error:
            expected = f"words, counts, and component with {self.dim} numbers"
            remedy = "extract the text features again"
            what = f"fitted arrays of {self.name!r}"
            raise InputError(what, expected=expected, got=str(error), remedy=remedy) from None
        self._counts, self._component = counts, component

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": f"sha256:{sha256_of_file(self._path)}",
            "preprocessing": {"a": self.A, "case": "folded, NFKC", "components_removed": 1},
            "dim": self.dim,
            "versions": versions("numpy"),
        }

    def _means(self, texts: Sequence[str]) -> np.ndarray:
        """Returns (B, d) float64: the weighted means of the vectors of the known words."""
        counts = self._counts or {}
        total = max(1, sum(counts.values()))
        out = np.zeros((len(texts), self.dim))
        for row, text in enumerate(texts):
            words = [word for word in tokens_of(text) if word in self._rows]
            if not words:
                raise MediaError("no word of the text has a vector")
            weights = np.array([self.A / (self.A + counts.get(word, 0) / total) for word in words])
            out[row] = weights @ self._vectors[[self._rows[word] for word in words]] / len(words)
        return out


class KnownWords:
    """Refuses texts of which no word has a vector: their mean would be zero."""

    def __init__(self, rows: Mapping[str, int]):
        self._rows = rows

    def __call__(self, text: str) -> list[str]:
        """Returns the text, as a list."""
        if not any(word in self._rows for word in tokens_of(text)):
            raise MediaError("no word of the text has a vector")
        return [text]


def not_empty(text: str) -> list[str]:
    """Returns the text, as a list; raises a MediaError if it holds nothing but spaces."""
    if not text.strip():
        raise MediaError("empty text")
    return [text]


def tokens_of(text: str) -> list[str]:
    """Returns the words and signs of a text, in compatible characters and without case."""
    return TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def hashed(text: str, dim: int, parts: Sequence[int]) -> np.ndarray:
    """Returns the vector of `Hashing`, (dim,) float32."""
    counts: Counter[str] = Counter()
    for word in tokens_of(text):
        counts[f"w{word}"] += 1
        edged = f" {word} "
        counts.update(f"p{edged[i : i + n]}" for n in parts for i in range(len(edged) - n + 1))
    places = [int.from_bytes(hashlib.blake2b(each.encode(), digest_size=8).digest(), "little") for each in counts]
    place = np.array([each % dim for each in places], dtype=int)
    sign = np.array([1.0 if each >> 63 else -1.0 for each in places])
    weight = 1 + np.log(np.array(list(counts.values()), dtype=float))
    vector = np.bincount(place, sign * weight, minlength=dim)
    if not vector.any():  # the signs cancel, by chance: then without signs
        vector = np.bincount(place, weight, minlength=dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def first_direction(x: np.ndarray) -> np.ndarray:
    """Returns the first right singular vector of (n, d), with its largest entry positive; (d,) float64."""
    _, vectors = np.linalg.eigh(x.T @ x)
    first = vectors[:, -1]
    return first * np.sign(first[np.abs(first).argmax()])


def _word_vectors(path: Path) -> tuple[dict[str, int], np.ndarray]:
    """Reads word -> row, and the rows, (words, d) float32, from a text file; a repeated word keeps its first vector."""
    rows: dict[str, int] = {}
    vectors: list[np.ndarray] = []
    dim = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                fields = line.rstrip().split(" ")
                if number == 1 and len(fields) == 2:  # counts of words and of dimensions
                    continue
                dim = dim or len(fields) - 1
                if len(fields) <= dim or dim < 1:
                    got = f"{len(fields) - 1} numbers"
                    expected = f"a word and {dim or 'its'} numbers"
                    raise InputError("word vectors", file=path, row=number, expected=expected, got=got)
                word = unicodedata.normalize("NFKC", " ".join(fields[:-dim])).casefold()  # some words contain a space
                values = np.array(fields[-dim:], dtype=np.float32)
                if not np.isfinite(values).all():
                    raise ValueError(f"line {number:,}: not finite")
                if word not in rows:
                    rows[word] = len(vectors)
                    vectors.append(values)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        remedy = "pass sif:FILE with word vectors as text: per line a word and its numbers, with spaces between"
        raise InputError("word vectors", file=path, got=str(error), remedy=remedy) from None
    if not vectors:
        raise InputError("word vectors", file=path, expected="at least one line", got="none")
    return rows, np.stack(vectors)
