"""Reads and edits what flows through a layer, without changing a bit of it."""

from __future__ import annotations

from layerwise.taps._edit import Add, Clamp, Replace, Scale, Skip, edit
from layerwise.taps._extract import Extraction, extract
from layerwise.taps._read import pool, pooling, read
from layerwise.taps._tap import tap

__all__ = [
    "Add",
    "Clamp",
    "Extraction",
    "Replace",
    "Scale",
    "Skip",
    "edit",
    "extract",
    "pool",
    "pooling",
    "read",
    "tap",
]
