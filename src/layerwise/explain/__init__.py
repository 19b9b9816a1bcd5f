"""Looks inside a network: what layers, units and places contribute, and whether to believe it."""

from __future__ import annotations

from layerwise.explain._deep_feature_factorization import DeepFeatureFactorization
from layerwise.explain._nonnegative import NonNegative
from layerwise.explain._on_grid import on_grid

__all__ = [
    "DeepFeatureFactorization",
    "NonNegative",
    "on_grid",
]
