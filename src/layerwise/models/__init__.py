"""Opens any network and lists its layers."""

from __future__ import annotations

from layerwise.models._layer import Layer, Layout
from layerwise.models._layers import Layers
from layerwise.models._network import Network
from layerwise.models._open import open  # noqa: A004
from layerwise.models._preparation import ImagePreparation
from layerwise.models._random import randomised
from layerwise.models._starters import Starter, starters
from layerwise.models._text import TextPreparation
from layerwise.models._towers import JOINT, of_texts

__all__ = [
    "JOINT",
    "ImagePreparation",
    "Layer",
    "Layers",
    "Layout",
    "Network",
    "Starter",
    "TextPreparation",
    "of_texts",
    "open",
    "randomised",
    "starters",
]
