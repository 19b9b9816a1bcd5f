"""The pages of an atlas and of a comparison: they draw what was measured and compute nothing."""

from layerwise.report._comparison import write_comparison
from layerwise.report._write import write

__all__ = ["write", "write_comparison"]
