"""`layerwise extract`: the features of some layers, on disk."""

from __future__ import annotations

from dataclasses import asdict

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note_all, note_data, progress, say, say_json, say_table


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
    note_data(samples)
    opened = models.open(network, device=device_for(device))
    with progress() as show:
        done = taps.extract(opened, samples, out, layers=layers, progress=show)
    note_all("set aside", [(sample.name, sample.reason) for sample in done.set_aside])
    note_all("not read:", done.refused)
    if as_json:
        say_json(
            {
                "store": str(out),
                "rows": len(done.store),
                "computed": done.computed,
                "reused": done.reused,
                "columns": [
                    asdict(column) | {"name": column.name} for column in done.store.columns
                ],
                "set_aside": [asdict(sample) for sample in done.set_aside],
                "refused": dict(done.refused),
                "seconds": round(done.seconds, 3),
            }
        )
        return
    rows = ((column.name, str(column.width), column.layout) for column in done.store.columns)
    say_table(("column", "width>", "made of"), rows)
    say("")
    say(f"{len(done.store)} rows in {out}: {done.computed} computed, {done.reused} reused")
