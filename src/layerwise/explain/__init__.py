"""Attribution, concepts, lenses: looking inside a network, on its own inputs."""

from __future__ import annotations

from layerwise.explain._linear_parts import LinearParts
from layerwise.explain._linear_shortcut import LinearShortcut

__all__ = ["LinearParts", "LinearShortcut"]
