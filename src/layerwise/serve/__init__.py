"""Answers over HTTP: a reader, an atlas or an index behind a page and a JSON interface."""

from __future__ import annotations

from layerwise.serve._limits import Limits
from layerwise.serve._run import address_of, answer, application, listen

__all__ = ["Limits", "address_of", "answer", "application", "listen"]
