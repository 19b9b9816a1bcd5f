"""Opens a network, whatever it is called and wherever its weights lie."""

from __future__ import annotations

from layerwise.models._network import Network
from layerwise.models._starters import open_starter


def open(source: str) -> Network:  # noqa: A001
    """Open a network."""
    return open_starter(source)
