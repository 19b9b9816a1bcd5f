"""The main job: surveys networks on data, ranks their layers, and chooses."""

from __future__ import annotations

from layerwise.atlas._atlas import Atlas
from layerwise.atlas._compare import compare
from layerwise.atlas._comparison import Comparison
from layerwise.atlas._files import load, save
from layerwise.atlas._survey import survey

__all__ = ["Atlas", "Comparison", "compare", "load", "save", "survey"]
