"""`layerwise trace`: how a language model comes to its prediction."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import say, say_json, say_table


def trace(
    network: option.Network,
    text: Annotated[str, typer.Argument(help="Text whose next token is traced.")],
    *,
    out: option.Out = Path("trace"),
    place: Annotated[
        int, typer.Option("--place", help="Token whose next one is traced, from 0; -1 is the last.")
    ] = -1,
    threshold: Annotated[
        float,
        typer.Option("--threshold", min=0.005, max=1.0, help=option.THRESHOLD),
    ] = 0.04,
    device: option.Device = "auto",
    as_json: option.Json = False,
) -> None:
    """Trace a prediction to heads and neurons, and write a page with the graph."""
    import layerwise
    from layerwise import explain, models, report

    opened = models.open(network, device=device_for(device))
    found = explain.trace_text(
        opened, text, place=place, threshold=threshold, floor=min(0.01, threshold)
    )
    made = {
        "command": shlex.join(["layerwise", *sys.argv[1:]]),
        "network": opened.card or opened.source,
        "threshold": f"{threshold:g}",
        "layerwise": layerwise.__version__,
    }
    page = report.write_trace(found, out, made=made)
    if as_json:
        say_json(asdict(found) | {"page": str(page)})
        return
    say_table(
        ("next", "probability>"),
        ((repr(guess.token), f"{guess.probability:.3f}") for guess in found.predictions),
    )
    say("")
    heads = sorted((p for p in found.parts if p.place == found.place), key=lambda p: -p.share)[:8]
    say_table(
        ("part", "block>", "share>", "makes likelier"),
        ((p.name, str(p.block), f"{p.share:.1%}", " ".join(p.promoted)) for p in heads),
    )
    say("")
    say(f"The page: {page}")
