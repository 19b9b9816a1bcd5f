"""`layerwise networks`: what can be opened, and how it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerwise.cli import _options as option
from layerwise.cli._output import counted, say, say_json, say_table

if TYPE_CHECKING:
    from layerwise.models import Starter

_TOLD = ("name", "what", "modality", "parameters", "wheel", "size", "card")
_OTHERS = (
    ("timm:NAME", "a network of timm with its published weights"),
    ("torchvision:NAME", "the same of torchvision"),
    ("hf:NAME, hf:FOLDER", "the same of transformers, or what it has saved in a folder"),
    ("hf:NAME#image, #text", "one side of a CLIP or SigLIP, up to `joint`, which both share"),
    ("random:NAME", "one of these with random weights, always the same ones"),
    ("NAME@FILE", "one of these with the weights of a safetensors file or checkpoint"),
    ("your own module", "in Python: layerwise.open(module)"),
)


def list_networks(*, as_json: option.Json = False) -> None:
    """List the starter networks, and how others are named."""
    from layerwise import models

    starters = models.starters()
    if as_json:
        say_json([{name: getattr(starter, name) for name in _TOLD} for starter in starters])
        return
    say_table(("name", "reads", "parameters>", "download>", "what it is"), map(_row, starters))
    say("")
    say_table(("other networks", "what they are"), _OTHERS)


def _row(starter: Starter) -> tuple[str, ...]:
    size = f"{starter.size / 1e6:.0f} MB"
    return (starter.name, starter.modality, counted(starter.parameters), size, starter.what)
