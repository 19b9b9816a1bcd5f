"""`layerwise networks`: what can be opened, and how it is named."""

from __future__ import annotations

from dataclasses import asdict

from layerwise.cli import _options as option
from layerwise.cli._output import note, say_json, say_table


def list_networks(*, as_json: option.Json = False) -> None:
    """List the starter networks, and how others are named."""
    from layerwise import models

    starters = models.starters()
    if as_json:
        say_json([asdict(starter) for starter in starters])
        return
    say_table(("name", "reads", "what it is"), ((s.name, s.modality, s.card) for s in starters))
    note(
        "timm:NAME and hf:NAME open any network of timm and transformers, hub or cache permitting; "
        "in Python, layerwise.open(module) opens your own."
    )
