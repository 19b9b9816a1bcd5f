"""`layerwise extract`: the features of some layers, on disk."""

from __future__ import annotations

from layerwise.cli import _options as option
from layerwise.cli._output import note, progress, say, say_json


def extract(
    data: option.Data,
    *,
    network: option.OneNetwork,
    out: option.Out,
    layers: option.Layers = "blocks",
    targets: option.Targets = None,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    split_column: option.SplitColumn = None,
    group_column: option.GroupColumn = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Write the features of some layers to disk; an interrupted run goes on where it stopped."""
    from layerwise import data as room
    from layerwise import models, taps

    samples = room.open(
        data,
        targets=targets,
        path_column=path_column,
        text_column=text_column,
        split_column=split_column,
        group_column=group_column,
        limit=limit,
        seed=seed,
    )
    opened = models.open(network)
    with progress() as show:
        done = taps.extract(opened, samples, out, layers=layers, device=device, progress=show)
    raise NotImplementedError(done, note, say, say_json)
