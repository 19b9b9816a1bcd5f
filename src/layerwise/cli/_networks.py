"""`layerwise networks`: what can be opened, and how it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerwise.cli import _options as option
from layerwise.cli._output import counted, note, say_json, say_table

if TYPE_CHECKING:
    from layerwise.models import Starter

_TOLD = ("name", "what", "modality", "parameters", "wheel", "size", "card")


def list_networks(*, as_json: option.Json = False) -> None:
    """List the starter networks, and how others are named."""
    from layerwise import models

    starters = models.starters()
    if as_json:
        say_json([{name: getattr(starter, name) for name in _TOLD} for starter in starters])
        return
    say_table(("name", "reads", "parameters>", "download>", "what it is"), map(_row, starters))
    note(
        "timm:NAME and hf:NAME open any network of timm and transformers, hub or cache permitting; "
        "in Python, layerwise.open(module) opens your own."
    )


def _row(starter: Starter) -> tuple[str, ...]:
    size = f"{starter.size / 1e6:.0f} MB"
    return (starter.name, starter.modality, counted(starter.parameters), size, starter.what)
