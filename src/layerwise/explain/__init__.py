"""Looks inside a network: what a place, a unit or a layer contributes, and how sure that is."""

from __future__ import annotations

from layerwise.explain._gradients import Gradients, gradients
from layerwise.explain._target import Target

__all__ = [
    "Gradients",
    "Target",
    "gradients",
]
