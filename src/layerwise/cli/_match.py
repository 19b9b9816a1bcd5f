"""`layerwise match`: which places of one picture are which places of another, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import say, say_json, say_table


def match(
    picture: Annotated[Path, typer.Argument(help="A picture.")],
    partner: Annotated[Path, typer.Argument(help="The picture to match it with.")],
    *,
    network: option.OneNetwork,
    layers: option.Layers = "60%",
    html: option.Html = None,
    count: option.Count = 20,
    device: option.Device = "auto",
    as_json: option.Json = False,
) -> None:
    """Match places of two pictures that are each other's nearest, with scores and a drawing."""
    from layerwise import data as room
    from layerwise import models, report, search

    samples = [room.open([each]) for each in (picture, partner)]
    opened = models.open(network, device=device_for(device))
    found = search.match_samples(opened, *samples, layer=layers)
    drawn = None
    if html is not None:
        drawn = report.write_matches(html, opened.name, found, most=count)
    if as_json:
        say_json(
            {
                "layer": found.layer,
                "places": found.count,
                "pairs": [
                    {"place": place, "other": beside, "score": score}
                    for place, beside, score in found.pairs
                ],
            }
        )
        return
    rows = (
        (f"{score:.3f}", f"{x:.0f}, {y:.0f}", f"{u:.0f}, {v:.0f}")
        for (x, y), (u, v), score in found.pairs[:count]
    )
    say_table(("score>", "place, right and down", "in the other"), rows)
    say("")
    say(
        f"{len(found.pairs)} of {found.count} places are each other's nearest, by {found.layer} of "
        f"{opened.name}; what does not lead back to where it began is left out."
    )
    if drawn is not None:
        say(f"The page: {drawn}")
