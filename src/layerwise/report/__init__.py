"""The pages of an atlas and of a comparison: they draw what was measured and compute nothing."""

from layerwise.report._comparison import write_comparison
from layerwise.report._training import draw_training
from layerwise.report._write import write

__all__ = ["draw_training", "write", "write_comparison"]
