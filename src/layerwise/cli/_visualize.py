"""`layerwise visualize`: pictures that units of a layer answer to."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import progress, say, say_json, say_table


def visualize(
    network: option.Network,
    *,
    layer: Annotated[str | None, typer.Option("--layer", "-l", help=option.LAYER)] = None,
    units: Annotated[
        list[int], typer.Option("--unit", "-u", min=0, help="Channel or class; may be repeated.")
    ] = [0],  # noqa: B006
    out: option.Out = Path("visualize"),
    data: Annotated[
        str, typer.Option("--data", help="Pictures to hold it against, as atlas takes them.")
    ] = "photos",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the ascent.")] = 128,
    crops: Annotated[int, typer.Option("--crops", min=1, help="Crops in each step.")] = 8,
    size: Annotated[
        int | None, typer.Option("--size", min=16, help="Pixels of the picture's sides.")
    ] = None,
    side: Annotated[
        int | None, typer.Option("--side", min=8, help="Pixels that the network is shown.")
    ] = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = 200,
    as_json: option.Json = False,
) -> None:
    """Draw what units answer to (MACO); an interrupted run goes on where it stopped."""
    import torch

    import layerwise
    from layerwise import data as room
    from layerwise import explain, models, report

    opened = models.open(network, device=device_for(device))
    samples = room.open(data, limit=limit, seed=seed)
    address = opened.layers[-1].name if layer is None else opened.layers.select(layer)[0].name
    with progress() as show:
        real = explain.strongest(opened, samples, layer=layer, units=tuple(units), progress=show)
        seen = []
        for unit in units:

            def tell(_: str, done: int, total: int, unit: int = unit) -> None:
                show(f"unit {unit}", done, total)

            picture = explain.maco(
                opened,
                layer=layer,
                unit=unit,
                size=size,
                side=side,
                steps=steps,
                crops=crops,
                generator=torch.Generator().manual_seed(seed),
                keep=out / f"unit-{unit}.ascent",
                progress=tell,
            )
            seen.append(picture)
    sights = [
        report.Sight(
            unit=unit,
            seen=picture,
            best=[
                (samples.load(int(row)), float(answer))
                for row, answer in zip(found.rows, found.answers, strict=True)
            ],
            above=float((found.everyone < picture.reached.cpu()).double().mean()),
            shown=len(samples),
        )
        for unit, picture, found in zip(units, seen, real, strict=True)
    ]
    made = {
        "command": shlex.join(["layerwise", *sys.argv[1:]]),
        "network": opened.card or opened.source,
        "steps": f"{steps} of {crops} crops",
        "seed": str(seed),
        "photographs": f"{len(samples)} of {samples.source}",
        "layerwise": layerwise.__version__,
    }
    shown = side or explain.picture_side(opened)
    page = report.write_visualisations(
        sights, out, network=opened.name, layer=address, side=shown, made=made
    )
    if as_json:
        rows = [
            {"unit": s.unit, "reached": float(s.seen.reached), "above": s.above} for s in sights
        ]
        say_json({"page": str(page), "layer": address, "units": rows})
        return
    say_table(
        ("unit>", "answer>", "best photograph>", "above photographs>"),
        (
            (str(s.unit), f"{s.seen.reached:.3g}", f"{s.best[0][1]:.3g}", f"{s.above:.0%}")
            for s in sights
        ),
    )
    say("")
    say(f"The page: {page}")
