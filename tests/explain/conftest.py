"""Photographs and the networks that look at them, opened once for all tests of concepts."""

from __future__ import annotations

import pytest

import layerwise
from layerwise.models import Network


@pytest.fixture(scope="session")
def lite() -> Network:
    """EfficientNet-Lite0, pretrained."""
    return layerwise.open("efficientnet-lite0")
