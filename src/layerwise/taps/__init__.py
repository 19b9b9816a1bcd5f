"""Reads and edits what flows through a layer, without changing a bit of it."""

from __future__ import annotations

from layerwise.taps._additions import Addition, additions
from layerwise.taps._edit import Add, Clamp, Replace, Scale, Skip, edit
from layerwise.taps._extract import Extraction, extract
from layerwise.taps._read import pool, read
from layerwise.taps._tap import tap
from layerwise.taps._unembed import Unembed

__all__ = [
    "Add",
    "Addition",
    "Clamp",
    "Extraction",
    "Replace",
    "Scale",
    "Skip",
    "Unembed",
    "additions",
    "edit",
    "extract",
    "pool",
    "read",
    "tap",
]
