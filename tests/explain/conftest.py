"""Photographs and the networks that look at them, opened and read once for all tests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import layerwise
from layerwise.data._photographs import PHOTOGRAPHS, pixels_of, regions_of
from layerwise.models import Network

CROPPED = ("astronaut", "cat", "coffee", "flower", "motorcycle", "retina")


@pytest.fixture(scope="session")
def lite() -> Network:
    """EfficientNet-Lite0, pretrained."""
    return layerwise.open("efficientnet-lite0")


@pytest.fixture(scope="session")
def dino() -> Network:
    """DINOv2 ViT-S, pretrained."""
    return layerwise.open("dinov2-small")


@pytest.fixture(scope="session")
def crops(lite: Network) -> Tensor:
    """Six crops of each of six photographs, ready for the network, `[6 6 3 224 224]`."""
    found = []
    for photograph in (p for p in PHOTOGRAPHS if p.name in CROPPED):
        whole = pixels_of(photograph.name)
        found += [lite.prepare(whole.crop(box)) for box in regions_of(photograph)[:6]]
    return torch.stack(found).unflatten(0, (len(CROPPED), 6))


@pytest.fixture(scope="session")
def last_maps(lite: Network, crops: Tensor) -> Tensor:
    """What the crops give at the last layer with places, `[6 6 1280 7 7]`."""
    parts = [layerwise.read(lite, some, "bn2")["bn2"] for some in crops]
    return torch.stack(parts)
