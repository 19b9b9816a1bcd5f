"""Reads and edits what flows through a layer, without changing a bit of it."""

from __future__ import annotations

from layerwise.taps._cut import Cut, cut
from layerwise.taps._edit import Add, Clamp, Replace, Scale, Skip, edit
from layerwise.taps._extract import Extraction, extract
from layerwise.taps._read import pool, read
from layerwise.taps._saving import Saving, saving
from layerwise.taps._tap import tap

__all__ = [
    "Add",
    "Clamp",
    "Cut",
    "Extraction",
    "Replace",
    "Saving",
    "Scale",
    "Skip",
    "cut",
    "edit",
    "extract",
    "pool",
    "read",
    "saving",
    "tap",
]
