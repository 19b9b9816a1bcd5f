"""Reads and edits what flows through a layer, without changing a bit of it."""

from __future__ import annotations

from layerwise.taps._additions import Addition, additions
from layerwise.taps._asking import Asking, asking
from layerwise.taps._attention import attention
from layerwise.taps._cut import Cut, cut
from layerwise.taps._edit import Add, Clamp, Replace, Scale, Skip, edit
from layerwise.taps._extract import Extraction, extract
from layerwise.taps._lens import Lens, logit_lens
from layerwise.taps._places import on_grid
from layerwise.taps._read import pool, pooling, read
from layerwise.taps._saving import Saving, saving
from layerwise.taps._tap import tap
from layerwise.taps._unembed import Unembed

__all__ = [
    "Add",
    "Addition",
    "Asking",
    "Clamp",
    "Cut",
    "Extraction",
    "Lens",
    "Replace",
    "Saving",
    "Scale",
    "Skip",
    "Unembed",
    "additions",
    "asking",
    "attention",
    "cut",
    "edit",
    "extract",
    "logit_lens",
    "on_grid",
    "pool",
    "pooling",
    "read",
    "saving",
    "tap",
]
