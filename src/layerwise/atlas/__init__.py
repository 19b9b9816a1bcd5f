"""The main job: surveys networks on data, ranks their layers, and chooses."""

from __future__ import annotations

from layerwise.atlas._atlas import Atlas
from layerwise.atlas._files import load, save
from layerwise.atlas._survey import survey

__all__ = ["Atlas", "load", "save", "survey"]
