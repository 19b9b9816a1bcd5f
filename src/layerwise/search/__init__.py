"""What finds, matches, groups and sorts with frozen features."""

from __future__ import annotations

from layerwise.search._logistic import Logistic
from layerwise.search._nearest_mean import NearestMean
from layerwise.search._neighbours import Found, Neighbours

__all__ = ["Found", "Logistic", "NearestMean", "Neighbours"]
