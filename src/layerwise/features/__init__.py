"""What was read from the layers: poolings, whitening, linear readout."""

from __future__ import annotations

from layerwise.features._features import Features
from layerwise.features._first import First
from layerwise.features._gem import GeM
from layerwise.features._last import Last
from layerwise.features._linear_map import LinearMap
from layerwise.features._max import Max
from layerwise.features._mean import Mean
from layerwise.features._moments import Moments
from layerwise.features._recipe import Column, Recipe
from layerwise.features._ridge import Ridge
from layerwise.features._store import Store
from layerwise.features._whiten import Whiten

__all__ = [
    "Column",
    "Features",
    "First",
    "GeM",
    "Last",
    "LinearMap",
    "Max",
    "Mean",
    "Moments",
    "Recipe",
    "Ridge",
    "Store",
    "Whiten",
]
