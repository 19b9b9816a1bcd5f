"""Attribution, concepts, lenses: looking inside a network, on its own inputs."""

from __future__ import annotations

from layerwise.explain._linear_parts import LinearParts
from layerwise.explain._linear_shortcut import LinearShortcut
from layerwise.explain._logit_lens import Lens, logit_lens

__all__ = ["Lens", "LinearParts", "LinearShortcut", "logit_lens"]
