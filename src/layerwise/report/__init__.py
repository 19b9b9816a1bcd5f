"""Pages: they draw what was measured and compute nothing."""

from __future__ import annotations

from layerwise.report._comparison import write_comparison
from layerwise.report._concepts import write_concepts
from layerwise.report._explanations import write_explanations
from layerwise.report._found import write_found
from layerwise.report._gallery import Figure, Row, write_gallery
from layerwise.report._matches import write_matches
from layerwise.report._sorted import write_judged, write_sorted
from layerwise.report._trace import write_trace
from layerwise.report._training import draw_training
from layerwise.report._visualisation import Sight, write_visualisations
from layerwise.report._write import write

__all__ = [
    "Figure",
    "Row",
    "Sight",
    "draw_training",
    "write",
    "write_comparison",
    "write_concepts",
    "write_explanations",
    "write_found",
    "write_gallery",
    "write_judged",
    "write_matches",
    "write_sorted",
    "write_trace",
    "write_visualisations",
]
