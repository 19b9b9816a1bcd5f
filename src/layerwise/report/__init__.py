"""Pages that show an atlas or a search: they draw what was measured and compute nothing."""

from layerwise.report._found import write_found
from layerwise.report._gallery import Figure, Row, write_gallery
from layerwise.report._sorted import write_judged, write_sorted
from layerwise.report._write import write

__all__ = ["Figure", "Row", "write", "write_found", "write_gallery", "write_judged", "write_sorted"]
