"""`layerwise concepts`: what the layers of a network see as alike, and how far to believe it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note_all, note_data, progress, say, say_json, say_table

if TYPE_CHECKING:
    from layerwise.explain import ConceptLayer

_COLUMNS = ("layer", "kind", "concepts>", "answer kept>", "score changed>", "left out>")

Count = Annotated[int, typer.Option("--concepts", "-c", min=1, help="Concepts of each layer.")]
Units = Annotated[int, typer.Option("--units", "-u", min=1, help="Units of each layer.")]


def concepts(
    network: option.Network,
    data: option.Data,
    *,
    out: option.Out = Path("concepts"),
    layers: option.Layers = "stages",
    count: Count = 6,
    units: Units = 4,
    path_column: option.PathColumn = None,
    text_column: option.TextColumn = None,
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = 36,
    as_json: option.Json = False,
) -> None:
    """Show what the layers of a network see as alike in your data, and how far to believe it."""
    import layerwise
    from layerwise import data as room
    from layerwise import models, report
    from layerwise.explain._concept_survey import survey_concepts
    from layerwise.explain._sample import picture_of, tokens_of

    samples = room.open(
        data, path_column=path_column, text_column=text_column, limit=limit, seed=seed
    )
    note_data(samples)
    opened = models.open(network, device=device_for(device))
    (batch,) = room.batches(samples, opened.prepare, [range(len(samples))], workers=0)
    note_all("set aside", [(each.name, each.reason) for each in batch.set_aside])
    inputs = opened.batch(batch.prepared)
    with progress() as show:
        found = survey_concepts(
            opened, inputs, layers=layers, count=count, units=units, seed=seed, progress=show
        )
    command = shlex.join(["layerwise", *sys.argv[1:]])
    page = report.write_concepts(
        found,
        out,
        network=opened.name,
        data=samples.source,
        names=[samples.names[i] for i in batch.indices],
        pictures=[picture_of(opened, inputs, i) for i in range(len(batch.indices))],
        words=[tokens_of(opened, inputs, i) for i in range(len(batch.indices))],
        made={"command": command, "layerwise": layerwise.__version__, "seed": str(seed)},
    )
    if as_json:
        say_json({"page": str(page), "layers": [_plain(each) for each in found]})
        return
    say_table(_COLUMNS, map(_row, found))
    say(f"page: {page}")


def _row(layer: ConceptLayer) -> tuple[str, ...]:
    return (
        layer.layer,
        layer.kind,
        str(len(layer.concepts)),
        f"{layer.agreement:.0%}",
        f"{layer.error:.0%}",
        f"{layer.left_out:.0%}",
    )


def _plain(layer: ConceptLayer) -> dict[str, object]:
    return {
        "layer": layer.layer,
        "answer_kept": layer.agreement,
        "score_changed": layer.error,
        "left_out": layer.left_out,
        "concepts": [
            {"presence": c.presence, "effect": c.effect, "samples": list(c.samples)}
            for c in layer.concepts
        ],
        "units": [
            {"unit": u.unit, "selective": u.selective, "samples": list(u.samples)}
            for u in layer.units
        ],
    }
