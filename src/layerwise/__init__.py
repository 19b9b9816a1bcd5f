"""Reads every layer of any network, ranks the layers on your own data, and cuts where it pays.

Every name here is fetched from its room on first use, so that `import layerwise` costs nothing and
does not import torch. The rooms themselves are reached the same way: `layerwise.measures.cka`.

Example:
    >>> import layerwise
    >>> "survey" in dir(layerwise)
    True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerwise._catalogue import catalogue
    from layerwise.atlas import Atlas, survey
    from layerwise.data import Samples
    from layerwise.errors import LayerwiseError
    from layerwise.features import Features
    from layerwise.models import Layer, Network, open  # noqa: A004
    from layerwise.taps import edit, extract, read, tap

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "Features",
    "Layer",
    "LayerwiseError",
    "Network",
    "Samples",
    "catalogue",
    "edit",
    "extract",
    "open",
    "read",
    "survey",
    "tap",
]

_HOME = {
    "Atlas": "atlas",
    "Features": "features",
    "Layer": "models",
    "LayerwiseError": "errors",
    "Network": "models",
    "Samples": "data",
    "catalogue": "_catalogue",
    "edit": "taps",
    "extract": "taps",
    "open": "models",
    "read": "taps",
    "survey": "atlas",
    "tap": "taps",
}
_ROOMS = frozenset(
    {
        "atlas",
        "data",
        "explain",
        "features",
        "fuse",
        "measures",
        "models",
        "report",
        "search",
        "serve",
        "taps",
    }
)


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(import_module(f"layerwise.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"layerwise.{name}")
    else:
        raise AttributeError(f"module 'layerwise' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS, "__version__"})
