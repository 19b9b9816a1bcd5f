"""The page that shows an atlas: it draws what was measured and computes nothing."""

from layerwise.report._concepts import write_concepts
from layerwise.report._explanations import write_explanations
from layerwise.report._write import write

__all__ = ["write", "write_concepts", "write_explanations"]
