"""The pages: they draw what was measured and compute nothing."""

from layerwise.report._trace import write_trace
from layerwise.report._visualisation import Sight, write_visualisations
from layerwise.report._write import write

__all__ = ["Sight", "write", "write_trace", "write_visualisations"]
