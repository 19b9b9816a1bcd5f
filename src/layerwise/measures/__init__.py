"""Numbers for a layer, a pair of layers or a feature: functions of features to a tensor."""

from __future__ import annotations

from layerwise.measures._cka import CKA, cka

__all__ = ["CKA", "cka"]
