"""`layerwise anomalies`: pictures, and places in them, that look like no normal one."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from layerwise.cli import _options as option
from layerwise.cli._device import device_for
from layerwise.cli._output import note, note_all, progress, say, say_json, say_table
from layerwise.errors import unknown


def find_anomalies(
    train: Annotated[str, typer.Argument(help="Folder of normal pictures, or zip of one.")],
    test: Annotated[str, typer.Argument(help="Folder of pictures to be judged, or zip of one.")],
    *,
    network: option.OneNetwork,
    out: option.Out,
    layers: option.Layers = "auto",
    judge: Annotated[
        str, typer.Option("--judge", help="PatchCore or ContrastiveSelectedEmbedding.")
    ] = "PatchCore",
    seed: option.Seed = 0,
    device: option.Device = "auto",
    limit: option.Limit = None,
    as_json: option.Json = False,
) -> None:
    """Find pictures that differ from normal ones, and where; no anomaly is needed to learn."""
    from layerwise import data as room
    from layerwise import models, report, search

    judges = [name for name in search.__all__ if search.is_judge(getattr(search, name))]
    if judge not in judges:
        raise unknown("judge of maps", judge, judges)
    normal, asked = (room.open(each, limit=limit, seed=seed) for each in (train, test))
    opened = models.open(network, device=device_for(device))
    with progress() as show:
        found = search.find_anomalies(
            opened,
            normal,
            asked,
            layers=layers,
            fit=getattr(search, judge).fit,
            seed=seed,
            progress=show,
        )
    note_all("set aside", [(each.name, each.reason) for each in found.set_aside])
    page = report.write_judged(out, opened.name, asked, found)
    if as_json:
        say_json(
            {
                "page": str(page),
                "layers": list(found.layers),
                "threshold": _known(found.threshold),
                "area": _known(found.area),
                "area_last": _known(found.area_last),
                "area_pictures": _known(found.area_pictures),
                "pictures": [
                    {"name": name, "score": score}
                    for name, score in zip(found.names, found.scores.tolist(), strict=True)
                ],
            }
        )
        return
    rows = (
        (name, f"{score:.3f}", "beyond" if score > found.threshold else "")
        for name, score in zip(found.names[:20], found.scores.tolist(), strict=False)
    )
    say_table(("picture", "score>", "95 % of normal"), rows)
    say("")
    if not math.isnan(found.area):
        say(
            f"{' + '.join(found.layers)} finds made-up defects with an area under the curve of "
            f"{found.area:.3f}; the last layer gives {found.area_last:.3f}."
        )
    if not math.isnan(found.area_pictures):
        say(f"By the folders' names: area under the curve {found.area_pictures:.3f} over pictures.")
    beyond = int((found.scores > found.threshold).sum())
    note(f"{beyond} of {len(found.names)} pictures lie beyond what 95 % of normal ones score")
    say(f"The page: {page}")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
