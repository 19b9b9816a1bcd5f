"""Opens any network and lists its layers."""

from __future__ import annotations

from layerwise.models._layer import Layer, Layout
from layerwise.models._layers import Layers
from layerwise.models._network import Network
from layerwise.models._open import open  # noqa: A004
from layerwise.models._starters import Starter, starters

__all__ = ["Layer", "Layers", "Layout", "Network", "Starter", "open", "starters"]
