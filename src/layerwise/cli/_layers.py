"""`layerwise layers`: every layer of a network, what flows out of it, and what it costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from layerwise.cli import _options as option
from layerwise.cli._output import counted, note_all, say_json, say_table

if TYPE_CHECKING:
    from layerwise.models import Layer

_COLUMNS = ("layer", "kind", "depth>", "shape", "layout", "parameters>", "FLOPs>", "time>")


def list_layers(
    network: option.Network, *, layers: option.Layers = "all", as_json: option.Json = False
) -> None:
    """List the layers of a network in the order in which they run."""
    from layerwise import models

    opened = models.open(network)
    chosen = opened.layers.select(layers)
    if as_json:
        say_json([asdict(layer) for layer in chosen])
        return
    last = max(1, len(opened.layers) - 1)
    say_table(_COLUMNS, (_row(layer, last) for layer in chosen))
    note_all("not read:", [(layer.name, layer.doubt) for layer in chosen if layer.doubt])


def _row(layer: Layer, last: int) -> tuple[str, ...]:
    return (
        layer.name,
        layer.kind,
        f"{layer.position / last:.0%}",
        "x".join(str(length) for length in layer.shape[1:]),
        _layout(layer),
        counted(layer.parameters),
        counted(layer.flops),
        f"{layer.share:.1%}",
    )


def _layout(layer: Layer) -> str:
    """The form; for tokens what stands before the places, and their grid."""
    if layer.layout is None:
        return "refused"
    if layer.layout.form != "tokens":
        return layer.layout.form
    prefix = f"{layer.layout.prefix} +" if layer.layout.prefix else ""
    grid = "x".join(str(length) for length in layer.layout.grid or ())
    return " ".join(word for word in ("tokens", prefix, grid) if word)
