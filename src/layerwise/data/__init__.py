"""Opens samples: image folders, tables, text, arrays; sets bad inputs aside with a reason."""

from __future__ import annotations

from layerwise.data._batches import Batch, batches
from layerwise.data._bodies import Body, Box, Paint, Plane, Sphere
from layerwise.data._builtin import BuiltIn, builtin
from layerwise.data._camera import Camera, orbit
from layerwise.data._open import open  # noqa: A004 - always written as layerwise.data.open
from layerwise.data._render import View, render, tabletop
from layerwise.data._samples import Modality, Samples, SetAside, Target, Unreadable
from layerwise.data._split import Split, few_shot, split

__all__ = [
    "Batch",
    "Body",
    "Box",
    "BuiltIn",
    "Camera",
    "Modality",
    "Paint",
    "Plane",
    "Samples",
    "SetAside",
    "Sphere",
    "Split",
    "Target",
    "Unreadable",
    "View",
    "batches",
    "builtin",
    "few_shot",
    "open",
    "orbit",
    "render",
    "split",
    "tabletop",
]
