"""`layerwise index`: items that can be searched, on disk."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note_all, note_data, progress, say, say_json


def make_index(
    data: option.Data,
    *,
    network: option.OneNetwork,
    out: option.Out,
    layers: option.Layers = "auto",
    targets: option.Targets = None,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="Also take out what DATA no longer holds.")
    ] = False,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Make an index of your data, or add to one; the layers that find best are chosen."""
    from layerwise import data as room
    from layerwise import models, search

    samples = room.open(
        data,
        targets=targets,
        path_column=path_column,
        text_column=text_column,
        limit=limit,
        seed=seed,
    )
    note_data(samples)
    opened = models.open(network, device=device_for(device))
    with progress() as show:
        done = search.index_samples(
            opened,
            samples,
            out,
            layers=layers,
            target=targets[0].split(":")[0] if targets else None,
            sync=sync,
            seed=seed,
            progress=show,
        )
    note_all("set aside", [(each.name, each.reason) for each in done.set_aside])
    choice = done.card.choice
    if as_json:
        say_json(
            {
                "index": str(out),
                "items": len(done.index),
                "added": done.added,
                "known": done.known,
                "removed": done.removed,
                "layers": [column.layer for column in done.card.reading.columns],
                "poolings": [column.pooling for column in done.card.reading.columns],
                "width": done.card.width,
                "choice": choice and asdict(choice),
                "recall": done.recall,
                "set_aside": [asdict(each) for each in done.set_aside],
            }
        )
        return
    if choice is not None:
        say(choice.words)
        say("")
    taken = f", {done.removed} taken out" if done.removed else ""
    say(f"{len(done.index)} items in {out}: {done.added} added, {done.known} known{taken}")
    if done.recall is not None:
        say(f"The search is approximate: it finds {done.recall:.1%} of the true ten nearest.")
