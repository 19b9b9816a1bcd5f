"""Twenty photographs from installed packages, square crops of them, and their deep features."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

import layerwise

_SCENES = {
    "skimage.data": (
        "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png "
        "coins.png grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png "
        "page.png retina.jpg rocket.jpg text.png"
    ),
    "sklearn.datasets.images": "china.jpg flower.jpg",
}
SIDE = 64
"""Pixels of a crop: small, that the tests are quick."""

Crop = Callable[[int, tuple[float, float], int], Tensor]


def _scenes() -> list[Image.Image]:
    return [
        Image.open(str(resources.files(package) / name)).convert("RGB")
        for package, names in _SCENES.items()
        for name in names.split()
    ]


@pytest.fixture(scope="session")
def scenes() -> Tensor:
    """The middle square of every scene `[20 3 224 224]`, from 0 to 1."""
    squares = [ImageOps.fit(scene, (224, 224), Image.Resampling.BICUBIC) for scene in _scenes()]
    return (
        torch.stack([torch.from_numpy(np.asarray(square).copy()) for square in squares]).permute(
            0, 3, 1, 2
        )
        / 255
    )


@pytest.fixture(scope="session")
def crop() -> Crop:
    """Crops of every scene `[20 count 3 64 64]`, from 0 to 1, of a size between two parts of it."""
    scenes = _scenes()

    def one(scene: Image.Image, part: float, place: tuple[float, float]) -> Tensor:
        side = part * min(scene.size)
        x, y = place[0] * (scene.width - side), place[1] * (scene.height - side)
        box = (x, y, x + side, y + side)
        small = scene.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
        return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1) / 255

    def crops(count: int, parts: tuple[float, float], seed: int) -> Tensor:
        draw = np.random.default_rng(seed).uniform
        return torch.stack(
            [
                torch.stack([one(s, draw(*parts), (draw(), draw())) for _ in range(count)])
                for s in scenes
            ]
        )

    return crops


@pytest.fixture(scope="session")
def describe() -> Callable[[Tensor], Tensor]:
    """Mean-pooled features of EfficientNet-Lite0's last layer, for pictures `[... 3 h w]`."""
    network = layerwise.open("efficientnet-lite0")

    def features(images: Tensor) -> Tensor:
        flat = 2 * images.flatten(0, -4) - 1
        read = [layerwise.read(network, part, "bn2")["bn2"].mean((2, 3)) for part in flat.split(16)]
        return torch.cat(read).unflatten(0, images.shape[:-3])

    return features
