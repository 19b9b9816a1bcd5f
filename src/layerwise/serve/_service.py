"""What the three kinds of service have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

from fastapi import FastAPI

from layerwise.serve._bench import Bench
from layerwise.serve._inputs import Modality
from layerwise.serve._limits import Limits


@final
@dataclass(frozen=True)
class Front:
    """What the page says of a service, and how it asks.

    Args:
        title: the question that the page answers.
        lead: what is behind it, in a sentence or two.
        path: of the endpoint that the page asks.
        facts: name and value of all that is to be known.
        more: whatever else the page's script needs.
    """

    title: str
    lead: str
    path: str
    facts: tuple[tuple[str, str], ...]
    more: Mapping[str, Any]


@runtime_checkable
class Service(Protocol):
    """A reader, an atlas or an index, ready to answer."""

    kind: str
    modality: Modality

    @property
    def front(self) -> Front:
        """What the page says of it."""
        ...

    def attach(self, app: FastAPI, bench: Bench, limits: Limits) -> None:
        """Add its endpoints."""
        ...
