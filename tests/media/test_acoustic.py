"""Sound encoders: front ends against slow loops and published constants, networks against direct calls."""

import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from medley.errors import InputError
from medley.media.acoustic import MAX_WINDOWS, LogMelStatistics, VGGish, vggish
from medley.media.encoders import find
from medley.media.logmel import Examples, LogMel, deltas, evenly, mel_bands, windows

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")


def tune(seconds, rate, seed=0):
    """A sound with a melody, overtones and noise, (n,) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    pitch = 220 * 2 ** (rng.integers(0, 24, size=int(seconds * 4) + 1) / 12)
    phase = 2 * np.pi * np.cumsum(pitch[(t * 4).astype(int)]) / rate
    sound = 0.3 * np.sin(phase) + 0.1 * np.sin(3 * phase) + 0.02 * rng.standard_normal(len(t))
    return sound.astype(np.float32)


def slow_mel_bands(rate, fft, bands, low, high):
    """The triangles of AudioSet's mel_features.py, band by band and bin by bin: straight over mel, no DC."""

    def mel(hertz):
        return 1127 * math.log(1 + hertz / 700)

    edges = [mel(low) + (mel(high) - mel(low)) * i / (bands + 1) for i in range(bands + 2)]
    weights = np.zeros((fft // 2 + 1, bands))
    for k in range(1, fft // 2 + 1):
        for b in range(bands):
            left, middle, right = edges[b : b + 3]
            at = mel(k * rate / fft)
            weights[k, b] = max(0.0, min((at - left) / (middle - left), (right - at) / (right - middle)))
    return weights


def test_the_bands_of_vggish_are_those_of_a_slow_loop():
    ours = mel_bands(16_000, 512, 64, 125.0, 7500.0, "htk", True, False)
    np.testing.assert_allclose(ours, slow_mel_bands(16_000, 512, 64, 125, 7500), atol=1e-10)


def test_triangles_over_hertz_follow_their_formula_on_both_scales():
    def hertz_of(mel, scale):
        if scale == "htk":
            return 700 * (10 ** (mel / 2595) - 1)
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    def mel_of(hertz, scale):
        if scale == "htk":
            return 2595 * math.log10(1 + hertz / 700)
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)

    for scale, equal_area in (("htk", False), ("slaney", True)):
        ours = mel_bands(22_050, 256, 20, 50.0, 8000.0, scale, False, equal_area)
        low, high = mel_of(50, scale), mel_of(8000, scale)
        edges = [hertz_of(low + (high - low) * i / 21, scale) for i in range(22)]
        for k in range(129):
            for b in range(20):
                left, middle, right = edges[b : b + 3]
                f = k * 22_050 / 256
                weight = max(0.0, min((f - left) / (middle - left), (right - f) / (right - middle)))
                weight *= 2 / (right - left) if equal_area else 1
                assert ours[k, b] == pytest.approx(weight, abs=1e-9)


def test_the_front_end_of_vggish_has_the_published_constants_and_equals_a_slow_loop():
    spectrum = VGGish.SPECTRUM
    assert spectrum.rate == 16_000 and spectrum.window == 0.025 * 16_000 and spectrum.hop == 0.010 * 16_000
    assert spectrum.bands == 64 and (spectrum.low, spectrum.high) == (125, 7500) and spectrum.offset == 0.01
    assert VGGish.FRAMES * spectrum.hop == 0.96 * 16_000

    sound = tune(2.5, 16_000)
    examples = Examples(spectrum, 96, 600)(sound)
    assert examples.shape == (2, 96, 64) and examples.dtype == np.float32  # the last half second is left out
    bands = slow_mel_bands(16_000, 512, 64, 125, 7500)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    for example, frame in ((0, 0), (0, 95), (1, 3)):
        start = (example * 96 + frame) * 160
        x = sound[start : start + 400].astype(float) * window
        at = np.arange(400)
        magnitude = [abs(np.sum(x * np.exp(-2j * np.pi * k * at / 512))) for k in range(257)]
        slow = np.log(np.array(magnitude) @ bands + 0.01)
        np.testing.assert_allclose(examples[example, frame], slow, atol=1e-5)


def test_frames_are_the_same_whatever_the_blocks():
    spectrum = LogMel(rate=8000, window=64, hop=16, fft=64, bands=8, low=50, high=4000)
    sound = tune(3, 8000)  # 1,497 frames: two blocks
    frames = spectrum(sound)
    assert len(frames) == 1 + (len(sound) - 64) // 16
    np.testing.assert_allclose(frames[1100], spectrum(sound[1100 * 16 :][:64])[0], atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 399, 400, 15_000])
def test_short_sounds_are_padded_to_one_window(samples):
    sound = tune(1, 16_000)[:samples]
    assert Examples(VGGish.SPECTRUM, 96, 600)(sound).shape == (1, 96, 64)
    described = find("logmel", "sound").prepare(sound)
    assert described.shape == (1, LogMelStatistics.dim) and np.isfinite(described).all()


def test_windows_cover_a_sound_from_its_start_to_its_end():
    sound = np.arange(25)
    assert [(w[0], w[-1]) for w in windows(sound, 10, 9)] == [(0, 9), (8, 17), (15, 24)]
    assert [(w[0], w[-1]) for w in windows(sound, 10, 2)] == [(0, 9), (15, 24)]
    assert [list(w) for w in windows(sound[:4], 10, 9)] == [[0, 1, 2, 3]]
    assert len(windows(np.zeros(1_000_000), 10, 7)) == 7
    assert list(evenly(4, 9)) == [0, 1, 2, 3] and list(evenly(100, 3)) in ([0, 50, 99], [0, 49, 99])


def test_deltas_are_slopes_of_five_frames():
    x = np.random.default_rng(0).standard_normal((12, 2))
    padded = np.concatenate([x[:1], x[:1], x, x[-1:], x[-1:]])
    slow = [[np.polyfit(range(-2, 3), padded[t : t + 5, column], 1)[0] for column in range(2)] for t in range(12)]
    np.testing.assert_allclose(deltas(x), slow, atol=1e-12)


def test_logmel_describes_each_window_by_mean_deviation_and_delta():
    encoder = find("logmel", "sound")
    sound = tune(25, encoder.rate)
    pieces = encoder.prepare(sound)
    assert pieces.shape == (3, 252) and encoder.dim == 252
    bands = encoder.SPECTRUM(sound[: 10 * encoder.rate]).astype(float)
    k, n = np.arange(20)[:, None], np.arange(64)
    basis = np.cos(np.pi * k * (2 * n + 1) / 128) * np.where(k == 0, np.sqrt(1 / 64), np.sqrt(2 / 64))
    columns = np.concatenate([bands, bands @ basis.T], axis=1)
    slow = np.concatenate([columns.mean(axis=0), columns.std(axis=0), np.abs(deltas(columns)).mean(axis=0)])
    np.testing.assert_allclose(pieces[0], slow, atol=1e-4)
    np.testing.assert_array_equal(encoder.encode(pieces), pieces)


def test_logmel_tells_sounds_apart_and_takes_half_an_hour_in_bounded_windows():
    encoder = find("logmel", "sound")
    calm, also_calm = tune(6, encoder.rate, 1), tune(6, encoder.rate, 2)
    noise = np.random.default_rng(3).standard_normal(6 * encoder.rate).astype(np.float32)
    a, b, c = (encoder.encode(encoder.prepare(x)).mean(axis=0) for x in (calm, also_calm, noise))
    assert np.linalg.norm(a - b) < 0.5 * np.linalg.norm(a - c)
    assert len(windows(np.zeros(3600 * encoder.rate, dtype=np.int8), 10 * encoder.rate, encoder.MOST)) == 180


def weights(projected=False):
    torch.manual_seed(0)
    state = {name: 0.03 * torch.randn_like(tensor) for name, tensor in vggish().state_dict().items()}
    if projected:
        state |= {"pproc.pca_eigen_vectors": torch.randn(128, 128) / 5, "pproc.pca_means": torch.rand(128, 1)}
    return state


@pytest.fixture(scope="module")
def vggish_files(tmp_path_factory):
    """Weights with and without the post-processing, as the two kinds of file; 290 MB each, removed at the end."""
    folder = tmp_path_factory.mktemp("vggish")
    safetensors.save_file(weights(), folder / "plain.safetensors")
    torch.save(weights(projected=True), folder / "projected.pth")
    yield folder
    for file in folder.iterdir():
        file.unlink()


def test_vggish_equals_its_layers_written_out(vggish_files):
    encoder = find(f"vggish:{vggish_files / 'plain.safetensors'}", "sound")
    pieces = encoder.prepare(tune(3, 16_000))
    vectors = encoder.encode(pieces)

    state, f = weights(), torch.nn.functional
    x = torch.from_numpy(pieces)[:, None]
    for layer, pool in ((0, True), (3, True), (6, False), (8, True), (11, False), (13, True)):
        x = f.conv2d(x, state[f"features.{layer}.weight"], state[f"features.{layer}.bias"], padding=1).relu()
        x = f.max_pool2d(x, 2) if pool else x
    x = torch.stack([example.permute(1, 2, 0).reshape(-1) for example in x])  # TensorFlow's order
    for layer in (0, 2, 4):
        x = f.linear(x, state[f"embeddings.{layer}.weight"], state[f"embeddings.{layer}.bias"]).relu()
    assert vectors.shape == (3, 128) and vectors.std() > 0
    np.testing.assert_allclose(vectors, x.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([encoder.encode(each[None]) for each in pieces]), vectors, atol=1e-5)


def test_vggish_projects_and_quantises_where_the_file_holds_the_projection(vggish_files):
    sound = tune(3, 16_000)
    plain = find(f"vggish:{vggish_files / 'plain.safetensors'}", "sound")
    encoder = find(f"vggish:{vggish_files / 'projected.pth'}", "sound")
    vectors, raw, state = encoder.encode(encoder.prepare(sound)), plain.encode(plain.prepare(sound)), weights(True)
    eigen, means = state["pproc.pca_eigen_vectors"].numpy(), state["pproc.pca_means"].numpy()
    slow = (eigen @ (raw.T - means)).T.clip(-2, 2)  # as AudioSet's vggish_postprocess.py
    assert np.abs(vectors - np.round((slow + 2) * 255 / 4)).max() <= 1  # rounding at .5
    assert len(np.unique(vectors)) > 20
    assert vectors.min() >= 0 and vectors.max() <= 255 and (vectors == vectors.round()).all()
    assert encoder.about()["preprocessing"]["projected"] and not plain.about()["preprocessing"]["projected"]


def test_a_file_without_the_weights_of_vggish_is_refused(tmp_path):
    safetensors.save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="names and shapes of torchvggish"):
        find(f"vggish:{tmp_path / 'other.safetensors'}", "sound")
    (tmp_path / "broken.pth").write_bytes(b"not tensors")
    with pytest.raises(InputError, match="tensors by name"):
        find(f"vggish:{tmp_path / 'broken.pth'}", "sound")
    with pytest.raises(InputError, match="tensors by name"):
        find(f"vggish:{tmp_path / 'absent.pth'}", "sound")


