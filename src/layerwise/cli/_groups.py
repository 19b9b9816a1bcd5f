"""`layerwise dedupe` and `layerwise cluster`: samples that are copies, or of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note, note_all, note_data, progress, say, say_json, say_table

if TYPE_CHECKING:
    from layerwise.search import Sorted


def find_copies(
    data: option.Data,
    *,
    network: option.OneNetwork,
    layers: option.Layers = "auto",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help=option.THRESHOLD),
    ] = None,
    html: option.Html = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Find samples that are the same, or nearly: changed, cropped or compressed copies."""
    from layerwise import data as room
    from layerwise import models, search

    samples = room.open(data, limit=limit, seed=seed)
    note_data(samples)
    opened = models.open(network, device=device_for(device))
    with progress() as show:
        found = search.dedupe(
            opened, samples, layers=layers, threshold=threshold, seed=seed, progress=show
        )
    _show(found, html, as_json, "Copies")


def find_groups(
    data: option.Data,
    *,
    network: option.OneNetwork,
    layers: option.Layers = "auto",
    groups: Annotated[
        int | None, typer.Option("--groups", min=1, help="How many; without it, found by trying.")
    ] = None,
    html: option.Html = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Divide samples into groups of a kind, each with its most typical one first."""
    from layerwise import data as room
    from layerwise import models, search

    samples = room.open(data, limit=limit, seed=seed)
    note_data(samples)
    opened = models.open(network, device=device_for(device))
    with progress() as show:
        found = search.cluster(
            opened, samples, layers=layers, count=groups, seed=seed, progress=show
        )
    _show(found, html, as_json, "Groups")


def _show(found: Sorted, html: option.Html, as_json: bool, title: str) -> None:
    from layerwise import report

    note_all("set aside", [(each.name, each.reason) for each in found.set_aside])
    if html is not None:
        note(f"The page: {report.write_sorted(html, title, found)}")
    if as_json:
        say_json({"words": found.words, "groups": [list(names) for names in found.names]})
        return
    rows = (
        (
            str(number + 1),
            str(len(names)),
            ", ".join(names[:6]) + (" ..." if len(names) > 6 else ""),
        )
        for number, names in enumerate(found.names)
    )
    say_table(("group>", "samples>", "the most typical first"), rows)
    say("")
    say(found.words)
