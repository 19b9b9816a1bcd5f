"""What joins several layers, scales, views or modalities."""

from __future__ import annotations

from layerwise.fuse._first_last import FirstLast
from layerwise.fuse._greedy import Greedy
from layerwise.fuse._weighted_sum import WeightedSum

__all__ = ["FirstLast", "Greedy", "WeightedSum"]
