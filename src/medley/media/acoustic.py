"""Encoders of sounds: logmel, VGGish, and the audio networks AST and CLAP of the transformers library."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from medley.errors import InputError
from medley.files import sha256_of_file
from medley.media.encoders import Encoder, inference, to_tensor, versions
from medley.media.huggingface import PROCESSOR, Found, find_model, load_network, pooled, quiet, reading, require
from medley.media.limits import kind_and_line
from medley.media.logmel import MFCC, Examples, FilterBanks, LogMel, RepeatedMel, Statistics
from medley.nn.device import pick_device

CLIP = 2.0  # VGGish's projections are clipped to [-2, 2] before they are quantised
MAX_WINDOWS = 30  # of about 10 s that a network reads per sound: 5 minutes without a gap


class LogMelStatistics(Encoder):
    """A documented description of sound without weights, of 252 numbers: see `medley.media.logmel.Statistics`."""

    reads = "sound"
    rate = 22_050  # Hz: up to 11 kHz, above which music and speech have little energy, for half the samples of a CD
    SPECTRUM = LogMel(
        rate=rate,
        window=2048,  # 93 ms: resolves semitones from about 180 Hz on
        hop=512,  # 23 ms: a quarter of the window, as is usual for music
        fft=2048,
        bands=64,
        low=20.0,  # Hz: the limit of hearing
        high=rate / 2,
    )
    SECONDS = 10.0  # per window: a few bars of music
    MOST = 180  # windows: half an hour without a gap
    dim = 3 * (SPECTRUM.bands + MFCC)

    def __init__(self, spec: str = "logmel", device: str = "cpu"):
        pick_device(device)
        self.name = spec
        self._steps = Statistics(self.SPECTRUM, self.SECONDS, self.MOST)
        self.prepare = self._steps

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        return np.asarray(pieces, dtype=np.float32)

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": "1",  # of the formula
            "preprocessing": {**asdict(self._steps), "mfcc": MFCC},
            "dim": self.dim,
            "versions": versions("numpy", "scipy"),
        }


class VGGish(Encoder):
    """VGGish, trained on 70 million YouTube videos: 128 numbers per 0.96 s. The weights are a file of the user.

    S. Hershey et al.: CNN Architectures for Large-Scale Audio Classification, ICASSP 2017. The constants of the front
    end are those of AudioSet's release (tensorflow/models, research/audioset/vggish). The file is a state dict with the
    names of torchvggish (`features.0.weight`, ..., `embeddings.4.bias`), as safetensors or as torch writes it; the last
    layer is rectified, as in torchvggish and in AudioSet's first release. Where the file also holds
    `pca_eigen_vectors` and `pca_means`, the embeddings are projected and quantised to 0 ... 255, as the vectors that
    AudioSet and many data sets publish.
    """

    reads = "sound"
    dim = 128
    rate = 16_000
    SPECTRUM = LogMel(
        rate=rate,
        window=400,  # 25 ms
        hop=160,  # 10 ms
        fft=512,
        bands=64,
        low=125.0,
        high=7500.0,
        power=1,
        in_mel=True,
        floor=0.0,
        offset=0.01,
    )
    FRAMES = 96  # 0.96 s
    MOST = 600  # examples: about 10 minutes without a gap

    def __init__(self, spec: str, device: str = "cpu"):
        self.name = spec
        self._path = Path(spec.partition(":")[2])
        self._device = pick_device(device)
        self._steps = Examples(self.SPECTRUM, self.FRAMES, self.MOST)
        self.prepare = self._steps
        weights = _state_dict(self._path)
        vectors, means = weights.pop("pca_eigen_vectors", None), weights.pop("pca_means", None)
        self._projection = None
        if vectors is not None and means is not None:
            self._projection = vectors.float().to(self._device), means.float().flatten().to(self._device)
        network = vggish()
        try:
            network.load_state_dict(weights)
            if self._projection is not None:
                quantised(torch.zeros(1, self.dim, device=self._device), *self._projection)
        except RuntimeError as error:
            got = " ".join(str(error).split())[:200]
            expected = "a state dict with the names and shapes of torchvggish"
            raise InputError("weights of VGGish", file=self._path, expected=expected, got=got) from None
        self._network = network.eval().requires_grad_(False).to(self._device)

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        with inference():
            x = to_tensor(pieces, self._device)[:, None]  # (B, 1, 96, 64)
            x = self._network["features"](x).permute(0, 2, 3, 1).flatten(start_dim=1)  # TensorFlow's order
            x = self._network["embeddings"](x)
            return (x if self._projection is None else quantised(x, *self._projection)).cpu().numpy()

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": f"sha256:{sha256_of_file(self._path)}",
            "preprocessing": {**asdict(self._steps), "projected": self._projection is not None},
            "dim": self.dim,
            "versions": versions("numpy", "torch"),
        }


class TransformersSound(Encoder):
    """An audio network of the transformers library: AST (pooled output) or CLAP (audio embedding).

    A sound is read in windows as long as the network listens, about 10 s, from its start to its end. CLAP's own
    preprocessing cuts a window at random out of longer sounds; nothing is random here.
    """

    reads = "sound"

    def __init__(self, spec: str, device: str = "cpu"):
        self.name = spec
        self._found = find_model(spec, "sound")
        self._steps = _of_clap(self._found) if self._found.kind == "clap" else _of_ast(self._found)
        self.prepare = self._steps
        self.rate = self._steps.spectrum.rate
        self._device = pick_device(device)
        self._network, self._untrained = load_network(self._found, device)
        self.dim = self.encode(self.prepare(np.zeros(self.rate, dtype=np.float32))).shape[1]

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        with inference():
            x = to_tensor(pieces, self._device)
            if self._found.kind == "clap":
                longer = torch.zeros(len(x), 1, dtype=torch.bool, device=self._device)
                output = self._network.get_audio_features(input_features=x, is_longer=longer)
            else:
                output = self._network(input_values=x)
            return pooled(output, untrained=bool(self._untrained)).cpu().numpy()

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": self._found.revision,
            "model": self._found.kind,
            "preprocessing": asdict(self._steps),
            "dim": self.dim,
            "versions": versions("numpy", "torch", "transformers"),
        }


def quantised(x: torch.Tensor, vectors: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Returns (B, 128), whole numbers of 0 ... 255: AudioSet's post-processing of embeddings (B, 128).

    Args:
        x: embeddings.
        vectors: (128, 128), one direction per row.
        means: (128,).
    """
    projected = ((x - means) @ vectors.T).clamp(-CLIP, CLIP)
    return ((projected + CLIP) * (255 / (2 * CLIP))).round()


