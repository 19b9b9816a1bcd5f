"""The main job: surveys networks on data, ranks their layers, and chooses."""

from __future__ import annotations

from layerwise.atlas._atlas import Atlas
from layerwise.atlas._compare import compare
from layerwise.atlas._comparison import Comparison
from layerwise.atlas._export import export_onnx, export_program
from layerwise.atlas._exported import Exported, compare_export
from layerwise.atlas._files import load, save
from layerwise.atlas._fit import fit_reader
from layerwise.atlas._predictions import Predictions
from layerwise.atlas._reader import Reader
from layerwise.atlas._reader_files import load_reader, save_reader
from layerwise.atlas._survey import survey

__all__ = [
    "Atlas",
    "Comparison",
    "Exported",
    "Predictions",
    "Reader",
    "compare",
    "compare_export",
    "export_onnx",
    "export_program",
    "fit_reader",
    "load",
    "load_reader",
    "save",
    "save_reader",
    "survey",
]
