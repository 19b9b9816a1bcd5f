"""Opens any network and lists its layers."""

from __future__ import annotations

from layerwise.models._layer import Layer, Layout
from layerwise.models._layers import Layers
from layerwise.models._network import Network

__all__ = ["Layer", "Layers", "Layout", "Network"]
