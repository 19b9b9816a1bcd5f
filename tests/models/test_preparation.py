"""Preparations give what the libraries' own give, and say all that they do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from layerwise.errors import LayerwiseError
from layerwise.models import ImagePreparation
from layerwise.models._text import TextCollate

HALF = (0.5, 0.5, 0.5)


def photographs():
    from skimage import data

    cat = Image.fromarray(data.chelsea())
    return [cat, cat.resize((101, 77)), cat.resize((300, 1201)), Image.fromarray(data.camera())]


@pytest.mark.parametrize(
    "architecture",
    ["resnet18", "convnext_atto", "vit_tiny_patch16_224", "inception_v3", "tf_efficientnet_lite0"],
)
def test_it_equals_timms_own_transform(architecture):
    import timm
    from timm.data import create_transform, resolve_model_data_config

    from layerwise.models._timm import timm_feed

    module = timm.create_model(architecture)
    theirs = create_transform(**resolve_model_data_config(module))
    ours = timm_feed(module).prepare
    for picture in photographs():
        assert_close(ours(picture), theirs(picture.convert("RGB")), rtol=0, atol=2e-6)


@pytest.mark.parametrize("architecture", ["resnet18", "efficientnet_b0", "inception_v3"])
def test_it_equals_torchvisions_own_transform(architecture):
    from torchvision.models import get_model_weights

    from layerwise.models._torchvision import find_torchvision

    theirs = get_model_weights(architecture).DEFAULT.transforms()
    ours = find_torchvision(architecture, random=True).feed().prepare
    for picture in photographs():
        assert_close(ours(picture), theirs(picture.convert("RGB")), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViTImageProcessor", {"size": {"height": 40, "width": 30}}),
        (
            "BitImageProcessor",
            {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}},
        ),
        (
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}},
        ),
        ("ViTImageProcessor", {"size": {"height": 32, "width": 32}, "do_normalize": False}),
    ],
)
def test_it_equals_the_image_processors_of_transformers(kind, options, tmp_path):
    import transformers

    from layerwise.models._processor import image_preparation

    getattr(transformers, kind)(**options).save_pretrained(tmp_path)
    ours = image_preparation(str(tmp_path), local=True)
    by_pillow = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    by_torch = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="torchvision")
    for picture in photographs():
        rgb = picture.convert("RGB")
        pixels = ours(picture)
        assert_close(
            pixels, by_pillow(rgb, return_tensors="pt")["pixel_values"][0], rtol=0, atol=2e-6
        )
        # That one resizes tensors instead of pictures, which rounds some pixels to the other side.
        difference = (pixels - by_torch(rgb, return_tensors="pt")["pixel_values"][0]).abs()
        grey = 1 / 255 / min(ours.std)
        assert difference.max() <= 1.01 * grey
        assert difference.mean() < 0.2 * grey


def test_a_processor_that_does_more_is_refused(tmp_path):
    from transformers import DetrImageProcessor

    from layerwise.models._processor import image_preparation

    DetrImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(LayerwiseError, match=r"does more than resize.*give prepare="):
        image_preparation(str(tmp_path), local=True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_picture_of_any_mode_becomes_three_channels(mode):
    picture = photographs()[0].convert("RGB")
    picture = picture.convert(mode) if mode != "PA" else picture.convert("P").convert("PA")
    pixels = ImagePreparation(32, (32, 32), "bilinear", HALF, HALF)(picture)
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert -1 <= pixels.min() < 0 < pixels.max() <= 1


def test_wide_greys_keep_their_white_and_transparency_is_white():
    plain = ImagePreparation((4, 4), None, "nearest", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    wide = Image.fromarray(np.array([[0, 65535]] * 2, np.uint16))
    assert plain(wide)[:, 0].unique().tolist() == [0.0, 1.0]
    floats = Image.fromarray(np.array([[0.0, 1.0]] * 2, np.float32))
    assert plain(floats)[:, 0].unique().tolist() == [0.0, 1.0]
    assert plain(Image.new("RGBA", (2, 2), (255, 0, 0, 0))).min() == 1
    with pytest.raises(LayerwiseError, match="no known scale"):
        plain(Image.fromarray(np.array([[-3.0, 900.0]] * 2, np.float32)))
    with pytest.raises(LayerwiseError, match="no known scale"):
        plain(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


def test_it_is_known_by_its_repr_and_survives_pickle():
    prepare = ImagePreparation(256, (224, 224), "bicubic", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert eval(repr(prepare)) == prepare
    assert pickle.loads(pickle.dumps(prepare)) == prepare
    picture = photographs()[0]
    before = picture.tobytes()
    first = prepare(picture)
    assert torch.equal(first, prepare(picture))
    assert picture.tobytes() == before


def test_texts_are_padded_on_the_right_and_cuts_are_counted():
    collate = TextCollate(pad=9, decoder_start=7)
    texts = [([1, 2, 3], True), ([4], False)]
    batch = collate([{"input_ids": torch.tensor(i), "truncated": cut} for i, cut in texts])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["decoder_input_ids"].tolist() == [[7, 1, 2], [7, 4, 9]]
    assert all(value.dtype == torch.int64 for value in batch.values())
    assert collate.truncated == 1