def vggish() -> nn.ModuleDict:
    """Returns the network of VGGish without its weights: `features`, then `embeddings`."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0):  # 0: pooling
        if width:
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    dense = [nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128), nn.ReLU()]
    return nn.ModuleDict({"features": nn.Sequential(*layers), "embeddings": nn.Sequential(*dense)})


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads a file of tensors, without its names' prefix of the post-processing."""
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, weights_only=True, map_location="cpu")
        return {name.removeprefix("pproc."): torch.as_tensor(tensor) for name, tensor in weights.items()}
    except Exception as error:  # a file of strangers: the readers may raise anything
        got = kind_and_line(error)
        remedy = "pass vggish:FILE with the weights that torchvggish publishes, as .pth or .safetensors"
        raise InputError("weights of VGGish", file=path, expected="tensors by name", got=got, remedy=remedy) from None


def _of_ast(found: Found) -> FilterBanks:
    """Reads the front end of AST; the constants that are not in its settings are those of the library."""
    settings = _extractor(found)
    spectrum = LogMel(
        rate=settings.sampling_rate,
        window=400,
        hop=160,
        fft=512,
        bands=settings.num_mel_bins,
        low=20.0,
        high=settings.sampling_rate / 2,
        in_mel=True,
        floor=float(np.finfo(np.float32).eps),
        periodic=False,
        preemphasis=0.97,
        remove_mean=True,
    )
    mean, deviation = (settings.mean, 2 * settings.std) if settings.do_normalize else (0.0, 1.0)
    return FilterBanks(spectrum, settings.max_length, MAX_WINDOWS, mean, deviation)


def _of_clap(found: Found) -> RepeatedMel:
    settings = _extractor(found)
    fused = settings.truncation == "fusion"
    spectrum = LogMel(
        rate=settings.sampling_rate,
        window=settings.fft_window_size,
        hop=settings.hop_length,
        fft=settings.fft_window_size,
        bands=settings.feature_size,
        low=settings.frequency_min,
        high=settings.frequency_max,
        scale="htk" if fused else "slaney",
        equal_area=not fused,
        decibels=True,
        centred=True,
    )
    if settings.padding not in ("repeatpad", "pad"):
        got = repr(settings.padding)
        raise InputError("padding of CLAP's sounds", file=found.folder, expected="repeatpad or pad", got=got)
    copies, repeat = (4 if fused else 1), settings.padding == "repeatpad"
    return RepeatedMel(spectrum, settings.nb_max_samples, MAX_WINDOWS, copies, repeat)


def _extractor(found: Found) -> Any:
    from transformers import AutoFeatureExtractor

    require(found, PROCESSOR, "feature extractor")
    with quiet(), reading(found):
        return AutoFeatureExtractor.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