class Opens:
    """What a hostile pickle does."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return open, (self._path, "w")


def test_a_pickle_among_the_weights_is_never_run(tmp_path):
    torch.save({"features.0.weight": Opens(str(tmp_path / "was-run"))}, tmp_path / "hostile.pth")
    with pytest.raises(InputError, match="tensors by name"):
        find(f"vggish:{tmp_path / 'hostile.pth'}", "sound")
    assert not (tmp_path / "was-run").exists()


def tiny(kind):
    """Returns an audio network with random weights, and the extractor it is published with."""
    t = pytest.importorskip("transformers", reason="needs the extra media")
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    if kind == "ast":
        config = t.ASTConfig(**size, num_mel_bins=32, max_length=64)
        return t.ASTForAudioClassification(config), t.ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    fused = kind == "clap-fused"
    audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 32}
    audio |= {"spec_size": 64, "num_mel_bins": 16, "window_size": 4, "enable_fusion": fused, "num_classes": 4}
    config = t.ClapConfig(text_config={**size, "vocab_size": 20}, audio_config=audio, projection_dim=12)
    extractor = t.ClapFeatureExtractor(
        feature_size=16, sampling_rate=16_000, max_length_s=1, hop_length=320, frequency_max=8000
    )
    extractor.truncation = "fusion" if fused else "rand_trunc"
    return t.ClapModel(config), extractor


@pytest.mark.parametrize("kind", ["ast", "clap", "clap-fused"])
@pytest.mark.parametrize("part", [0.3, 1.0])
def test_an_audio_network_gives_what_direct_calls_of_the_library_give(kind, part, tmp_path):
    network, extractor = tiny(kind)
    network.eval().save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    encoder = find(str(tmp_path), "sound")
    whole = encoder.rate if kind != "ast" else 400 + 63 * 160  # samples that the network reads at a time
    sound = tune(2, encoder.rate)[: int(part * whole)]

    vectors = encoder.encode(encoder.prepare(sound))
    with torch.inference_mode():
        inputs = extractor(sound, sampling_rate=encoder.rate, return_tensors="pt")
        if kind == "ast":
            direct = network.audio_spectrogram_transformer(inputs["input_values"]).pooler_output
        else:  # the library calls one sound of a batch longer than it is, at random
            longer = torch.zeros(1, 1, dtype=torch.bool)
            direct = network.get_audio_features(inputs["input_features"].float(), is_longer=longer).pooler_output
    assert vectors.shape == (1, encoder.dim)
    np.testing.assert_allclose(vectors, direct.numpy(), atol=1e-4)

    pieces = encoder.prepare(tune(4.6 * whole / encoder.rate, encoder.rate, seed=5))  # a longer sound: several windows
    assert len(pieces) == 5
    together = encoder.encode(pieces)
    assert np.abs(together - together[0]).max() > 1e-3
    np.testing.assert_allclose(np.concatenate([encoder.encode(each[None]) for each in pieces]), together, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(encoder.prepare(sound)), vectors)
    assert json.loads(json.dumps(encoder.about()))["preprocessing"]["spectrum"]["rate"] == encoder.rate


def test_workers_prepare_sounds_without_torch(tmp_path):
    for kind in ("ast", "clap"):
        network, extractor = tiny(kind)
        network.save_pretrained(tmp_path / kind)
        extractor.save_pretrained(tmp_path / kind)
    steps = [find(str(tmp_path / kind), "sound").prepare for kind in ("ast", "clap")]
    steps += [find("logmel", "sound").prepare, Examples(VGGish.SPECTRUM, 96, 600)]
    (tmp_path / "steps").write_bytes(pickle.dumps(steps))
    code = (
        "import pathlib, pickle, sys, numpy as np;"
        f"steps = pickle.loads(pathlib.Path({str(tmp_path / 'steps')!r}).read_bytes());"
        "[step(np.ones(100, np.float32)) for step in steps];"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert steps[0].most == MAX_WINDOWS
