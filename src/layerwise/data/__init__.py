"""Opens samples: image folders, tables, text, arrays; sets bad inputs aside with a reason."""

from __future__ import annotations

from layerwise.data._batches import Batch, batches
from layerwise.data._builtin import BuiltIn, builtin
from layerwise.data._open import open  # noqa: A004 - always written as layerwise.data.open
from layerwise.data._samples import Modality, Samples, SetAside, Target, Unreadable
from layerwise.data._split import Split, split

__all__ = [
    "Batch",
    "BuiltIn",
    "Modality",
    "Samples",
    "SetAside",
    "Split",
    "Target",
    "Unreadable",
    "batches",
    "builtin",
    "open",
    "split",
]
